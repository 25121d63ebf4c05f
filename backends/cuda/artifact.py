"""CUDA C++ with the programs that launch it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from te.backends.base import Entry, ObjectCode
from te.backends.cuda.compile import Compiled, compile_text, disassemble
from te.backends.cuda.function import Functions
from te.backends.cuda.launches import Program, launches
from te.backends.cuda.prelude import definitions
from te.backends.cuda.programs import program_of
from te.backends.cuda.resources import Resources, occupancy, usages
from te.diagnostics import Span
from te.ir.expr import Const, Expr, add, floor_div, integer, mul
from te.ir.loop import Kernel
from te.target import Target

WORKSPACE_ALIGNMENT = 256


@dataclass(frozen=True)
class CudaArtifact:
    """The source of several kernels, and a program for each: `programs[n]` is that of `entries[n]`.

    `lines` are the places in `.te` texts that the lines of `text` come from, where they come from one.
    """

    target: Target
    entries: tuple[Entry, ...]
    programs: tuple[Program, ...]
    text: str
    lines: tuple[Span | None, ...]

    @property
    def code(self) -> ObjectCode:
        return ObjectCode(self.target, self.entries, self.text.encode(), "")

    @cached_property
    def compiled(self) -> Compiled:
        """The machine code for the target's own architecture. Raises CudaUnavailable where there is no compiler."""
        return compile_text(self.text, self.target.cpu, self.lines)

    def ptx(self) -> str:
        """NVIDIA's portable assembly. Raises CudaUnavailable where there is no compiler."""
        return self.compiled.ptx

    def asm(self) -> str:
        """The machine's instructions (SASS). Raises CudaUnavailable without a compiler and a disassembler."""
        return disassemble(self.compiled.cubin)

    def resources(self) -> tuple[Resources, ...]:
        """What each launch takes of a multiprocessor. Raises CudaUnavailable where there is no compiler."""
        used = {usage.symbol: usage for usage in usages(self.compiled.log)}
        every = [launch for program in self.programs for launch in launches(program.host)]
        return tuple(occupancy(used[x.symbol], x.block, x.shared, self.target.sm) for x in every)


def emit_artifact(
    kernels: Sequence[Kernel], target: Target, *, has_lines: bool, has_fast_math: bool
) -> CudaArtifact:
    """Final kernels to CUDA C++."""
    functions = Functions(has_fast_math)
    programs = tuple(program_of(kernel, functions) for kernel in kernels)
    code = functions.writer
    names = ", ".join(kernel.name for kernel in kernels)
    head = f"// te: {names} for {target.name}" + (', math="fast"' if has_fast_math else "")
    before = [head, "", *definitions("\n".join(code.lines)).split("\n")]
    text = "\n".join([*before, *code.lines])
    places = (*[None] * len(before), *code.places)
    entries = tuple(_entry(kernel, program) for kernel, program in zip(kernels, programs, strict=True))
    return CudaArtifact(target, entries, programs, text, places)


def _entry(kernel: Kernel, program: Program) -> Entry:
    symbol = f"te_{kernel.name}"
    size: Expr = integer(0)
    for part in program.workspace:
        size = _sum(size, _aligned(part.bytes))
    arguments = tuple(argument.name for argument in program.arguments)
    return Entry(kernel.name, symbol, arguments, program.sizes, size, integer(0), False)


def _aligned(bytes: Expr) -> Expr:
    if isinstance(bytes, Const):
        return integer(-(-int(bytes.value) // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT)
    parts = floor_div(add(bytes, integer(WORKSPACE_ALIGNMENT - 1)), integer(WORKSPACE_ALIGNMENT))
    return mul(parts, integer(WORKSPACE_ALIGNMENT))


def _sum(a: Expr, b: Expr) -> Expr:
    if isinstance(a, Const) and isinstance(b, Const):
        return integer(int(a.value) + int(b.value))
    return b if a == integer(0) else add(a, b)
