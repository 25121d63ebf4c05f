"""Object files to functions in this process.

Each artifact gets an MCJIT engine of its own: loading takes 0.25 ms and 12 kB, and everything is
given back when the executable is dropped. (One LLJIT for all would be the newer way, but in llvmlite
0.50 each library leaves 11 kB behind when it is unloaded; an LLJIT each holds 175 kB.)
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
import re
import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm

from te.backends.base import ObjectCode
from te.backends.llvm import threads
from te.backends.llvm.enter import enter
from te.backends.llvm.native import initialize, lock

if TYPE_CHECKING:
    from te.backends.llvm.compile import LLVMArtifact

# The functions of the C library that code may call, and what it says then: `fma`, on a CPU without it.
LIBRARY = {"fma": r"@llvm\.fma\.(v\d+)?f64\(", "fmaf": r"@llvm\.fma\.(v\d+)?f32\("}

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class LLVMExecutable:
    """The kernels of an artifact, loaded. See `te.backends.base.Executable`."""

    def __init__(self, artifact: LLVMArtifact | ObjectCode):
        self.artifact = artifact
        self._engine = load_object(artifact.object)
        self._addresses = [self._engine.get_function_address(entry.symbol) for entry in artifact.entries]
        self._functions = [_FUNCTION(address) for address in self._addresses]
        if os.environ.get("TE_DEBUG_INFO") == "1" and sys.platform == "linux":
            _tell_perf(artifact, self._addresses[0])
        self._has_parallel_loops = any(entry.is_parallel for entry in artifact.entries)

    @property
    def team(self) -> tuple[int, int]:
        """The words that end the argument block; asking for them starts the threads, in a forked child again.

        More threads may be wanted meanwhile, or fewer: a call keeps to what it was told.
        """
        return threads.team() if self._has_parallel_loops else (1, 0)

    @property
    def parallel_for(self) -> int:
        return self.team[1]

    @property
    def enter(self) -> Callable[[bytes], object]:
        return enter()

    def address(self, entry: int) -> int:
        return int(self._addresses[entry])

    def __call__(self, block: int, entry: int = 0) -> None:
        self._functions[entry](block)  # ctypes lets other threads run meanwhile


def load(artifact: LLVMArtifact | ObjectCode) -> LLVMExecutable:
    """Make an artifact callable.

    Raises ValueError if this machine cannot run it, and OSError if a function of the C library is missing.
    """
    if not artifact.target.is_native:
        raise ValueError(
            f"this machine cannot run code for `{artifact.target.name}`: its CPU lacks instructions"
        )
    outside = artifact.declarations
    missing = [name for name in _missing_functions() if _mentions(outside, name)] if outside else []
    if missing:
        raise OSError(f"the C library of this system has no function {', '.join(missing)}")
    return LLVMExecutable(artifact)


def _tell_perf(artifact: LLVMArtifact | ObjectCode, address: int) -> None:
    from te.backends.llvm.perf import write_perf_map

    # A profiler that lacks names is no reason to fail: a full disk, a file of somebody else.
    with contextlib.suppress(OSError):
        write_perf_map(artifact.object, artifact.entries[0].symbol, address)


def load_object(code: bytes) -> Any:
    """An engine that holds the functions of an object file."""
    initialize()
    with lock:
        # The engine wants a module and a machine to generate code for; it gets an empty one and a plain one.
        module = llvm.parse_assembly("", context=llvm.create_context())
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
            opt=0, reloc="default", codemodel="jitdefault", jit=True
        )
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
    return engine


@cache
def _missing_functions() -> list[str]:
    """Functions that code may call and this system lacks: MCJIT would end the process over one."""
    if sys.platform != "win32" and llvm.address_of_symbol("fmaf") is None:
        library = ctypes.util.find_library("m")
        if library:
            llvm.load_library_permanently(library)
    return [name for name in LIBRARY if llvm.address_of_symbol(name) is None]


def _mentions(text: str, name: str) -> bool:
    return re.search(LIBRARY[name], text) is not None
