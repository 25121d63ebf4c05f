"""What a directive is made of: the kinds of values that its operand and clauses take.

A directive is a frozen dataclass (`directives.py` has them all). Its first field is the
verb's operand; every other field is a clause, called by its preposition, with `_` behind
it where Python has that word for itself (`as_`, `in_`). The field's metadata, made by
`takes`, say what may stand there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from te.diagnostics import Span
from te.ir.expr import Expr
from te.ir.print import print_expr


class Kind(Enum):
    """The kinds of values in a directive; the value is how messages call it."""

    LOOP = "a loop, such as `i` or `C.i`"
    STAGE = "a stage"
    OP = "an op, such as `softmax` or `nn.softmax`"
    CONDITION = "a condition on sizes, such as `M % 8 == 0`"
    NAME = "a new name"
    SIZE = "an integer constant"
    NUMBER = "a number"
    TENSOR = "a tensor, such as `A` or `A[i, k]`"
    LAYOUT = "a layout, such as `[k // 16, i, k % 16]`"
    TAIL = "one of `guard`, `peel`, `shift`, `exact`"
    INTRINSIC = "an instruction, such as `vpdpbusd`"
    BINDING = "one of `block.x/y/z`, `thread.x/y/z`, `warp`, `warpgroup`, `lane`, `cluster.x`"
    ORDER = "one of `persistent`, `grouped`, `hilbert`"
    SCOPE = "one of `global`, `local`, `stack`, `register`, `shared`"
    METHOD = "one of `vector`, `cp_async`, `tma`, `ldmatrix`"


class Tail(StrEnum):
    """What a split does where its factor does not divide the extent."""

    GUARD = "guard"  # a condition around the innermost statement
    PEEL = "peel"  # the full trips run in a loop of their own, without the condition
    SHIFT = "shift"  # the last tile moves back to end at the extent, and overlaps the one before
    EXACT = "exact"  # there is no tail: refused unless that is proved


class Scope(StrEnum):
    """Where a buffer lives. The targets that have no memory of such a kind use the next larger one."""

    GLOBAL = "global"  # memory of the call
    SHARED = "shared"  # of the threads of a block
    LOCAL = "local"  # of one thread
    STACK = "stack"  # of one thread, on its stack: small
    REGISTER = "register"  # constant shape, constant indices once loops are unrolled


class CopyMethod(StrEnum):
    """By what instructions a copy is made."""

    VECTOR = "vector"  # loads and stores of vectors
    CP_ASYNC = "cp_async"  # of a GPU, from global to shared memory, while the threads go on
    TMA = "tma"  # of a GPU, whole boxes between global and shared memory, by a unit of its own
    LDMATRIX = "ldmatrix"  # of a GPU, from shared memory to the registers of a warp, as `mma` wants them


class BlockOrder(StrEnum):
    """In which order a GPU starts the blocks of a loop."""

    PERSISTENT = "persistent"  # as many as run at a time, each of which takes the next trips itself
    GROUPED = "grouped"  # in groups of rows, so that neighbours share what is in the caches
    HILBERT = "hilbert"  # along a Hilbert curve


class Binding(StrEnum):
    """A level of a GPU. `te.ir.loop.BINDINGS` says how they nest."""

    CLUSTER_X = "cluster.x"
    BLOCK_X = "block.x"
    BLOCK_Y = "block.y"
    BLOCK_Z = "block.z"
    WARPGROUP = "warpgroup"
    WARP = "warp"
    THREAD_X = "thread.x"
    THREAD_Y = "thread.y"
    THREAD_Z = "thread.z"
    LANE = "lane"


WORDS: dict[Kind, type[StrEnum]] = {
    Kind.TAIL: Tail,
    Kind.SCOPE: Scope,
    Kind.METHOD: CopyMethod,
    Kind.BINDING: Binding,
    Kind.ORDER: BlockOrder,
}


@dataclass(frozen=True, slots=True)
class TensorAxes:
    """`A[i, k]`: a tensor, with names for its axes; without them, `A`, the axes keep their own."""

    name: str
    axes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}[{', '.join(self.axes)}]" if self.axes else self.name


@dataclass(frozen=True, slots=True)
class Layout:
    """`[k // 16, i, k % 16]`: the physical index, outermost first, over the names of a tensor's axes."""

    dims: tuple[Expr, ...]

    def __str__(self) -> str:
        return f"[{', '.join(print_expr(d) for d in self.dims)}]"


@dataclass(frozen=True, slots=True)
class Values:
    """What an operand or a clause takes: a kind of value, and how many. A single one stands alone."""

    kind: Kind
    least: int = 1
    most: int | None = 1

    @property
    def is_single(self) -> bool:
        return self.most == 1

    def __str__(self) -> str:
        noun = NOUNS.get(self.kind, "word")
        if self.is_single:
            return f"one {noun}"
        return f"{self.least} {noun}s" if self.least == self.most else f"{self.least} or more {noun}s"


NOUNS = {
    Kind.LOOP: "loop",
    Kind.STAGE: "stage",
    Kind.OP: "op",
    Kind.CONDITION: "condition",
    Kind.NAME: "name",
    Kind.SIZE: "integer",
    Kind.NUMBER: "number",
    Kind.TENSOR: "tensor",
    Kind.LAYOUT: "layout",
    Kind.INTRINSIC: "instruction",
}


def takes(kind: Kind, least: int = 1, most: int | None = 1) -> dict[str, Values]:
    """The metadata of a directive's field."""
    return {"takes": Values(kind, least, most)}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a directive was written. `parts` holds a span for each value of each field."""

    span: Span
    verb: Span
    parts: Mapping[str, tuple[Span, ...]]


@dataclass(frozen=True, slots=True)
class Directive:
    """One line of a schedule."""

    place: Place | None = field(default=None, compare=False, repr=False, kw_only=True)

    def __str__(self) -> str:
        from te.schedule.vocabulary import print_directive  # it knows all verbs, which are made from this

        return print_directive(self)


def span_of(d: Directive, field_name: str | None = None, position: int = 0) -> Span | None:
    """Where a value of a directive was written, or the whole line; None for a Python call."""
    if d.place is None:
        return None
    spans = d.place.parts.get(field_name, ()) if field_name else ()
    return spans[position] if position < len(spans) else d.place.span
