"""Final loop kernels to CUDA C++.

    launches.py     what the host does: launches, in loops and under conditions over sizes
    programs.py     a kernel to a program: where launches begin, their grids, parameters and names
    function.py     one `__global__` function
    statements.py   statements; vectors.py for vector loops, copies.py for asynchronous copies
    expressions.py  expressions; indices.py for index arithmetic, which knows its ranges
    text.py         lines of text that know the `.te` lines they come from; names.py
    artifact.py     the text with its programs
    host.py         what the host does, for sizes that are known
    emulator/       runs the text on the CPU, and finds what is wrong with it
    prelude/        the device functions that the text calls
    compile.py      the text to machine code: nvrtc.py, toolkit.py; resources.py, what it takes of a GPU
    device.py       a GPU, its memory and streams: driver.py, arrays.py, dlpack.py, graphs.py

`te.runtime.gpu_kernel` calls what runs on a GPU.

`te.backends.base` says what `emit` and `load` return.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from te.backends.base import ObjectCode
from te.target import EMULATED, Target, parse_target

if TYPE_CHECKING:
    from te.backends.base import Executable
    from te.backends.cuda.artifact import CudaArtifact
    from te.ir.loop import Kernel

__all__ = ["emit", "load", "name", "target"]

name = "cuda"


def target(spec: str) -> Target:
    return parse_target(spec)


def emit(
    kernels: Sequence[Kernel], target: Target, *, has_lines: bool = False, has_fast_math: bool = False
) -> CudaArtifact:
    """Final kernels to CUDA C++, with the launches that run them."""
    from te.backends.cuda.artifact import emit_artifact

    return emit_artifact(kernels, target, has_lines=has_lines, has_fast_math=has_fast_math)


def load(artifact: CudaArtifact | ObjectCode) -> Executable:
    """An artifact to something callable. Raises ValueError if this machine cannot run it."""
    if artifact.target.name == EMULATED and not isinstance(artifact, ObjectCode):
        from te.backends.cuda.emulator.executable import EmulatedExecutable

        return EmulatedExecutable(artifact)
    raise ValueError(f"this machine cannot run code for `{artifact.target.name}`")
