"""Index arithmetic in vector loops that is not linear in the lane."""

import numpy as np
import pytest

import te


@pytest.mark.parametrize("width", [4, 8, 16])
def test_products_of_the_lane_with_itself(width):
    text = (
        "op f(X: f32[N], Z: f32[81]) -> Y: f32[N] { Y[k] = X[k] + f32(k * k - 3*k*k*k) + (Z[k * k] else 5) }"
    )
    x, z = np.zeros(9, np.float32), np.arange(81, dtype=np.float32)
    k = np.arange(9)
    expected = (k * k - 3 * k**3).astype(np.float32) + z[k * k]
    np.testing.assert_array_equal(te.build(text, f"vectorize k by {width}")(x, z), expected)
