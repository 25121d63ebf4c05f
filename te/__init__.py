"""te: tensor expressions in a small language, compiled to native code.

`te.build` compiles an op; the kernel it gives is called as a function. `te.load` and `te.parse`
read ops without compiling them; `te.std` holds the standard library. Everything loads when it is
first used, so that importing te takes a few milliseconds and neither NumPy nor LLVM.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from te.backends.cuda.emulator.findings import EmulationError
    from te.backends.cuda.unavailable import CudaUnavailable
    from te.backends.llvm.threads import set_num_threads
    from te.build import build, knobs
    from te.diagnostics import CompileError, Diagnostic, ScheduleError
    from te.module import Module, Op, load, parse, std
    from te.runtime.bound import BoundKernel
    from te.runtime.generic import GenericKernel
    from te.runtime.kernel import Kernel, Timing
    from te.schedule.knobs import Knob
    from te.schedule.schedule import Schedule

__all__ = [
    "BoundKernel",
    "CompileError",
    "CudaUnavailable",
    "Diagnostic",
    "EmulationError",
    "GenericKernel",
    "Kernel",
    "Knob",
    "Module",
    "Op",
    "Schedule",
    "ScheduleError",
    "Timing",
    "__version__",
    "build",
    "knobs",
    "load",
    "parse",
    "set_num_threads",
    "std",
]

_HOMES = {
    "BoundKernel": "te.runtime.bound",
    "CompileError": "te.diagnostics",
    "CudaUnavailable": "te.backends.cuda.unavailable",
    "Diagnostic": "te.diagnostics",
    "EmulationError": "te.backends.cuda.emulator.findings",
    "GenericKernel": "te.runtime.generic",
    "Kernel": "te.runtime.kernel",
    "Knob": "te.schedule.knobs",
    "Module": "te.module",
    "Op": "te.module",
    "Schedule": "te.schedule.schedule",
    "ScheduleError": "te.diagnostics",
    "Timing": "te.runtime.kernel",
    "build": "te.build",
    "knobs": "te.build",
    "load": "te.module",
    "parse": "te.module",
    "set_num_threads": "te.backends.llvm.threads",
    "std": "te.module",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'te' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Facade(ModuleType):
    """Keeps `te.build` the function and `te.std` the library: modules so called put themselves in their place."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "build" and isinstance(value, ModuleType):
            value = value.build
        if name == "std" and isinstance(value, ModuleType):
            value = value.library
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Facade
