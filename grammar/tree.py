"""The syntax tree: what was written, with a span on every node, and no meaning.

Names are not resolved and numbers not typed here; `te.elaborate` does that.
Spans do not take part in equality, so two texts that differ only in layout have
equal trees (the formatter's tests rest on that).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from te.diagnostics import Source, Span

# ---------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class Number:
    """A literal. `value` is an `int` for `12`, `0xff`, `1_000` and a `float` for `1.5`, `1e-3`."""

    value: int | float
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A name, possibly dotted: `x`, `nn.relu`, `inf`, `true`."""

    name: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x`, `+x`, `~x`, `not x`."""

    op: str
    operand: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """`a + b` and every other two-sided operator, `and` and `or` among them, comparisons not."""

    op: str
    left: Expr
    right: Expr
    span: Span = field(compare=False, repr=False)
    op_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """`a < b <= c`: `operands` has one entry more than `ops`."""

    ops: tuple[str, ...]
    operands: tuple[Expr, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Read:
    """`X[i, j - 1] else 0`: a tensor's element; `outside` is the value beyond its ends."""

    name: Name
    index: tuple[Axis, ...]
    outside: Expr | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """`exp(x)`, `nn.relu(X)`, `f32(i)`."""

    name: Name
    args: tuple[Argument, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Reduce:
    """`sum[k, r < 3 where k != r](term)`."""

    name: Name
    axes: tuple[Axis, ...]
    where: Expr | None
    args: tuple[Argument, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Argument:
    """`x`, or `stride=2`."""

    name: str | None
    value: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Table:
    """`[1, 2, 3]`: a table's rows, or a list in a schedule."""

    items: tuple[Expr, ...]
    span: Span = field(compare=False, repr=False)


# What stands between `[` and `]`.


@dataclass(frozen=True, slots=True)
class Range:
    """`y < H + 2`: an axis with its extent written."""

    name: str
    extent: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Pack:
    """`*S`: any number of axes."""

    name: str
    span: Span = field(compare=False, repr=False)


Expr: TypeAlias = Number | Name | Unary | Binary | Compare | Read | Call | Reduce | Table
Axis: TypeAlias = Expr | Range | Pack

# ---------------------------------------------------------------- items


@dataclass(frozen=True, slots=True)
class Type:
    """`f32[M, N]`, or `f32` with `dims` None."""

    name: str
    dims: tuple[Axis, ...] | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Generic:
    """`T: f16 | bf16` in `<...>`."""

    name: str
    choices: tuple[str, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Param:
    """`X: f32[N]`, `param W: f32[N]`, `const stride: int = 1`; `kind` is `""`, `param` or `const`."""

    kind: str
    name: str
    type: Type
    default: Expr | None
    span: Span = field(compare=False, repr=False)
    name_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    type: Type
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """Left of `=`: `Y[i, j]` (`index` is a tuple) or `s` (`index` is None)."""

    name: str
    index: tuple[Axis, ...] | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Equation:
    """`Y[i] = expr`; several targets for a call or a reducer with several results."""

    targets: tuple[Target, ...]
    value: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Require:
    condition: Expr
    span: Span = field(compare=False, repr=False)


Statement: TypeAlias = Equation | Require


@dataclass(frozen=True, slots=True)
class Op:
    name: str
    generics: tuple[Generic, ...]
    params: tuple[Param, ...]
    results: tuple[Result, ...]
    body: tuple[Statement, ...]
    doc: str
    span: Span = field(compare=False, repr=False)
    name_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Reducer:
    name: str
    generics: tuple[Generic, ...]
    state: tuple[Param, ...]
    other: tuple[str, ...]
    body: tuple[Statement, ...]
    doc: str
    span: Span = field(compare=False, repr=False)
    name_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Use:
    """`use nn` (`names` is None), or `use nn.{softmax, gelu}`."""

    module: str
    names: tuple[str, ...] | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ConstTable:
    """`const G: f32[6, 3] = [[...], ...]`, or a scalar `const`."""

    name: str
    type: Type
    value: Expr
    doc: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Intrinsic:
    name: str
    target: str
    op: str
    doc: str
    span: Span = field(compare=False, repr=False)


# ---------------------------------------------------------------- schedules


@dataclass(frozen=True, slots=True)
class Knob:
    """`KC = 256`, or `NR in {32, 48} = 32`."""

    name: str
    choices: tuple[Expr, ...]
    default: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Clause:
    """`by 8, 16`: a preposition and its values."""

    preposition: str
    values: tuple[Expr, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Directive:
    """`split i by 8 into io, ii`: a verb, its operands, clauses by preposition, and (for one verb) a block."""

    verb: str
    operands: tuple[Expr, ...]
    clauses: tuple[Clause, ...]
    block: tuple[Directive, ...] | None
    span: Span = field(compare=False, repr=False)
    verb_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Schedule:
    op: str
    target: str
    knobs: tuple[Knob, ...]
    when: Expr | None
    directives: tuple[Directive, ...]
    doc: str
    span: Span = field(compare=False, repr=False)


Item: TypeAlias = Use | Op | Reducer | Schedule | ConstTable | Intrinsic


@dataclass(frozen=True, slots=True)
class File:
    items: tuple[Item, ...]
    source: Source = field(compare=False, repr=False)
