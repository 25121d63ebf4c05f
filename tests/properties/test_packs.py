"""An op with a pack means, for every number of axes that the pack may stand for, what NumPy's `...` means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import te

FEW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LETTERS = "abcd"


@dataclass(frozen=True)
class Packed:
    """Axes written out, in front of the pack and behind it."""

    before: int
    after: int
    rank: int  # of the pack

    def text(self) -> str:
        front, back = LETTERS[: self.before], LETTERS[2 : 2 + self.after]
        index = ", ".join([*front, "*s", *back])
        sizes = ", ".join([*front.upper(), "*S", *back.upper()])
        turned = ", ".join(["*s", *back, *front])
        turned_sizes = ", ".join(["*S", *back.upper(), *front.upper()])
        kept, kept_sizes = ", ".join([*front, *back]), ", ".join([*front.upper(), *back.upper()])
        total = f"total[{kept}]" if kept else "total"
        return f"""op f<T: int>(X: T[{sizes}], V: T[*S]) -> moved: T[{turned_sizes}],
                total: T{f"[{kept_sizes}]" if kept else ""}, both: T[{sizes}] {{
            moved[{turned}] = X[{index}]
            {total} = sum[*s](X[{index}] * V[*s])
            both[{index}] = X[{index}] - V[*s] * max[*p](V[*p])
        }}"""

    def expected(self, x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
        pack = tuple(range(self.before, self.before + self.rank))
        spread = v.reshape(v.shape + (1,) * self.after)
        largest = v.max(initial=np.iinfo(v.dtype).min)
        moved = np.moveaxis(x, range(self.before), range(-self.before, 0)) if self.before else x
        return moved, (x * spread).sum(pack, dtype=x.dtype), x - spread * largest


@cache
def kernel(text: str, schedule: str) -> te.Kernel:
    return te.build(text, schedule)  # one for all ranks: the call decides


@st.composite
def packed(draw: st.DrawFn) -> Packed:
    return Packed(draw(st.integers(0, 2)), draw(st.integers(0, 2)), draw(st.integers(0, 3)))


@given(packed(), st.sampled_from(["i32", "i64", "u8"]), st.sampled_from(["none", "auto"]), st.data())
@FEW
def test_packs(op: Packed, dtype: str, schedule: str, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.sampled_from([1, 2, 3, 0, 5]), min_size=7, max_size=7))
    shape = shape[: op.before + op.rank + op.after]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    numpy = {"i32": np.int32, "i64": np.int64, "u8": np.uint8}[dtype]
    x = rng.integers(0, 200, shape).astype(numpy)
    v = rng.integers(0, 200, shape[op.before : op.before + op.rank]).astype(numpy)
    for found, expected in zip(kernel(op.text(), schedule)(x, v), op.expected(x, v), strict=True):
        assert found.dtype == numpy
        np.testing.assert_array_equal(found, expected)
