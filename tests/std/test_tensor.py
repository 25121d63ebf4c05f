"""Moving elements about against NumPy's functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import te
from tests.std.comparing import Array, Case, case, compare, comparisons

NUMBERS = "f64 f32 i32"
ROWS = [((3, 5),), ((4,),), ((2, 3, 4),), ((0, 3),), ((3, 1),)]


def conditions(*shape: int) -> Any:
    return lambda rng: rng.random(size=shape) < 0.5


def ids(low: int, high: int, *shape: int) -> Any:
    return lambda rng: rng.integers(low, high, shape)


def pad(
    x: Array, mode: str, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0, **more: Any
) -> Array:
    sides = [(0, 0)] * x.ndim
    sides[-1] = (left, right)
    if top or bottom:
        sides[-2] = (top, bottom)
    return np.pad(x, sides, mode, **more)


def padded(mode: str) -> Any:
    if mode == "constant":
        return lambda x, value, **sides: pad(x, mode, constant_values=value, **sides)
    return lambda x, **sides: pad(x, mode, **sides)


def index_add(x: Array, ids: Array, source: Array) -> Array:
    y = x.copy()
    for i, row in zip(ids, source, strict=True):
        if 0 <= i < len(y):
            y[i] += row
    return y


def scatter_add(ids: Array, source: Array, rows: int) -> Array:
    return index_add(np.zeros((rows, *source.shape[1:]), source.dtype), ids, source)


def heads_apart(x: Array, heads: int) -> Array:
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def diagonals(x: Array) -> Array:
    return np.eye(x.shape[-1], dtype=x.dtype) * x[..., None]


SIDES = {"left": 2, "right": 1}
ALL_SIDES = {**SIDES, "top": 1, "bottom": 2}
TWO = [((3, 4), (2, 4)), ((5,), (4,)), ((0, 4), (2, 4)), ((2, 3, 4), (1, 3, 4))]
THREE = [((3, 4), (2, 4), (1, 4)), ((5,), (0,), (4,))]
TWO_LAST = [((4, 3), (4, 2)), ((5,), (4,)), ((4, 0), (4, 2)), ((2, 3, 4), (2, 3, 1))]
THREE_LAST = [((4, 3), (4, 2), (4, 1)), ((5,), (0,), (4,))]


def sliced(axis: int) -> Callable[..., Array]:
    def cut(x: Array, start: int, stop: int, step: int = 1) -> Array:
        return np.take(x, range(start, stop, step), axis)

    return cut


CASES = [
    case("tensor.nchw_to_nhwc", lambda x: np.moveaxis(x, 1, -1), [((2, 3, 4, 5),), ((0, 3, 4, 5),)], NUMBERS),
    case("tensor.nhwc_to_nchw", lambda x: np.moveaxis(x, -1, 1), [((2, 3, 4, 5),), ((0, 3, 4, 5),)], NUMBERS),
    case("tensor.transpose", lambda x: np.swapaxes(x, -1, -2), [((3, 5),), ((2, 3, 4),), ((0, 3),)], NUMBERS),
    case("tensor.swap_leading", lambda x: np.swapaxes(x, 0, 1), [((3, 5),), ((2, 3, 4),)], NUMBERS),
    case("tensor.split_heads", heads_apart, [((2, 3, 8),), ((1, 1, 2),)], heads=2),
    case(
        "tensor.merge_heads",
        lambda x: x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1),
        [((2, 4, 3, 2),)],
    ),
    case(
        "tensor.flatten",
        lambda x: x.reshape(*x.shape[:-2], -1),
        [((3, 5),), ((2, 3, 4),), ((2, 1, 1),)],
        NUMBERS,
    ),
    case("tensor.constant_pad1d", padded("constant"), [(*x, 2.0) for x in ROWS], **SIDES),
    case(
        "tensor.constant_pad2d",
        padded("constant"),
        [((3, 5), 2.0), ((2, 3, 4), 0.0), ((0, 3), 1.0)],
        **ALL_SIDES,
    ),
    case("tensor.replication_pad1d", padded("edge"), [((3, 5),), ((3, 1),), ((4,),)], NUMBERS, **SIDES),
    case("tensor.replication_pad2d", padded("edge"), [((3, 5),), ((1, 1),), ((2, 3, 4),)], **ALL_SIDES),
    case("tensor.reflection_pad1d", padded("reflect"), [((3, 5),), ((2, 3),), ((4,),)], NUMBERS, **SIDES),
    case("tensor.reflection_pad2d", padded("reflect"), [((3, 5),), ((3, 3),), ((2, 3, 4),)], **ALL_SIDES),
    case("tensor.concat", lambda *x: np.concatenate(x), TWO, NUMBERS),
    case("tensor.concat3", lambda *x: np.concatenate(x), THREE, NUMBERS),
    case("tensor.concat_last", lambda *x: np.concatenate(x, -1), TWO_LAST, NUMBERS),
    case("tensor.concat3_last", lambda *x: np.concatenate(x, -1), THREE_LAST, NUMBERS),
    case(
        "tensor.concat_channels",
        lambda *x: np.concatenate(x, 1),
        [((2, 3), (2, 4)), ((2, 3, 5, 4), (2, 1, 5, 4)), ((2, 0, 5), (2, 3, 5))],
        NUMBERS,
    ),
    case(
        "tensor.concat_rows",
        lambda *x: np.concatenate(x, -2),
        [((3, 2), (4, 2)), ((2, 5, 3, 4), (2, 5, 1, 4)), ((5, 0, 2), (5, 3, 2))],
        NUMBERS,
    ),
    case("tensor.stack", lambda *x: np.stack(x), [((3, 4), (3, 4)), ((5,), (5,)), ((0,), (0,))]),
    case("tensor.chunk2", lambda x: tuple(np.array_split(x, 2, -1)), ROWS, NUMBERS),
    case(
        "tensor.slice",
        lambda x, start, stop, step=1: x[..., start:stop:step],
        [((3, 9),), ((8,),)],
        start=1,
        stop=8,
        step=3,
    ),
    *[
        case(f"tensor.{op}", sliced(axis), [((9, 8),), ((8, 8, 8),)], start=start, stop=stop, **step)
        for op, axis in (("slice_first", 0), ("slice_channels", 1), ("slice_rows", -2))
        for start, stop, step in ((1, 8, {"step": 3}), (2, 2, {}))
    ],
    case("tensor.slice", lambda x, start, stop: x[..., start:stop], [((3, 9),)], start=2, stop=2),
    case(
        "tensor.narrow",
        lambda x, start, length: x[start : start + length],
        [((5, 2),), ((3,),)],
        start=1,
        length=2,
    ),
    case("tensor.flip", lambda x: np.flip(x, -1), ROWS, NUMBERS),
    *[
        case("tensor.roll", lambda x, shift: np.roll(x, shift, -1), ROWS, NUMBERS, shift=s)
        for s in (2, -1, 7)
    ],
    case("tensor.tile", lambda x, repeats: np.tile(x, repeats), ROWS, repeats=3),
    case("tensor.repeat_interleave", lambda x, repeats: x.repeat(repeats, -1), ROWS, repeats=3),
    case("tensor.expand", lambda x, rows: np.stack([x] * rows), ROWS, rows=4),
    case(
        "tensor.index_select",
        lambda x, i: x[i],
        [((4, 3), ids(0, 4, 9)), ((4,), ids(0, 4, 9)), ((4, 3), ids(0, 4, 0))],
        NUMBERS,
    ),
    case(
        "tensor.gather",
        lambda x, i: np.take_along_axis(x, i, -1),
        [((4, 3), ids(0, 3, 4, 9)), ((4,), ids(0, 4, 9)), ((4, 3), ids(0, 3, 4, 0))],
        NUMBERS,
    ),
    case(
        "tensor.index_add",
        index_add,
        [((4, 3), ids(0, 4, 9), (9, 3)), ((4,), ids(-1, 6, 9), (9,)), ((4, 3), ids(0, 4, 0), (0, 3))],
        NUMBERS,
    ),
    case("tensor.scatter_add", scatter_add, [(ids(0, 4, 9), (9, 3)), (ids(-1, 6, 9), (9,))], NUMBERS, rows=4),
    case(
        "tensor.bincount", lambda i, bins: np.bincount(i, minlength=bins), [(ids(0, 5, 30),)], "f32", bins=5
    ),
    case(
        "tensor.one_hot",
        lambda i, num_classes: np.eye(num_classes)[i],
        [(ids(0, 5, 7),), (ids(0, 5, 2, 3),), (ids(0, 5, 0),)],
        "f32",
        num_classes=5,
    ),
    case(
        "tensor.where_", np.where, [(conditions(3, 4), (3, 4), (3, 4)), (conditions(9), (9,), (9,))], NUMBERS
    ),
    case("tensor.masked_fill", lambda x, m, v: np.where(m, v, x), [((3, 4), conditions(3, 4), 2.0)], NUMBERS),
    *[
        case(
            "tensor.tril",
            lambda x, diagonal: np.tril(x, diagonal),
            [((3, 5),), ((2, 4, 3),)],
            NUMBERS,
            diagonal=d,
        )
        for d in (0, 1, -2)
    ],
    *[
        case(
            "tensor.triu",
            lambda x, diagonal: np.triu(x, diagonal),
            [((3, 5),), ((2, 4, 3),)],
            NUMBERS,
            diagonal=d,
        )
        for d in (0, 1, -2)
    ],
    case("tensor.diag_embed", diagonals, [((4,),), ((2, 3),), ((0,),)], NUMBERS),
    *[case("tensor.eye", lambda n: np.eye(n), [()], "f32", n=n) for n in (0, 1, 5)],
    case(
        "tensor.arange",
        lambda n, start, step: np.arange(n) * step + start,
        [()],
        "f32",
        n=5,
        start=-3,
        step=2,
    ),
    *[
        case(
            "tensor.linspace",
            lambda n, start, stop: np.linspace(start, stop, n),
            [()],
            "f32",
            n=n,
            start=-1.0,
            stop=2.5,
        )
        for n in (0, 1, 7)
    ],
    case("tensor.causal_mask", lambda n: np.tri(n, dtype=bool), [()], "f32", n=4),
]


@comparisons(CASES)
def test_moves(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)


def test_reflection_needs_enough_to_reflect() -> None:
    kernel = te.build(te.std.tensor.reflection_pad1d, consts={"left": 3}, dtypes={"T": "f32"})
    with pytest.raises(ValueError, match="left < N"):
        kernel(np.zeros((1, 3), "f4"))
