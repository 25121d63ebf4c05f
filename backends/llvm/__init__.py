"""Final loop kernels to machine code of this CPU, through LLVM IR written as text.

    kernel.py       a kernel to functions, the argument block, the workspace
    statements.py   statements; parallel.py for parallel loops
    expressions.py  expressions; arithmetic.py and math.py for operators and functions,
                    casts.py and narrow.py for conversions
    memory.py       reads and stores; index.py for addresses; registers.py for register buffers
    emitter.py      the text of a function; values.py, module.py
    compile.py      text to object file and assembly; native.py
    jit.py          object file to callable; threads.py runs parallel loops

`te.backends.base` says what `emit` and `load` return.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from te.target import Target, parse_target

if TYPE_CHECKING:
    from te.backends.base import ObjectCode
    from te.backends.llvm.compile import LLVMArtifact
    from te.backends.llvm.jit import LLVMExecutable
    from te.ir.loop import Kernel

__all__ = ["emit", "load", "name", "target"]

name = "llvm"


def target(spec: str) -> Target:
    return parse_target(spec)


def emit(
    kernels: Sequence[Kernel], target: Target, *, has_lines: bool = False, has_fast_math: bool = False
) -> LLVMArtifact:
    """Final kernels to an artifact. Raises `ScheduleError` where a schedule asks for too much code.

    `has_lines`: the object file tells debuggers and profilers the `.te` lines.

    `has_fast_math`: functions may be the shorter ones of `math/fast.py`.
    """
    from te.backends.llvm import compile  # llvmlite loads here, not when te is imported

    return compile.emit(kernels, target, has_lines=has_lines, has_fast_math=has_fast_math)


def load(artifact: LLVMArtifact | ObjectCode) -> LLVMExecutable:
    """An artifact to something callable. Raises ValueError if this machine cannot run it."""
    from te.backends.llvm import jit

    return jit.load(artifact)
