"""The laws that a reducer of one's own must obey, tried on random values.

A schedule may combine terms in another order and grouping, so the combination must be
associative and commutative up to rounding, and the identity must change nothing. A
few random states cannot prove that; they find the usual mistakes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from te.backends.interp.tensor import run_program
from te.diagnostics import CompileError, Diagnostic, error
from te.elaborate.constants import constant_value
from te.elaborate.elaborate import elaborate
from te.elaborate.reducers import combination
from te.grammar import tree
from te.ir.tensor import Program
from te.ir.types import DTYPES, DType, numpy_dtype

__all__ = ["broken_laws"]

TRIALS = 6
TOLERANCE = 1e-2  # of the values' size: a wrong law is off by more, rounding by less

State = tuple[object, ...]


def broken_laws(file: tree.File) -> list[Diagnostic]:
    """What the reducers of a file break. Reducers that do not compile are passed over."""
    reducers = [item for item in file.items if isinstance(item, tree.Reducer)]
    return [broken for r in reducers if (broken := _broken_law(r, file)) is not None]


@lru_cache(maxsize=64)
def _broken_law(reducer: tree.Reducer, file: tree.File) -> Diagnostic | None:
    if len(reducer.other) != len(reducer.state):
        return None  # the elaborator says so
    dtypes = {g.name: "f64" for g in reducer.generics}
    op = combination(reducer)
    try:
        program = elaborate(tree.File((op, *_ops(file)), file.source), op.name, dtypes=dtypes)
    except (CompileError, KeyError):
        return None
    types = [t.dtype for t in program.inputs[: len(reducer.state)]]
    identity = tuple(constant_value(None, p.default) for p in reducer.state if p.default is not None)
    if len(identity) != len(types) or None in identity:
        return None

    def combine(a: State, b: State) -> State:
        return _combine(program, types, a, b)

    with np.errstate(all="ignore"):
        for law, left, right in _cases(combine, identity, types):
            if not _close(left, right):
                return _message(reducer, law, left, right)
    return None


def _ops(file: tree.File) -> Iterator[tree.Item]:
    """What a reducer's body may call."""
    return (item for item in file.items if not isinstance(item, tree.Reducer | tree.Schedule))


def _combine(program: Program, types: Sequence[DType], a: State, b: State) -> State:
    names = [t.name for t in program.inputs]
    arrays = {
        name: np.array(value, numpy_dtype(dtype))
        for name, value, dtype in zip(names, (*a, *b), (*types, *types), strict=True)
    }
    found = run_program(program, arrays)
    return tuple(found[name][()] for name in program.results)


def _cases(
    combine: Callable[[State, State], State], identity: State, types: Sequence[DType]
) -> Iterator[tuple[str, State, State]]:
    source = random.Random(0)
    for _ in range(TRIALS):
        a, b, c = (tuple(_value(t, source) for t in types) for _ in range(3))
        yield "is not associative", combine(combine(a, b), c), combine(a, combine(b, c))
        yield "is not commutative", combine(a, b), combine(b, a)
        yield "does not leave a state alone when it meets the identity", combine(identity, a), a


def _value(dtype: DType, source: random.Random) -> object:
    """States are often counts and sums of squares, so the values are positive."""
    if dtype == DTYPES["bool"]:
        return source.random() < 0.5
    return source.uniform(0.5, 2) if dtype.is_float else source.randint(1, 9)


def _close(a: State, b: State) -> bool:
    return all(
        np.allclose(np.float64(x), np.float64(y), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)  # type: ignore[arg-type]
        for x, y in zip(a, b, strict=True)
    )


def _message(reducer: tree.Reducer, law: str, left: State, right: State) -> Diagnostic:
    return error(
        "reducer-law",
        f"the reducer `{reducer.name}` {law}",
        reducer.name_span,
        f"{_shown(left)} on one side, {_shown(right)} on the other",
        help="a schedule may combine terms in any order and grouping; see `with` in docs/language.md",
    )


def _shown(state: State) -> str:
    return f"({', '.join(f'{float(x):.4g}' for x in state)})"  # type: ignore[arg-type]  # NumPy scalars
