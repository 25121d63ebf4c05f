"""Attention with the automatic schedule, against NumPy: lengths around tiles, masks, dtypes, threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

import te
from te.schedule.auto.attention import attentions_of
from tests.schedule.scheduling import program

COMMON = settings(deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
QUICK = settings(
    COMMON, max_examples=8, derandomize=True, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
THOROUGH = settings(COMMON, max_examples=300)

LENGTHS = [1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 70, 129]
WIDTHS = [1, 3, 8, 16, 17, 32, 40, 64, 80]
# The condition under which query i sees key j, in the language and in NumPy.
CONDITIONS = {
    "": lambda i, j, mask: np.ones_like(mask),
    "j <= i": lambda i, j, mask: j <= i,
    "j <= i + N - M": lambda i, j, mask: j <= i + mask.shape[1] - mask.shape[0],
    "j <= i and j > i - 9": lambda i, j, mask: (j <= i) & (j > i - 9),
    "mask[i, j]": lambda i, j, mask: mask,
    "mask[i, j] and j <= i": lambda i, j, mask: mask & (j <= i),
}
SCORES = {
    "": lambda s, i, j, bias: s,
    " * 0.25": lambda s, i, j, bias: s * 0.25,
    " / sqrt(T(D))": None,
    " + bias[i, j]": lambda s, i, j, bias: s + bias,
    " - T(i - j) * 0.5": lambda s, i, j, bias: s - (i - j) * 0.5,
}
DTYPES = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
TOLERANCE = {"f32": 2e-5, "f64": 1e-12, "f16": 2e-2, "bf16": 1e-1}


@dataclass(frozen=True)
class Drawn:
    dtype: str
    condition: str
    score: str
    heads: int
    groups: int
    queries: int
    keys: int
    terms: int
    columns: int
    fixed: bool
    seed: int
    of_weights: bool  # the condition makes weights 0, and the sums take all of them

    @property
    def text(self) -> str:
        where = f" where {self.condition}" if self.condition else ""
        of_sums = "" if self.of_weights else where
        weight = "exp(S[h, i, j] - m[h, i])"
        if self.of_weights and self.condition:
            weight = f"where({self.condition}, {weight}, 0)"
        return f"""
op attention<T: float>(Q: T[H, M, D], K: T[G, N, D], V: T[G, N, E], bias: T[M, N], mask: bool[M, N])
        -> O: T[H, M, E] {{
    require G >= 1 and H % G == 0
    S[h, i, j] = sum[d](Q[h, i, d] * K[h // (H // G), j, d]){self.score}
    m[h, i]    = max[j{where}](S[h, i, j])
    p[h, i, j] = {weight}
    l[h, i]    = sum[j{of_sums}](p[h, i, j])
    A[h, i, e] = sum[j{of_sums}](p[h, i, j] * V[h // (H // G), j, e])
    O[h, i, e] = A[h, i, e] / l[h, i]
}}"""

    @property
    def sizes(self) -> dict[str, int]:
        return {
            "H": self.heads * self.groups,
            "G": self.groups,
            "M": self.queries,
            "N": self.keys,
            "D": self.terms,
            "E": self.columns,
        }


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    return Drawn(
        draw(st.sampled_from(["f32", "f32", "f32", *DTYPES])),
        draw(st.sampled_from([*CONDITIONS])),
        draw(st.sampled_from([*SCORES])),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 2)),
        draw(st.sampled_from(LENGTHS)),
        draw(st.sampled_from(LENGTHS)),
        draw(st.sampled_from(WIDTHS)),
        draw(st.sampled_from(WIDTHS)),
        draw(st.sampled_from([True, True, False])),
        draw(st.integers(0, 99)),
        draw(st.booleans()),
    )


def arrays_of(d: Drawn) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(d.seed)
    s, dtype = d.sizes, DTYPES[d.dtype]
    shapes = {"Q": (s["H"], s["M"], s["D"]), "K": (s["G"], s["N"], s["D"]), "V": (s["G"], s["N"], s["E"])}
    found = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    bias = rng.standard_normal((s["M"], s["N"]))
    bias[rng.random(bias.shape) < rng.choice([0.0, 0.3, 1.0])] = -np.inf
    found["bias"] = bias.astype(dtype)
    found["mask"] = rng.random(bias.shape) < rng.choice([0.0, 0.7, 1.0])
    return found


def expected(d: Drawn, a: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """With all logits at once, in f64, but rounded to the dtype once."""
    q, k, v, bias = (a[name].astype(np.float64) for name in ("Q", "K", "V", "bias"))
    k, v = (np.repeat(x, d.heads, axis=0) for x in (k, v))
    i, j = np.arange(d.queries)[:, None], np.arange(d.keys)[None]
    logits = np.einsum("hid,hjd->hij", q, k)
    logits = SCORES[d.score](logits, i, j, bias) if SCORES[d.score] else logits / np.sqrt(d.terms)
    # They are stored: of a logit of 64 in bf16, an eighth is lost.
    logits = logits.astype(DTYPES[d.dtype]).astype(np.float64)
    sees = np.broadcast_to(CONDITIONS[d.condition](i, j, a["mask"]), logits.shape)
    with np.errstate(all="ignore"):
        largest = np.max(np.where(sees, logits, -np.inf), axis=-1, keepdims=True)
        weights = np.where(sees, np.exp(logits - largest), 0.0)
        return np.einsum("hij,hje->hie", weights, v) / weights.sum(-1)[..., None]


def check(d: Drawn) -> None:
    # Weights that are rounded to a narrow type cannot be rescaled.
    assert len(attentions_of(program(d.text, dtypes={"T": d.dtype}))) == (d.dtype in ("f32", "f64"))
    kernel = te.build(d.text, dtypes={"T": d.dtype}, sizes=d.sizes if d.fixed else None)
    arrays = arrays_of(d)
    got = np.asarray(kernel(*arrays.values())).astype(np.float64)
    want = expected(d, arrays)
    event(f"{d.dtype} {d.condition or 'all keys'}")
    np.testing.assert_allclose(got, want, rtol=TOLERANCE[d.dtype], atol=TOLERANCE[d.dtype])


@QUICK
@given(drawn())
def test_attention(d: Drawn) -> None:
    check(d)


@pytest.mark.slow
@THOROUGH
@given(drawn())
def test_attention_thoroughly(d: Drawn) -> None:
    check(d)
