"""What every expression of either IR obeys: names in scope, ranks, dtypes as `OPS` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from te.ir.expr import (
    ARITHMETIC,
    BITWISE,
    COMPARISONS,
    FUNCTIONS,
    LOGICAL,
    OPS,
    PREDICATES,
    Cast,
    Const,
    Expr,
    Load,
    Op,
    Select,
    Var,
    conjuncts,
    negation,
)
from te.ir.facts import Facts
from te.ir.floats import is_value_of
from te.ir.print import print_expr
from te.ir.types import BOOL, DTYPES, DType, integer_limits
from te.ir.visit import children, loads

KINDS = {
    "number": ("int", "uint", "float"),
    "float": ("float",),
    "integer": ("int", "uint"),
    "bool": ("bool",),
    "any": ("int", "uint", "float", "bool"),
}
OPERANDS = {
    **ARITHMETIC,
    **BITWISE,
    **COMPARISONS,
    **LOGICAL,
    **{name: kind for name, (kind, _) in FUNCTIONS.items()},
    **PREDICATES,
    "popcount": "integer",
}
ARITY = {
    **dict.fromkeys((*ARITHMETIC, *BITWISE, *COMPARISONS, *LOGICAL), 2),
    **dict.fromkeys(("neg", "~", "not", "popcount", *PREDICATES), 1),
    **{name: count for name, (_, count) in FUNCTIONS.items()},
}
assert set(OPERANDS) == set(ARITY) == OPS


@dataclass(frozen=True, slots=True)
class Shape:
    """What a read of a buffer must fit."""

    dtype: DType
    extents: tuple[Expr, ...]
    origin: tuple[Expr, ...] = ()  # the first index; () means zeros


Buffers = Mapping[str, Shape]


def problem_in(e: Expr, variables: frozenset[str], buffers: Buffers) -> str | None:
    """What is wrong with an expression, given the names in scope; None for nothing."""
    own = _problem_at(e, variables, buffers)
    if own:
        return f"{own}, in `{print_expr(e)}`"
    return next(filter(None, (problem_in(c, variables, buffers) for c in children(e))), None)


def _problem_at(e: Expr, variables: frozenset[str], buffers: Buffers) -> str | None:
    """What is wrong with the node itself."""
    if e.dtype not in DTYPES.values():
        return f"there are no values of type {e.dtype}"
    match e:
        case Const():
            return _problem_of_literal(e)
        case Var():
            return None if e.name in variables else f"no variable `{e.name}` is in scope"
        case Load():
            if e.buffer not in buffers:
                return f"no buffer `{e.buffer}` is in scope"
            shape = buffers[e.buffer]
            if e.dtype != shape.dtype:
                return f"`{e.buffer}` holds {shape.dtype}, not {e.dtype}"
            return problem_of_index(e.buffer, e.index, shape)
        case Select():
            if e.condition.dtype != BOOL:
                return f"a selection by {e.condition.dtype}"
            if e.then.dtype != e.otherwise.dtype:
                return f"the sides of a selection are {e.then.dtype} and {e.otherwise.dtype}"
            return None
        case Op():
            return _problem_of_operator(e)
        case Cast():
            return None


def _problem_of_literal(c: Const) -> str | None:
    value = c.value
    if isinstance(value, bool) != (c.dtype == BOOL) or (isinstance(value, float) and not c.dtype.is_float):
        return f"{value!r} is no {c.dtype}"
    if c.dtype.is_integer:
        low, high = integer_limits(c.dtype)
        return None if low <= value <= high else f"{value} does not fit {c.dtype}"
    if c.dtype.is_narrow and not is_value_of(value, c.dtype):
        return f"{value!r} is no {c.dtype}"
    return None


def problem_of_index(buffer: str, index: tuple[Expr, ...], shape: Shape) -> str | None:
    if len(index) != len(shape.extents):
        return f"`{buffer}` has {len(shape.extents)} axes, not {len(index)}"
    wrong = next((i for i in index if not i.dtype.is_integer), None)
    return f"`{print_expr(wrong)}` is an index and a {wrong.dtype}" if wrong is not None else None


def _problem_of_operator(e: Op) -> str | None:
    if e.op not in OPS:
        return f"there is no operator `{e.op}`"
    if len(e.args) != ARITY[e.op]:
        return f"`{e.op}` takes {ARITY[e.op]} operands, not {len(e.args)}"
    types = {a.dtype for a in e.args}
    if len(types) > 1:
        return f"the operands of `{e.op}` are {' and '.join(str(a.dtype) for a in e.args)}"
    operand = e.args[0].dtype
    if operand.kind not in KINDS[OPERANDS[e.op]] or operand.is_narrow:  # narrow floats are computed in f32
        return f"`{e.op}` takes no {operand}"
    result = BOOL if e.op in COMPARISONS or e.op in PREDICATES else operand
    return None if e.dtype == result else f"`{e.op}` of {operand} is {result}, not {e.dtype}"


def guarded_loads(e: Expr, facts: Facts) -> Iterator[tuple[Load, Facts]]:
    """Every read in an expression, with the facts that hold where it is evaluated."""
    match e:
        case Select():
            yield from guarded_loads(e.condition, facts)
            yield from guarded_loads(e.then, assuming(facts, e.condition))
            yield from guarded_loads(e.otherwise, assuming(facts, negation(e.condition)))
        case Op(op="and", args=(left, right)):
            yield from guarded_loads(left, facts)
            yield from guarded_loads(right, assuming(facts, left))
        case Op(op="or", args=(left, right)):
            yield from guarded_loads(left, facts)
            yield from guarded_loads(right, assuming(facts, negation(left)))
        case _:
            if isinstance(e, Load):
                yield e, facts
            for child in children(e):
                yield from guarded_loads(child, facts)


def assuming(facts: Facts, condition: Expr) -> Facts:
    """The facts where a condition holds, as far as it does not depend on data."""
    for part in conjuncts(condition):
        if not any(loads(part)):
            facts = facts.with_assumption(part)
    return facts
