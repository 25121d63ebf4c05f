"""Sizes for which a kernel can be tried: small, ragged, as its `require`s and conditions want them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from te.ir.evaluate import NotAnIndex, evaluate
from te.ir.expr import Const, Expr
from te.ir.tensor import Program
from te.ir.visit import children
from te.schedule.nest import nest
from te.watch.footprint import value_of, works

__all__ = ["draw_sizes"]

# Around the numbers that tiles and warps are made of; most draws are of the small ones.
SMALL = (1, 2, 3, 5, 7, 8, 16, 17)
LARGER = (31, 32, 33, 48, 63, 64, 65, 96, 100, 127, 128, 130, 256)
TRIES = 4000
MOST_OPERATIONS = 2_000_000  # of one call: about a second


def draw_sizes(
    program: Program,
    conditions: Sequence[Expr],
    calls: int,
    seed: int = 0,
    *,
    most_operations: int = MOST_OPERATIONS,
) -> list[list[dict[str, int]]]:
    """Sizes for each of the `conditions`, of which the first that holds decides; so many for each, or fewer.

    The first are those with most operations, so that loops have trips.

    >>> import te
    >>> kernel = te.build("op twice(X: f32[N]) -> Y: f32[N] { require N % 6 == 4\\n Y[i] = 2 * X[i] }")
    >>> [[drawn]] = draw_sizes(kernel.program, kernel.conditions, 1)
    >>> drawn["N"] % 6
    4
    """
    operations = works(nest(program))[0].operations
    found: list[dict[tuple[int, ...], dict[str, int]]] = [{} for _ in conditions]
    for sizes in _draws(program, conditions, random.Random(seed)):
        if not all(_holds(r.condition, sizes) for r in program.requirements) or _is_negative(program, sizes):
            continue
        number = next((n for n, c in enumerate(conditions) if _holds(c, sizes)), None)
        if number is not None and (value_of(operations, sizes) or 0) <= most_operations:
            found[number][tuple(sizes.values())] = sizes
    return [_chosen(list(those.values()), operations, calls) for those in found]


def _is_negative(program: Program, sizes: Mapping[str, int]) -> bool:
    """Whether a tensor would have a negative extent, as a convolution of less than its window: calls refuse that."""
    return any(evaluate(axis.extent, sizes) < 0 for stage in program.stages for axis in stage.axes)


def _chosen(drawn: list[dict[str, int]], operations: Expr, calls: int) -> list[dict[str, int]]:
    by_work = sorted(drawn, key=lambda sizes: -(value_of(operations, sizes) or 0))
    apart = max(1, len(by_work) // max(calls, 1))
    return by_work[::apart][:calls]


def _draws(program: Program, conditions: Sequence[Expr], rng: random.Random) -> Iterator[dict[str, int]]:
    named = {c for r in program.requirements for c in _constants(r.condition)}
    named |= {c for condition in conditions for c in _constants(condition)}
    near = [n for c in sorted(named) for n in (c - 1, c, c + 1, 2 * c) if 0 < n <= max(LARGER)]
    for _ in range(TRIES):
        kinds = [rng.choice([SMALL, LARGER, near or LARGER, range(1, 130)]) for _ in program.sizes]
        yield {name: rng.choice(kind) for name, kind in zip(program.sizes, kinds, strict=True)}


def _constants(e: Expr) -> Iterator[int]:
    if isinstance(e, Const) and isinstance(e.value, int):
        yield int(e.value)
    for child in children(e):
        yield from _constants(child)


def _holds(condition: Expr, sizes: Mapping[str, int]) -> bool:
    try:
        return bool(evaluate(condition, sizes))
    except NotAnIndex:  # of floats: left to the call
        return True
