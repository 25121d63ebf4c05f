"""Small programs that `test_programs` found to be compiled wrongly, and refusals that it met, each reduced by hand.

A case holds the program, its inputs, and the result in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import te
from te.backends.interp.tensor import run_program
from te.diagnostics import Source
from te.elaborate.elaborate import elaborate
from te.grammar.parser import parse_file

WAYS = ("interpreter", "none", "auto")
RANDOM = np.random.default_rng(0)
ROW = RANDOM.standard_normal(20, dtype=np.float32)
SQUARE = RANDOM.standard_normal((20, 20), dtype=np.float32)
FLAT = RANDOM.standard_normal((33, 1, 33), dtype=np.float32)
COLUMNS = np.arange(20)


@dataclass(frozen=True)
class Case:
    text: str
    inputs: tuple[np.ndarray, ...]
    expected: np.ndarray
    sizes: dict[str, int] | None = None


CASES = {
    # Where `a or b` fails, both do, though one of them asks data.
    "failed-or-with-data": Case(
        "op f(B: f32[K]) -> Y: f32[K] { Y[l] = where(l < 1 or i64(B[l]) < 0, 7, B[clamp(l - 1, 0, K - 1)]) }",
        (np.arange(5, dtype=np.float32),),
        np.array([7, 0, 1, 2, 3], np.float32),
    ),
    # The `where` of a reduction is a guard for the reads of a reduction inside it.
    "guard-of-outer-reduction": Case(
        "op f(X: f32[N], Q: f32[M]) -> y: f32 { y = min[p < N where p > 0](max[j](X[p - 1] + Q[j])) }",
        (ROW, ROW[:3]),
        np.min(ROW[:-1] + ROW[:3].max()),
    ),
    # A lifted reduction runs for N = 0 too, where the index `i` promised that N is not 0.
    "reduction-without-its-index": Case(
        "op f(X: f32[N], ids: i64[M]) -> Y: f32[N] { Y[i] = X[i] + sum[k](X[clamp(ids[k], 0, N - 1)]) }",
        (ROW[:0], np.zeros(3, np.int64)),
        ROW[:0],
    ),
    # Where the condition fails, the reduction gives its identity: the loop over `k` must not shrink.
    "condition-on-data-loops": Case(
        "op f(X: f32[h, N, h]) -> Y: f32[N, 2*h] { Y[j, k] = min[l < 2 where k + j < N](X[k % h, j, k // 2]) }",
        (FLAT,),
        np.where(np.arange(66) == 0, FLAT[0, 0, 0], np.float32(np.inf))[None],
    ),
    "condition-on-two-data-loops": Case(
        "op f(X: f32[N]) -> Y: f32[N, 3] { Y[j, l] = sum[k where l == j](X[k] * 0 + 1) }",
        (ROW,),
        np.where(np.arange(3) == COLUMNS[:, None], np.float32(20), np.float32(0)),
    ),
    # Nothing of a loop may run where it has no trips.
    "read-in-an-empty-loop": Case(
        """op f(X: bool[K, N], B: f32[N]) -> Y: f32[K, N] {
            E[k < N] = sum[j < N](B[k] * B[j])
            Y[i, l] = f32(l) - E[N - 1]
        }""",
        (np.zeros((5, 0), bool), ROW[:0]),
        np.zeros((5, 0), np.float32),
    ),
    "diagonal": Case(
        "op f(X: f32[N, N]) -> y: f32 { y = min[k, j where k == j](X[k, j]) }",
        (SQUARE,),
        np.diag(SQUARE).min(),
    ),
    "triangle-on-threads": Case(
        "op f(X: f32[N]) -> V: f32[N] { V[k] = max[l < N where k < l](X[l]) }",
        (ROW,),
        np.append(np.maximum.accumulate(ROW[:0:-1])[::-1], np.float32(-np.inf)),
    ),
    "where-around-a-constant-reduction": Case(
        "op f(X: i64[N]) -> Y: f64[N] { Y[k] = where(k > 0, 0, max[w < 4](f64(w))) }",
        (COLUMNS,),
        np.where(COLUMNS == 0, 3.0, 0.0),
    ),
    "else-with-a-stride": Case(
        "op f(A: u8[M, 4]) -> Y: bool[M, M] { Y[j, h] = isnan(f32(A[2, h + h] else 0)) }",
        (np.ones((20, 4), np.uint8),),
        np.zeros((20, 20), bool),
    ),
    "else-beyond-a-constant": Case(
        "op f(A: f32[9, N]) -> Z: f32[N] { T[k < 9, i] = A[k, i]; Z[l] = T[l, 2] else 0 }",
        (SQUARE[:9],),
        np.append(SQUARE[:9, 2], np.zeros(11, np.float32)),
    ),
    # Building it must end.
    "else-with-two-strides": Case(
        """op f(X: bool[N, M], A: f64[2], B: u8[M, 9]) -> Y: f64[N, M] {
            Y[i, j] = (A[2*j - 1] else 3) + f64(B[2*i - 2, j - 3] else 1)
        }""",
        (np.zeros((3, 5), bool), np.array([8.0, 9.0]), np.full((5, 9), 4, np.uint8)),
        np.array([[3, 9, 3, 3, 3]])
        + np.array([[1, 1, 1, 1, 1], [1, 1, 1, 4, 4], [1, 1, 1, 4, 4]], np.float64),
    ),
    "square-of-the-lane": Case(
        "op f(X: f32[N]) -> Y: f32[9] { Y[k] = f32((k - 4) * (k - 4)) }",
        (ROW,),
        np.float32((np.arange(9) - 4) ** 2),
    ),
    "sign-of-minus-zero": Case(
        "op f(X: f32[N]) -> Y: f32[N] { Y[i] = sign(X[i]) }",
        (np.array([-0.0, 0.0, -3.0, np.nan], np.float32),),
        np.array([0.0, 0.0, -1.0, np.nan], np.float32),
    ),
    # Not arithmetic: nothing overflows.
    "smallest-integer-beside-an-index": Case(
        "op f(X: i64[N]) -> Y: i64[N] { Y[i] = where(X[i] > 9, i, -9223372036854775808) }",
        (COLUMNS,),
        np.where(COLUMNS > 9, COLUMNS, np.iinfo(np.int64).min),
    ),
    # Where a guard is known to fail, data is a constant, and wraps as before.
    "power-of-what-stands-outside": Case(
        "op f(X: i64[N], S: i32[3]) -> Y: i64[3, N] { Y[i, w] = i64(S[w + w - 1] else -2147483647) ** 5 + X[w] * 0 }",
        (COLUMNS, np.arange(3, dtype=np.int32)),
        np.tile(np.where(COLUMNS == 1, np.int64(1), np.full(20, -2147483647) ** 5), (3, 1)),
    ),
    # What the automatic schedule puts in place of `T` is data as before, and may wrap.
    "inlined-power-of-an-index": Case(
        "op f(X: bool[N]) -> Y: i64[N] { T[i < N] = i ** 2; Y[i] = (T[i] ** 5) ** 8 }",
        (COLUMNS > 9,),
        (COLUMNS**2) ** 40,
    ),
    "inlined-index": Case(
        "op f(X: bool[N]) -> Y: i64[N] { T[i < N] = i; Y[i] = T[i] ** 40 }",
        (COLUMNS > 9,),
        COLUMNS**40,
    ),
    "inlined-index-in-a-read": Case(
        "op f(X: i64[N]) -> Y: i64[N] { T[i < N] = i + 7; Y[i] = X[clamp(T[i] ** 40, 0, N - 1)] }",
        (COLUMNS,),
        np.clip((COLUMNS + 7) ** 40, 0, 19),
    ),
    # No element, and so no read.
    "size-that-is-0": Case(
        "op f(X: f32[N], B: f32[M]) -> Y: f32[N] { Y[i] = X[clamp(i - 1, 0, N - 1)] + sum[j](B[j] * X[N - 1]) }",
        (ROW[:0], ROW),
        ROW[:0],
        {"N": 0},
    ),
    "size-that-is-too-small": Case(
        "op f(X: f32[N], Z: f32[M]) -> Y: f32[M] { Y[i] = where(N > 5, X[5], 1) }",
        (ROW[:3], ROW),
        np.ones(20, np.float32),
        {"N": 3},
    ),
    "condition-that-a-size-excludes": Case(
        "op f(X: f32[N], Z: f32[M]) -> Y: f32[M] { Y[i] = where(i < M - 5, X[5], 1) }",
        (ROW[:3], ROW[:4]),
        np.ones(4, np.float32),
        {"N": 3, "M": 4},
    ),
    # The `else` of a read that nothing reaches is no mistake of its own.
    "else-behind-a-condition-that-fails": Case(
        "op f(X: i64[N]) -> Y: i64[1] { Y[k] = where(0 < (X[k - 2] else 0), X[N - 100] else -12, 5) }",
        (COLUMNS,),
        np.array([5]),
    ),
    # A value wraps, whether it is computed from indices or from data.
    "hash-of-an-index": Case(
        "op f(X: bool[N]) -> Y: i64[N] { Y[i] = (i * 6364136223846793005 + 1442695040888963407) // 7 }",
        (COLUMNS > 9,),
        (COLUMNS * 6364136223846793005 + 1442695040888963407) // 7,
    ),
    "sum-of-powers-of-an-index": Case(
        "op f(X: bool[N]) -> y: i64 { y = sum[i < N](i ** 40) }",
        (COLUMNS > 9,),
        np.sum(COLUMNS**40),
    ),
    "negated-smallest-integer": Case(
        "op f(X: f32[N]) -> Y: i64[N] { Y[i] = -where(X[i] > 0, i, i64(X[i - N] else -inf)) }",
        (ROW,),
        np.where(ROW > 0, -COLUMNS, np.iinfo(np.int64).min),
    ),
    # No data is known to stay at or above 0 when it is added or multiplied.
    **{
        f"hash-of-{name}": Case(
            f"op f(X: i64[N]) -> Y: i64[N] {{ Y[i] = {text} * 6364136223846793005 // 7 }}",
            (COLUMNS - 9,),
            value * 6364136223846793005 // 7,
        )
        for name, text, value in (
            ("a-remainder", "(X[i] % 8)", (COLUMNS - 9) % 8),
            ("a-maximum", "max(X[i], 0)", np.maximum(COLUMNS - 9, 0)),
            ("a-clamped-value", "clamp(X[i], 2, 6)", np.clip(COLUMNS - 9, 2, 6)),
            ("a-choice", "where(X[i] > 0, i, 5)", np.where(COLUMNS > 9, COLUMNS, 5)),
        )
    },
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_found_program(name: str, way: str) -> None:
    case = CASES[name]
    got = np.asarray(_run(case, way))
    expected = np.asarray(case.expected)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)
    if got.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(got[~np.isnan(got)]), np.signbit(expected[~np.isnan(got)]))


def _run(case: Case, way: str) -> np.ndarray:
    if way != "interpreter":
        result = te.build(case.text, schedule=way, sizes=case.sizes)(*case.inputs)
        assert not isinstance(result, tuple)
        return result
    program = elaborate(parse_file(Source("<case>", case.text)), "f", sizes=case.sizes)
    named = {t.name: a for t, a in zip(program.inputs, case.inputs, strict=True)}
    return run_program(program, named)[program.results[0]]
