"""Index checks in a final kernel: what `te.build(debug=True)` adds.

No IR has a statement that fails, so a check is plain loop IR: where an index lies outside its
buffer, the number of the access and its indices are stored in a hidden argument, `FAULT`, which is
0 when a call begins. From then on nothing is read and stored any more, and the loops run to their
end; the caller raises `IndexError` with what it finds there.

    for Y.i < N:                    ->  for Y.i < N:
      Y[i] = X[i - 1]                     if i - 1 < 0 or i - 1 >= N:
                                            if .fault[0] == 0:
                                              .fault[0] = 1
                                              .fault[1] = i - 1
                                          if .fault[0] == 0:
                                            Y[i] = X[i - 1]

Loops stay as the schedule made them, except that parallel ones become serial: so one fault is
recorded, whole, and it is the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from te.diagnostics import Span
from te.ir.evaluate import evaluate
from te.ir.expr import TRUE, Const, Expr, Load, Op, Select, both, compare, integer, negation
from te.ir.loop import (
    CONCURRENT,
    SERIAL,
    TENSORIZED,
    UNROLLED,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    seq,
    with_bodies,
)
from te.ir.print import print_expr
from te.ir.types import BOOL, I64
from te.ir.visit import children, loads

__all__ = ["FAULT", "Access", "check_accesses", "fault_text", "fault_words"]

FAULT = ".fault"  # no tensor has a dot in its name


@dataclass(frozen=True, slots=True)
class Access:
    """A read, store or accumulation that is checked: its text, and the line that it comes from."""

    text: str  # as the loop IR has it
    buffer: str
    shape: tuple[Expr, ...]  # of the buffer, in terms of the sizes
    is_store: bool
    span: Span | None


def fault_words(accesses: Sequence[Access]) -> int:
    """How many 64-bit words the hidden argument has: the number of an access, and its indices."""
    return 1 + max((len(access.shape) for access in accesses), default=0)


def fault_text(op: str, accesses: Sequence[Access], words: Sequence[int], sizes: Mapping[str, int]) -> str:
    """The text of the `IndexError` for what a call left in the hidden argument."""
    access = accesses[words[0] - 1]
    shape = [evaluate(extent, sizes) for extent in access.shape]
    place = f"{access.span.source.name}:{access.span.line}: " if access.span else ""
    return (
        f"{op}: {place}`{access.text}` {'stores at' if access.is_store else 'reads'} the index "
        f"{list(words[1 : 1 + len(shape)])}, outside `{access.buffer}`, whose shape is {shape}; "
        "this is a bug in te: please report it, with the program and its schedule"
    )


def check_accesses(kernel: Kernel) -> tuple[Kernel, tuple[Access, ...]]:
    """The kernel with a check before each statement, and the accesses that its checks number from 1."""
    checker = _Checker(kernel)
    body = checker.statement(kernel.body)
    accesses = tuple(checker.accesses)
    fault = Buffer(FAULT, I64, (integer(fault_words(accesses)),), "argument")
    return replace(kernel, body=body, arguments=(*kernel.arguments, fault)), accesses


NO_FAULT = compare("==", Load(FAULT, (integer(0),), I64), integer(0))


class _Checker:
    def __init__(self, kernel: Kernel):
        self.accesses: list[Access] = []
        self._shapes = {buffer.name: buffer.shape for buffer in kernel.arguments}
        self._spans: Mapping[str, Span | None] = {s.name: s.span for s in kernel.program.stages}

    def statement(self, s: Stmt, stage: str = "") -> Stmt:
        """`s` with its checks. `stage` is the one of the loops around."""
        if isinstance(s, Alloc):
            self._shapes[s.buffer.name] = s.buffer.shape
        if isinstance(s, For):
            stage = s.stage
            # The checks stand between the statements that an instruction would run as one.
            kind = {TENSORIZED: UNROLLED}.get(s.kind, SERIAL if s.kind in CONCURRENT else s.kind)
            s = replace(s, kind=kind, intrinsic=None)
        if isinstance(s, Store | Accumulate):
            stage = s.stage
        reads = dict.fromkeys(read for e in direct_exprs(s) for read in guarded_reads(e, TRUE))
        checks = [self._check(read, guard, stage) for read, guard in reads]
        if isinstance(s, Store | Accumulate):
            checks.append(self._check(Load(s.buffer, s.index, s.value.dtype), TRUE, stage, is_store=True))
        else:
            s = with_bodies(s, tuple(self.statement(body, stage) for body in bodies(s)))
        return seq(*checks, If(NO_FAULT, s)) if any(checks) else s

    def _check(self, access: Load, guard: Expr, stage: str, *, is_store: bool = False) -> Stmt | None:
        """Record the access where it happens and lies outside; None where it never does."""
        sides = [
            side
            for index, extent in zip(access.index, self._shapes[access.buffer], strict=True)
            if not _is_inside(index, extent)
            for side in (compare("<", index, integer(0)), compare(">=", index, extent))
        ]
        if not sides:
            return None
        text = print_expr(access, lambda name: name.rsplit(".", 1)[-1])
        shape = self._shapes[access.buffer]
        self.accesses.append(Access(text, access.buffer, shape, is_store, self._spans.get(stage)))
        words = (integer(len(self.accesses)), *access.index)
        record = seq(*(Store(FAULT, (integer(n),), word, stage) for n, word in enumerate(words)))
        outside = both(guard, reduce(lambda a, b: Op("or", (a, b), BOOL), sides))
        # What the check itself reads has been checked before; the first fault is the one that is kept.
        return If(NO_FAULT, If(outside, record)) if any(loads(outside)) else If(outside, If(NO_FAULT, record))


def _is_inside(index: Expr, extent: Expr) -> bool:
    return isinstance(index, Const) and isinstance(extent, Const) and 0 <= index.value < extent.value


def guarded_reads(e: Expr, guard: Expr) -> Iterator[tuple[Load, Expr]]:
    """Every read in an expression, those in its own indices before it, with the condition under which it happens."""
    match e:
        case Select():
            yield from guarded_reads(e.condition, guard)
            yield from guarded_reads(e.then, both(guard, e.condition))
            yield from guarded_reads(e.otherwise, both(guard, negation(e.condition)))
        case Op(op="and" | "or", args=(left, right)):
            yield from guarded_reads(left, guard)
            yield from guarded_reads(right, both(guard, left if e.op == "and" else negation(left)))
        case _:
            for child in children(e):
                yield from guarded_reads(child, guard)
            if isinstance(e, Load):
                yield e, guard
