"""Convolutions by Winograd's transforms: chosen under `math="fast"` alone, where sizes make it pay."""

from __future__ import annotations

import numpy as np
import pytest

import te
from tests.schedule.scheduling import program, random_inputs

CONV = """
op conv(X: f32[N, C, H, W], param F: f32[K, C, R, R], b: f32[K], const pad: int = 1, const stride: int = 1)
        -> Y: f32[N, K, (H + 2*pad - R) // stride + 1, (W + 2*pad - R) // stride + 1] {
    require pad >= 0 and stride >= 1
    Y[n, k, y, x] = max(b[k] + sum[c, r, s](
        (X[n, c, y*stride + r - pad, x*stride + s - pad] else 0) * F[k, c, r, s]), 0)
}
"""
SIZES = {"N": 1, "C": 32, "H": 12, "W": 15, "K": 48, "R": 3}


@pytest.mark.parametrize(
    ("other", "pad"),
    [({}, 1), ({"N": 2, "W": 33}, 1), ({"H": 8, "W": 7}, 1), ({"C": 40, "K": 33}, 2), ({}, 0)],
)
def test_results_differ_by_rounding(other: dict[str, int], pad: int) -> None:
    sizes, consts = SIZES | other, {"pad": pad}
    inputs = random_inputs(program(CONV, sizes=sizes, consts=consts), sizes)
    fast = te.build(CONV, sizes=sizes, consts=consts, math="fast")
    assert "precompute" in str(fast.schedule)
    expected = te.build(CONV, schedule="none", consts=consts)(**inputs)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(fast(**inputs) / scale, expected / scale, atol=2e-5)


def is_transformed(sizes: dict[str, int], consts: dict[str, int] | None = None, **options: str) -> bool:
    built = te.build(CONV, sizes=sizes, consts=consts, **options)  # type: ignore[arg-type]  # strings
    return "precompute" in str(built.schedule)


def test_only_where_it_is_allowed_and_pays() -> None:
    assert is_transformed(SIZES, math="fast")
    assert not is_transformed(SIZES)
    assert not is_transformed(SIZES | {"C": 8}, math="fast")
    assert not is_transformed(SIZES | {"H": 5, "W": 5}, math="fast")
    assert not is_transformed(SIZES | {"R": 5}, math="fast")
    assert not is_transformed(SIZES, {"stride": 2}, math="fast")
    assert not is_transformed({"R": 3}, math="fast")
    assert not is_transformed(SIZES, math="fast", schedule="none")
