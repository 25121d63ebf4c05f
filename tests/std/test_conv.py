"""Convolutions, pooling and resizing against loops over windows in NumPy, and SciPy's correlate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import ndimage, signal

import te
from tests.std.comparing import Array, Case, case, compare, comparisons


def each_axis(axes: int, own: dict[str, int], **alike: int) -> dict[str, tuple[int, ...]]:
    """The numbers of each axis: its own (`stride_w`), or those that hold for all alike (`stride`)."""
    return {
        name: tuple(own.get(f"{name}_{axis}", value) for axis in "dhw"[3 - axes :])
        for name, value in alike.items()
    }


def windows(
    x: Array,
    size: tuple[int, ...],
    outside: float,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Iterator[tuple[tuple[int, ...], Array]]:
    """The place and the contents of every window over the axes behind the second."""
    axes = len(size)
    x = np.pad(x, [(0, 0)] * (x.ndim - axes) + [(p, p) for p in padding], constant_values=outside)
    covered = [d * (s - 1) + 1 for d, s in zip(dilation, size, strict=True)]
    counts = [(n - c) // by + 1 for n, c, by in zip(x.shape[-axes:], covered, stride, strict=True)]
    for place in product(*map(range, counts)):
        cut = [
            slice(p * by, p * by + c, d) for p, by, c, d in zip(place, stride, covered, dilation, strict=True)
        ]
        yield place, x[(..., *cut)]


def collected(places: Iterator[tuple[tuple[int, ...], Array]]) -> Array:
    """Values by place, the axes of the places last."""
    values = dict(places)
    shape = tuple(max(p[a] for p in values) + 1 for a in range(len(next(iter(values)))))
    result = np.empty((*next(iter(values.values())).shape, *shape))
    for place, value in values.items():
        result[(..., *place)] = value
    return result


def conv(
    x: Array,
    weight: Array,
    bias: Array,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    **own: int,
) -> Array:
    numbers = each_axis(x.ndim - 2, own, stride=stride, padding=padding, dilation=dilation)

    def parts() -> Iterator[tuple[tuple[int, ...], Array]]:
        for place, window in windows(x, weight.shape[2:], 0, **numbers):
            of_groups = [
                np.tensordot(w, f, (range(1, w.ndim), range(1, f.ndim)))
                for w, f in zip(np.split(window, groups, 1), np.split(weight, groups, 0), strict=True)
            ]
            yield place, np.concatenate(of_groups, 1) + bias

    return collected(parts())


def depthwise(x: Array, weight: Array, bias: Array, **consts: int) -> Array:
    return conv(x, weight[:, None], bias, groups=len(weight), **consts)


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    dilation: int = 1,
    **own: int,
) -> Array:
    """Every element of `x` adds the filter to the result, which is then cut."""
    numbers = each_axis(
        x.ndim - 2, own, stride=stride, padding=padding, output_padding=output_padding, dilation=dilation
    )
    covered = [d * (s - 1) + 1 for d, s in zip(numbers["dilation"], weight.shape[2:], strict=True)]
    extents = [
        (n - 1) * by + c + more
        for n, by, c, more in zip(
            x.shape[2:], numbers["stride"], covered, numbers["output_padding"], strict=True
        )
    ]
    y = np.zeros((x.shape[0], weight.shape[1], *extents))
    for place in product(*map(range, x.shape[2:])):
        added = np.tensordot(x[(..., *place)], weight, (1, 0))
        cut = [
            slice(p * by, p * by + c, d)
            for p, by, c, d in zip(place, numbers["stride"], covered, numbers["dilation"], strict=True)
        ]
        y[(..., *cut)] += added
    y = y[(..., *[slice(p, n - p) for p, n in zip(numbers["padding"], extents, strict=True)])]
    return y + bias.reshape(-1, *[1] * (x.ndim - 2))


def pool(reduce: Callable[..., Any], outside: float) -> Callable[..., Array]:
    def pooled(
        x: Array, kernel_size: int, stride: int = 0, padding: int = 0, dilation: int = 1, **own: int
    ) -> Array:
        axes = x.ndim - 2
        size = each_axis(axes, own, kernel=kernel_size)["kernel"]
        numbers = each_axis(axes, own, stride=stride or kernel_size, padding=padding, dilation=dilation)
        each = windows(x, size, outside, **numbers)
        return collected((place, reduce(w, tuple(range(2, x.ndim)))) for place, w in each)

    return pooled


def avg_pool(x: Array, count_include_pad: bool = True, **consts: int) -> Array:
    return pool(np.mean, 0)(x, **consts) if count_include_pad else pool(np.nanmean, np.nan)(x, **consts)


def nearest(x: Array, height: int, width: int) -> Array:
    rows = np.floor(np.arange(height) * (x.shape[2] / height) + 1e-9).astype(int)
    columns = np.floor(np.arange(width) * (x.shape[3] / width) + 1e-9).astype(int)
    return x[:, :, rows][:, :, :, columns]


def bilinear(x: Array, height: int, width: int) -> Array:
    """Linear interpolation by SciPy at the centres of the new pixels."""
    rows = (np.arange(height) + 0.5) * x.shape[2] / height - 0.5
    columns = (np.arange(width) + 0.5) * x.shape[3] / width - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    planes = [ndimage.map_coordinates(p, grid, order=1, mode="nearest") for p in x.reshape(-1, *x.shape[2:])]
    return np.array(planes).reshape(*x.shape[:2], height, width)


def space_to_depth(x: Array, block: int) -> Array:
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // block, block, w // block, block)
    return parts.transpose(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)


def depth_to_space(x: Array, block: int) -> Array:
    n, c, h, w = x.shape
    parts = x.reshape(n, block, block, c // block**2, h, w)
    return parts.transpose(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)


def pixel_shuffle(x: Array, factor: int) -> Array:
    n, c, h, w = x.shape
    parts = x.reshape(n, c // factor**2, factor, factor, h, w)
    return parts.transpose(0, 1, 4, 2, 5, 3).reshape(n, c // factor**2, h * factor, w * factor)


def pixel_unshuffle(x: Array, factor: int) -> Array:
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // factor, factor, w // factor, factor)
    return parts.transpose(0, 1, 3, 5, 2, 4).reshape(n, c * factor**2, h // factor, w // factor)


SETTINGS = [
    {},
    {"stride": 2, "padding": 1},
    {"padding": 2, "dilation": 2},
    {"stride": 3, "padding": 1, "dilation": 2},
]
LINE = [((2, 4, 11), (6, 4, 3), (6,)), ((1, 1, 7), (1, 1, 1), (1,))]
PLANE = [((2, 4, 9, 7), (6, 4, 3, 2), (6,)), ((1, 1, 7, 7), (1, 1, 1, 1), (1,))]
GROUPS = [((2, 4, 9, 7), (6, 2, 3, 2), (6,)), ((1, 2, 7, 7), (2, 1, 3, 3), (2,))]
OWN = [
    {"stride_h": 2, "padding_w": 1, "dilation_h": 2},
    {"stride": 2, "stride_w": 1, "padding": 1, "padding_h": 2, "dilation_w": 3},
]
OWN_IN_SPACE = [{**OWN[0], "padding_d": 2}, {"stride_d": 3, "dilation_w": 2, "padding": 1, "padding_h": 0}]
OWN_WINDOWS = [
    {"kernel_size": 3, "kernel_w": 2, "stride": 1, "padding_h": 1},
    {"kernel_size": 2, "kernel_h": 4, "stride_h": 1, "padding": 1, "padding_h": 2},
]
SPACE = [((1, 2, 6, 5, 7), (3, 2, 3, 2, 3), (3,))]
CHANNELS = [((2, 4, 9, 7), (4, 3, 2), (4,)), ((1, 1, 7, 7), (1, 1, 1), (1,))]
TRANSPOSED = [((2, 4, 5, 3), (4, 6, 3, 2), (6,)), ((1, 1, 4, 4), (1, 1, 3, 3), (1,))]
BOXES = [((2, 2, 5, 6, 7),), ((1, 1, 4, 4, 4),)]
PICTURES = [((2, 3, 8, 9),), ((1, 1, 5, 5),)]
BLOCKS = [((2, 4, 6, 8),), ((1, 8, 2, 2),)]


def sums(x: Array, weight: Array, **settings: int) -> Array:
    """A convolution without a bias."""
    return conv(x, weight, np.zeros(len(weight)), **settings)


TRANSFORMED = [((2, 3, 9, 8), (4, 3, 3, 3)), ((1, 2, 6, 5), (3, 2, 3, 3))]

CASES = [
    *[case("winograd.windows", sums, TRANSFORMED, **s) for s in ({}, {"padding": 1})],
    *[
        case("winograd.conv2d", conv, [(*shapes, shapes[1][:1]) for shapes in TRANSFORMED], **s)
        for s in ({}, {"padding": 1}, {"padding": 1, "padding_w": 2})
    ],
    *[case("conv.conv1d", conv, LINE, **s) for s in SETTINGS],
    *[case("conv.conv2d", conv, PLANE, **s) for s in SETTINGS],
    *[case("conv.conv2d", conv, GROUPS, groups=2, **s) for s in SETTINGS[:2]],
    *[case("conv.conv3d", conv, SPACE, **s) for s in SETTINGS[:2]],
    *[case("conv.conv2d", conv, PLANE[:1], **s) for s in OWN],
    *[case("conv.conv3d", conv, SPACE, **s) for s in OWN_IN_SPACE],
    *[case("conv.depthwise_conv2d", depthwise, CHANNELS[:1], **s) for s in OWN],
    *[case("conv.conv_transpose2d", conv_transpose, TRANSPOSED, output_padding_w=1, **s) for s in OWN],
    case("conv.conv1d", conv, [((2, 4, 9), (6, 2, 3), (6,))], groups=2),
    *[case("conv.depthwise_conv2d", depthwise, CHANNELS, **s) for s in SETTINGS],
    *[case("conv.conv_transpose1d", conv_transpose, [((2, 4, 5), (4, 6, 3), (6,))], **s) for s in SETTINGS],
    *[case("conv.conv_transpose2d", conv_transpose, TRANSPOSED, **s) for s in SETTINGS],
    case("conv.conv_transpose2d", conv_transpose, TRANSPOSED, stride=2, padding=1, output_padding=1),
    case("conv.max_pool1d", pool(np.max, -np.inf), [((2, 3, 9),)], kernel_size=3, stride=2, padding=1),
    case("conv.max_pool2d", pool(np.max, -np.inf), PICTURES, kernel_size=2),
    case("conv.max_pool2d", pool(np.max, -np.inf), PICTURES, kernel_size=3, stride=2, padding=1),
    case("conv.max_pool2d", pool(np.max, -np.inf), PICTURES, kernel_size=2, stride=1, dilation=2),
    *[case("conv.max_pool2d", pool(np.max, -np.inf), PICTURES, dilation_w=2, **s) for s in OWN_WINDOWS],
    case("conv.max_pool3d", pool(np.max, -np.inf), BOXES, kernel_size=2),
    case("conv.max_pool3d", pool(np.max, -np.inf), BOXES, kernel_size=3, kernel_d=2, stride=2, padding=1),
    case("conv.avg_pool1d", avg_pool, [((2, 3, 9),)], kernel_size=3, stride=2, padding=1),
    case("conv.avg_pool1d", avg_pool, [((2, 3, 9),)], kernel_size=3, padding=1, count_include_pad=False),
    case("conv.avg_pool2d", avg_pool, PICTURES, kernel_size=2),
    case("conv.avg_pool2d", avg_pool, PICTURES, kernel_size=3, stride=2, padding=1),
    case("conv.avg_pool2d", avg_pool, PICTURES, kernel_size=3, stride=2, padding=1, count_include_pad=False),
    *[
        case("conv.avg_pool2d", avg_pool, PICTURES, count_include_pad=counts, **s)
        for s in OWN_WINDOWS
        for counts in (True, False)
    ],
    case("conv.avg_pool3d", avg_pool, BOXES, kernel_size=2),
    *[
        case("conv.avg_pool3d", avg_pool, BOXES, kernel_size=3, kernel_w=2, padding=1, count_include_pad=c)
        for c in (True, False)
    ],
    case(
        "conv.global_average_pool", lambda x: x.reshape(*x.shape[:2], -1).mean(-1), [*PICTURES, ((2, 3, 4),)]
    ),
    case("conv.global_max_pool", lambda x: x.reshape(*x.shape[:2], -1).max(-1), [*PICTURES, ((2, 3, 4),)]),
    *[case("conv.resize_nearest", nearest, PICTURES, height=h, width=w) for h, w in ((16, 4), (3, 11))],
    *[case("conv.resize_bilinear", bilinear, PICTURES, height=h, width=w) for h, w in ((16, 4), (3, 11))],
    case("conv.upsample_nearest", lambda x, scale: x.repeat(scale, 2).repeat(scale, 3), PICTURES, scale=3),
    case("conv.space_to_depth", space_to_depth, BLOCKS, block=2),
    case("conv.depth_to_space", depth_to_space, BLOCKS, block=2),
    case("conv.pixel_shuffle", pixel_shuffle, BLOCKS, factor=2),
    case("conv.pixel_unshuffle", pixel_unshuffle, BLOCKS, factor=2),
]


@comparisons(CASES)
def test_windows(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)


def test_convolution_is_scipys_correlation() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(12, 9)), rng.normal(size=(3, 4))
    found = te.build(te.std.conv.conv2d, dtypes={"T": "f64"})(x[None, None], weight[None, None], np.zeros(1))
    np.testing.assert_allclose(found[0, 0], signal.correlate2d(x, weight, "valid"), rtol=1e-12, atol=1e-12)


def test_groups_must_divide_the_channels() -> None:
    kernel = te.build(te.std.conv.conv2d, consts={"groups": 2}, dtypes={"T": "f32"})
    with pytest.raises(ValueError, match="C == CG \\* groups"):
        kernel(np.zeros((1, 3, 4, 4), "f4"), np.zeros((2, 2, 3, 3), "f4"), np.zeros(2, "f4"))
