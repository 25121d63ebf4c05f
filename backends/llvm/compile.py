"""LLVM IR text to an object file and to assembly, through llvmlite.

Two passes run before code generation: the inliner of short elementary functions (`math/table.py`), and
`sroa`, which turns register buffers into SSA values. The emitter leaves nothing for the others to do
that would pay for their time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import llvmlite.binding as llvm

from te.backends.base import Entry, ObjectCode
from te.backends.llvm.intrinsics import refuse_missing
from te.backends.llvm.kernel import kernel_functions
from te.backends.llvm.module import ModuleText
from te.backends.llvm.native import initialize, initialize_others, lock
from te.ir.loop import Kernel
from te.target import Target


@dataclass(frozen=True)
class LLVMArtifact:
    """LLVM IR and, made when first asked for, what it compiles to."""

    target: Target
    entries: tuple[Entry, ...]
    text: str

    @cached_property
    def object(self) -> bytes:
        """The object file (position independent)."""
        return compile_text(self.text, self.target)

    @property
    def declarations(self) -> str:
        return "\n".join(re.findall(r"^declare .*$", self.text, re.MULTILINE))

    @property
    def code(self) -> ObjectCode:
        return ObjectCode(self.target, self.entries, self.object, self.declarations)

    def asm(self) -> str:
        return str(_generate(self.text, self.target, as_object=False))


def emit(
    kernels: Sequence[Kernel], target: Target, *, has_lines: bool = False, has_fast_math: bool = False
) -> LLVMArtifact:
    """Final kernels to LLVM IR. Raises `ScheduleError` where a schedule asks for too much code.

    `has_lines`: the object file tells debuggers and profilers the `.te` lines.

    `has_fast_math`: functions may be the shorter ones of `math/fast.py`.
    """
    module = ModuleText(
        target.vector_bits,
        has_half=_has_half(target),
        has_fma=_has_fma(target),
        has_avx512="llvm.avx512" in target.levels,
        has_rounding=bool(target.levels & {"llvm.sse4", "llvm.neon"}),
        has_sfence="llvm.sse2" in target.levels,
        has_fast_math=has_fast_math,
        has_lines=has_lines,
    )
    for kernel in kernels:
        refuse_missing(kernel, target)
    entries = tuple(kernel_functions(module, kernel) for kernel in kernels)
    machine = _machine(target)
    names = ", ".join(entry.name for entry in entries)
    head = "\n".join(
        [
            f"; te: {names} for {target.name}" + (', math="fast"' if has_fast_math else ""),
            f'target datalayout = "{machine.layout}"',
            f'target triple = "{machine.triple}"',
            "",
        ]
    )
    attributes = f'attributes #0 = {{ nounwind "prefer-vector-width"="{target.vector_bits}" }}'
    return LLVMArtifact(target, entries, module.text(head, attributes))


def _has_fma(target: Target) -> bool:
    """Whether the CPU fuses multiply-adds; elsewhere `llvm.fma` is a slow call of the C library."""
    return bool(target.levels & {"llvm.avx2", "llvm.neon"})


def _has_half(target: Target) -> bool:
    """Whether instructions convert f16: part of AVX2 machines and of every ARM with NEON, else F16C."""
    return bool(target.levels & {"llvm.avx2", "llvm.neon"}) or "+f16c" in target.features.split(",")


@dataclass(frozen=True)
class _Machine:
    """One of each a target: pass builders and managers leak a little each time one is made."""

    machine: Any  # llvmlite has no types
    builder: Any
    passes: Any
    triple: str
    layout: str


@cache
def _machine(target: Target) -> _Machine:
    initialize()
    if target.triple:
        initialize_others()
    with lock:
        # MCJIT wants ELF everywhere.
        triple = target.triple or llvm.get_process_triple() + ("-elf" if os.name == "nt" else "")
        machine = llvm.Target.from_triple(triple).create_target_machine(
            cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="default"
        )
        builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(0))
        passes = llvm.create_new_module_pass_manager()
        passes.add_always_inliner_pass()
        passes.add_sroa_pass()
        return _Machine(machine, builder, passes, triple, str(machine.target_data))


def compile_text(text: str, target: Target) -> bytes:
    """LLVM IR to an object file."""
    return bytes(_generate(text, target, as_object=True))


def _generate(text: str, target: Target, *, as_object: bool) -> Any:
    machine = _machine(target)
    with lock:
        # A context of its own takes everything LLVM has interned with it when it goes.
        context = llvm.create_context()
        module = llvm.parse_assembly(text, context=context)
        try:
            if os.environ.get("TE_VERIFY") == "1":
                module.verify()
            machine.passes.run(module, machine.builder)
            with _addresses_as_written(target):
                if as_object:
                    return machine.machine.emit_object(module)
                return machine.machine.emit_assembly(module)
        finally:
            module.close()
            context.close()


@contextmanager
def _addresses_as_written(target: Target) -> Iterator[None]:
    """On AVX-512, generate code without loop strength reduction, which takes a quarter to a half of the time.

    The emitter has hoisted what is invariant, and accesses add an index to a base themselves: matmul
    (257, 512, 1000), softmax, layernorm, convolution, attention and products of bytes ran as fast
    without it, or up to 10% faster. The smaller tiles of AVX2 would get a shift and a move for each row of
    a panel, and AArch64 steps pointers in its accesses: they keep it.

    LLVM has one switch for the process. It is put back at once, so that others who use llvmlite, such as
    numba, get what they expect.
    """
    if "llvm.avx512" not in target.levels:
        yield
        return
    llvm.set_option("te", "-disable-lsr=true")
    try:
        yield
    finally:
        llvm.set_option("te", "-disable-lsr=false")
