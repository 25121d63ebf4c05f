"""All dtypes: how they are checked, what expressions on narrow floats mean, and that all levels agree."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.backends.interp.tensor import run_program
from te.diagnostics import CompileError, Source
from te.elaborate.elaborate import check, elaborate
from te.grammar.parser import parse_file
from te.ir.expr import Op
from te.ir.floats import bits_of, is_value_of, nearest
from te.ir.print import print_program
from te.ir.tensor import Program
from te.ir.types import BF16, DTYPES, F8E4M3, F8E5M2, F16, F32, DType, integer_limits, numpy_dtype
from te.ir.verify import InvalidIR, verify_program
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from te.target import TARGET_NAMES, parse_target

Array = np.ndarray[Any, Any]

NARROW = [F16, BF16, F8E4M3, F8E5M2]
# This machine, and the plainest one of its family.
TARGETS = [name for name in TARGET_NAMES if parse_target(name).is_native][:2]
INTEGERS = [t for t in DTYPES.values() if t.is_integer]


def program(text: str, op: str = "f", **build: Any) -> Program:
    result = elaborate(parse_file(Source("test.te", dedent(text))), op, **build)
    verify_program(result)
    return result


def body(text: str, op: str = "f", **build: Any) -> str:
    """The op's equations with everything put in; the text reads back to an equal program."""
    found = program(text, op, **build)
    printed = print_program(found)
    assert program(printed, op).stages == found.stages
    lines = printed.splitlines()
    head = next(n for n, line in enumerate(lines) if line.endswith("{"))
    return "\n".join(line.strip() for line in lines[head + 1 : -1])


def code(text: str, op: str = "f") -> str:
    with pytest.raises(CompileError) as caught:
        program(text, op)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic.code


def everywhere(text: str, *schedules: str, op: str = "f", **inputs: Array) -> Array:
    """The one result that the interpreter, the loops and compiled code give, which must be equal to the bit."""
    p = program(text, op)
    results = [run_program(p, inputs)[p.results[0]]]
    for kernel in (nest(p), finalize(nest(p))):
        results.append(run_kernel(kernel, inputs)[p.results[0]])
    for target in TARGETS:
        for schedule in ("none", "auto", *schedules):
            results.append(np.asarray(te.build(text, schedule, target=target, op=op)(**inputs)))
    first = results[0]
    for other in results[1:]:
        assert other.dtype == first.dtype
        same = other.view(f"u{first.itemsize}") == first.view(f"u{first.itemsize}")
        assert np.all(same | (np.isnan(other) & np.isnan(first))), (other, first)
    return first


def numbers(dtype: DType, *shape: int, scale: float = 1.0) -> Array:
    values = np.random.default_rng(len(shape)).standard_normal(shape) * scale
    return values.astype(np.float32).astype(numpy_dtype(dtype))


def f32(x: Array) -> Array:
    return x.astype(np.float32)


def equal(found: Array, wanted: Array, dtype: DType) -> None:
    """`wanted` is in f32; it is rounded to the narrow type, which ml_dtypes does rightly."""
    with np.errstate(all="ignore"):
        rounded = np.asarray(wanted, np.float32).astype(numpy_dtype(dtype))
    assert found.dtype == rounded.dtype
    np.testing.assert_array_equal(found.astype(np.float64), rounded.astype(np.float64))


# ---------------------------------------------------------------- meaning, as text


def test_computed_in_f32_and_rounded_once() -> None:
    text = "op f(X: {0}[N], Z: {0}[N]) -> Y: {0}[N] {{ Y[i] = X[i] * 0.1 + Z[i] }}"
    for dtype in NARROW:
        assert body(text.format(dtype)) == f"Y[i] = {dtype}(f32(X[i]) * 0.1 + f32(Z[i]))"


def test_intermediates_are_rounded() -> None:
    text = "op f(X: f16[N]) -> Y: f16[N] { t[i] = X[i] * 3\n Y[i] = t[i] - 1 }"
    assert body(text) == "t[i < N] = f16(f32(X[i]) * 3.0)\nY[i] = f16(f32(t[i]) - 1.0)"


def test_what_is_moved_is_not_converted() -> None:
    assert body("op f(X: f16[M, N]) -> Y: f16[N, M] { Y[i, j] = X[j, i] }") == "Y[i, j] = X[j, i]"
    text = "op f(A: bf16[M], B: bf16[N]) -> Y: bf16[M + N] { Y[i] = where(i < M, A[i], B[i - M]) }"
    assert body(text) == "Y[i] = where(i < M, A[i], B[i - M])"
    text = "op f(X: f8e4m3[N]) -> Y: f8e4m3[N + 1] { Y[i] = X[i - 1] else 0.5 }"
    assert body(text) == "Y[i] = where(i >= 1, X[i - 1], 0.5)"


def test_a_choice_with_an_operation_is_computed() -> None:
    text = "op f(X: f16[N]) -> Y: f16[N] { Y[i] = where(X[i] > 0, X[i], X[i] * 0.1) }"
    assert body(text) == "Y[i] = f16(where(f32(X[i]) > 0.0, f32(X[i]), f32(X[i]) * 0.1))"


def test_a_literal_that_the_type_lacks_is_an_f32() -> None:
    text = "op f(X: f16[N]) -> Y: f16[N] { Y[i] = exp(X[i - 1] else -1e9) }"
    assert body(text) == "Y[i] = f16(exp(where(i >= 1, f32(X[i - 1]), -1000000000.0)))"


def test_written_casts_round() -> None:
    text = "op f(X: f16[N]) -> Y: f32[N] { Y[i] = f32(f16(X[i] * X[i])) + f32(X[i] * X[i]) }"
    assert body(text) == "Y[i] = f32(f16(f32(X[i]) * f32(X[i]))) + f32(f32(X[i]) * f32(X[i]))"


@pytest.mark.parametrize(
    ("dtype", "value"), [("bf16", "f32(X[i])"), ("f32", "X[i]"), ("f64", "X[i]"), ("i8", "X[i]")]
)
def test_wide_is_the_type_that_a_value_is_computed_in(dtype: str, value: str) -> None:
    wide = "f32" if dtype == "bf16" else dtype
    assert body(f"op f(X: {dtype}[N]) -> Y: {wide}[N] {{ Y[i] = wide(X[i]) }}") == f"Y[i] = {value}"


def test_a_sum_that_is_wide_is_not_rounded() -> None:
    text = "op f<T: float>(X: T[M, N], c: T) -> Y: T[M] { s[i] = wide(sum[j](X[i, j]) * c)\n Y[i] = T(s[i]) }"
    assert body(text.replace("<T: float>", "").replace("T", "bf16")) == (
        "s_sum[i < M] = sum[j < N](f32(X[i, j]))\ns[i < M] = s_sum[i] * f32(c)\nY[i] = bf16(s[i])"
    )


def test_a_cast_to_its_own_type_keeps_a_product_from_being_fused() -> None:
    text = "op f(X: f32[M, N], Z: f32[M]) -> Y: f32[M] { Y[i] = sum[j](f32(X[i, j] * 2)) + f32(Z[i]) }"
    assert body(text) == "Y_sum[i < M] = sum[j < N](f32(X[i, j] * 2.0))\nY[i] = Y_sum[i] + Z[i]"


def test_casts_between_narrow_types_are_direct() -> None:
    text = "op f(X: f16[N]) -> Y: bf16[N], Z: i8[N], W: f64[N] { Y[i] = bf16(X[i]); Z[i] = i8(X[i]); W[i] = f64(X[i]) }"
    assert body(text) == "Y[i] = bf16(X[i])\nZ[i] = i8(X[i])\nW[i] = f64(X[i])"


@pytest.mark.parametrize("reducer", ["sum", "prod", "max", "min"])
def test_reductions_accumulate_in_f32(reducer: str) -> None:
    text = f"op f(X: bf16[M, N]) -> Y: bf16[M] {{ Y[i] = {reducer}[j](X[i, j]) }}"
    assert body(text) == (f"Y_{reducer}[i < M] = {reducer}[j < N](f32(X[i, j]))\nY[i] = bf16(Y_{reducer}[i])")


def test_a_lifted_reduction_is_not_rounded() -> None:
    text = "op f(X: f16[M, N]) -> Y: f16[M, N] { Y[i, j] = X[i, j] / sum[k](X[i, k]) }"
    assert body(text) == "Y_sum[i < M] = sum[k < N](f32(X[i, k]))\nY[i, j] = f16(f32(X[i, j]) / Y_sum[i])"


def test_mean_counts_in_f32() -> None:
    """2**17 is no f16, and 2049 is not either."""
    text = "op f(X: f16[N]) -> y: f16 { y = mean[i](X[i]) }"
    assert body(text) == "y_sum = sum[i < N](f32(X[i]))\ny = f16(y_sum / f32(N))"


def test_products_are_fused_as_in_f32() -> None:
    text = "op f(A: bf16[N], B: bf16[N]) -> y: bf16 { y = sum[i](A[i] * B[i]) }"
    assert body(text) == "y_sum = sum[i < N](f32(A[i]) * f32(B[i]))\ny = bf16(y_sum)"


def test_functions_take_and_give_values_of_their_types() -> None:
    text = """
        op g(x: f16) -> y: f16 { y = x + 1 }
        op f(X: f16[N]) -> Y: f16[N] { Y[i] = g(X[i] * 3) * 2 }
    """
    assert body(text) == "Y[i] = f16(f32(f16(f32(f16(f32(X[i]) * 3.0)) + 1.0)) * 2.0)"
    assert body(text.replace("g(X[i] * 3) * 2", "g(X[i])")) == "Y[i] = f16(f32(X[i]) + 1.0)"


def test_calls_of_ops() -> None:
    text = """
        op g<T: float>(X: T[N]) -> Y: T[N] { Y[i] = X[i] / sum[k](X[k]) }
        op f(X: bf16[N]) -> Y: bf16[N] { H = g(X)
            Y[i] = H[i] * 2 }
    """
    assert body(text) == (
        "H_Y_sum = sum[k < N](f32(X[k]))\nH[i < N] = bf16(f32(X[i]) / H_Y_sum)\nY[i] = bf16(f32(H[i]) * 2.0)"
    )


def test_scalars_and_consts() -> None:
    text = "op f(X: f16[N], s: f16, const a: float = 0.1) -> Y: f16[N] { Y[i] = X[i] * s + a }"
    assert body(text) == "Y[i] = f16(f32(X[i]) * f32(s) + 0.1)"


def test_recurrences() -> None:
    text = """
        op f(X: f16[T, N], W: f16[N, N]) -> h: f16[T, N] {
            h[0, i] = X[0, i]
            h[t, i] = sum[j](W[i, j] * h[t - 1, j])
        }
    """
    assert body(text) == (
        "h_sum[t < T, i < N] = sum[j < N where t >= 1](f32(W[i, j]) * f32(h[t - 1, j]))\n"
        "h[t, i] = f16(where(t == 0, f32(X[0, i]), h_sum[t, i]))"
    )


def test_a_reduction_that_recurs_keeps_its_place() -> None:
    text = "op f(X: f16[T]) -> h: f16[T] { h[t] = sum[s where s < t](h[s] * X[t - s]) }"
    p = program(text)
    assert p.recurrences[0].stages == ("h_sum", "h")
    ones = np.ones(6, np.float16)
    np.testing.assert_array_equal(everywhere(text, X=ones), np.zeros(6))


def test_argmax_compares_what_it_computed() -> None:
    text = "op f(X: f16[N]) -> i: i64 { i = argmax[k](X[k] * 0.1) }"
    x = numbers(F16, 40)
    assert everywhere(text, X=x) == np.argmax(f32(x) * np.float32(0.1))


def test_no_operator_is_narrow() -> None:
    """The verifier sees to it."""
    p = program("op f(X: f16[N]) -> Y: f16[N] { Y[i] = X[i] }")
    (stage,) = p.stages
    from dataclasses import replace

    wrong = replace(p, stages=(replace(stage, value=Op("+", (stage.value, stage.value), F16)),))
    with pytest.raises(InvalidIR, match="`\\+` takes no f16"):
        verify_program(wrong)


# ---------------------------------------------------------------- what is refused


def test_types_do_not_mix() -> None:
    two = "op f(X: {0}[N], Z: {1}[N]) -> Y: {0}[N] {{ Y[i] = X[i] + Z[i] }}"
    for a, b in (("f16", "bf16"), ("f16", "f32"), ("i8", "u8"), ("u64", "i64"), ("f8e4m3", "f8e5m2")):
        assert code(two.format(a, b)) == "operand-types-differ"
    assert code("op f(X: f32[N]) -> Y: f16[N] { Y[i] = X[i] }") == "type-mismatch"
    assert code("op f(X: f16[N]) -> Y: f32[N] { Y[i] = sum[k](X[k]) }") == "type-mismatch"


def test_literals_fit_their_types() -> None:
    assert code("op f(X: f16[N]) -> Y: f16[N] { Y[i] = 70000 }") == "literal-out-of-range"
    assert code("op f(X: f16[N]) -> Y: f16[N] { Y[i] = X[i] + f16(-70000) }") == "literal-out-of-range"
    assert code("op f(X: i8[N]) -> Y: i8[N] { Y[i] = X[i] + 128 }") == "literal-out-of-range"
    assert code("op f(X: u64[N]) -> Y: u64[N] { Y[i] = X[i] - -1 }") == "literal-out-of-range"
    assert body("op f(X: f16[N]) -> Y: f16[N] { Y[i] = X[i] + 70000 }").endswith("+ 70000.0)")


def test_generic_kinds() -> None:
    text = "op f<T{}>(X: T[N]) -> Y: T[N] {{ Y[i] = X[i] + 1 }}"

    def allowed(restriction: str) -> list[str]:
        found = []
        for name in DTYPES:
            try:
                program(text.format(restriction), dtypes={"T": name})
            except CompileError:
                continue
            found.append(name)
        return found

    assert allowed(": float") == ["f16", "bf16", "f32", "f64"]
    assert allowed(": int") == [t.name for t in INTEGERS]
    assert allowed(": f8e4m3 | u8") == ["u8", "f8e4m3"]
    assert allowed("") == [name for name in DTYPES if name != "bool"]


def test_a_file_is_checked_with_the_first_type() -> None:
    text = "op f<T: int>(X: T[N]) -> Y: T[N] { Y[i] = X[i] + 1000 }"
    assert check(parse_file(Source("t.te", text))) == []
    assert print_program(program(text)).startswith("op f(X: i32[N])")
    assert print_program(program(text.replace(": int", ""))).startswith("op f(X: f32[N])")


# ---------------------------------------------------------------- values, on every level


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_elementwise(dtype: DType) -> None:
    text = (
        f"op f(X: {dtype}[N], Z: {dtype}[N]) -> Y: {dtype}[N] {{ Y[i] = max(X[i] * Z[i] - 0.5, X[i]) / 3 }}"
    )
    x, z = numbers(dtype, 100, scale=30), numbers(dtype, 1, 100)[0]
    wanted = np.maximum(f32(x) * f32(z) - np.float32(0.5), f32(x)) / np.float32(3)
    equal(everywhere(text, "vectorize i by 8", X=x, Z=z), wanted, dtype)


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_padding_and_guards(dtype: DType) -> None:
    text = f"op f(X: {dtype}[N]) -> Y: {dtype}[N + 2] {{ Y[i] = (X[i - 2] else 0) + (X[i] else 1) * 2 }}"
    x = numbers(dtype, 37)
    padded = np.concatenate([np.zeros(2, np.float32), f32(x)])
    equal(
        everywhere(text, "vectorize i by 16", X=x),
        padded + np.concatenate([f32(x), np.ones(2, np.float32)]) * 2,
        dtype,
    )


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_matmul(dtype: DType) -> None:
    """Small whole numbers: every order of the sum gives the same."""
    text = f"""
        op f(A: {dtype}[M, K], B: {dtype}[K, N]) -> C: {dtype}[M, N] {{ C[i, j] = sum[k](A[i, k] * B[k, j]) }}
    """
    rng = np.random.default_rng(0)
    kind = numpy_dtype(dtype)
    a, b = rng.integers(-4, 5, (9, 40)).astype(kind), rng.integers(-4, 5, (40, 19)).astype(kind)
    schedule = "tile C_sum.i, C_sum.j by 4, 8\nvectorize C_sum.ji"
    equal(everywhere(text, schedule, A=a, B=b), f32(a) @ f32(b), dtype)


def test_a_sum_of_many_small_numbers_does_not_stall() -> None:
    """In f16 the sum of ones ends at 2048, in f8e4m3 at 16."""
    for dtype in NARROW:
        text = f"op f(X: {dtype}[N]) -> y: f32 {{ y = f32(sum[i](X[i])) }}"
        assert everywhere(text, X=np.ones(5000, numpy_dtype(dtype))) == 5000


def test_inline_keeps_the_rounding() -> None:
    text = "op f(X: f16[N]) -> Y: f16[N] { t[i] = X[i] * 3.3\n Y[i] = t[i] - X[i] * 3.3 }"
    x = numbers(F16, 64)
    product = f32(x) * np.float32(3.3)
    found = everywhere(text, "inline t", "inline t\nvectorize Y.i by 16", X=x)
    equal(found, f32(product.astype(np.float16)) - product, F16)
    assert np.any(found != 0)


def test_no_infinity_in_f8e4m3() -> None:
    text = "op f(X: f8e4m3[N]) -> Y: f8e4m3[N] { Y[i] = X[i] * 2 }"
    x = np.array([224, 232, 240, -448, np.nan], np.float32).astype(ml_dtypes.float8_e4m3fn)
    found = everywhere(text, X=x).astype(np.float32)
    np.testing.assert_array_equal(found, [448, 448, np.nan, np.nan, np.nan][:2] + [np.nan] * 3)


def test_comparisons_see_the_unrounded_value() -> None:
    text = "op f(X: bf16[N]) -> Y: i32[N] { Y[i] = i32(where(X[i] * 1.001 > X[i], 1, 0)) }"
    x = np.full(3, 2.0, ml_dtypes.bfloat16)
    np.testing.assert_array_equal(everywhere(text, X=x), [1, 1, 1])


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_wrap(dtype: DType) -> None:
    text = f"""
        op f(X: {dtype}[N], Z: {dtype}[N]) -> Y: {dtype}[N] {{
            Y[i] = (X[i] * Z[i] + 3) // Z[i] - (X[i] % Z[i] ^ (X[i] << 3)) + (Z[i] >> 2) - min(X[i], Z[i])
        }}
    """
    low, high = integer_limits(dtype)
    edges = [low, high, 0, 1, 2, 3, high // 3, low // 2 or 7]
    pairs = [(a, b) for a in edges for b in edges]
    kind = numpy_dtype(dtype)
    x, z = (np.array(column, kind) for column in zip(*pairs, strict=True))

    def wrap(value: int) -> int:
        return (value - low) % (1 << dtype.bits) + low

    def wanted(a: int, b: int) -> int:
        product = wrap(wrap(a * b) + 3)
        quotient, rest = (wrap(product // b), a % b) if b else (0, 0)
        return wrap(quotient - (rest ^ wrap(a << 3)) + (b >> 2) - min(a, b))

    found = everywhere(text, "vectorize i by 16", X=x, Z=z)
    assert found.tolist() == [wanted(a, b) for a, b in pairs]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_negative_constants_wrap(dtype: DType) -> None:
    low, high = integer_limits(dtype)
    text = f"op f(X: {dtype}[N]) -> Y: {dtype}[N], Z: {dtype}[N] {{ Y[i] = -{dtype}(1); Z[i] = -{dtype}({low}) }}"
    found = te.build(text)(np.zeros(2, numpy_dtype(dtype)))
    assert [a.tolist() for a in found] == [[-1 if low else high] * 2, [low] * 2]


def test_unsigned_comparisons_and_large_literals() -> None:
    text = """
        op f(X: u64[N]) -> Y: u64[N] {
            Y[i] = where(X[i] > 9223372036854775808, 18446744073709551615, u64(18446744073709551614)) - X[i]
        }
    """
    x = np.array([0, 2**63, 2**63 + 1, 2**64 - 1], np.uint64)
    wanted = [2**64 - 2, 2**63 - 2, 2**63 - 2, 0]
    assert everywhere(text, X=x).tolist() == wanted


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_indices_of_any_integer_type(dtype: DType) -> None:
    text = f"op f(X: f32[N], I: {dtype}[M]) -> Y: f32[M] {{ Y[i] = X[I[i]] else -1 }}"
    low, high = integer_limits(dtype)
    indices = np.array([0, 3, 4, 5, low, high], numpy_dtype(dtype))
    x = np.arange(5, dtype=np.float32)
    wanted = [x[i] if 0 <= i < 5 else -1 for i in indices.tolist()]
    np.testing.assert_array_equal(everywhere(text, X=x, I=indices), wanted)


def test_tables_of_narrow_floats() -> None:
    text = "const G: f8e5m2[3] = [0.3, 1, -2]\nop f(X: f8e5m2[N]) -> Y: f8e5m2[3] { Y[i < 3] = G[i] }"
    assert "const G: f8e5m2[3] = [0.3, 1.0, -2.0]" in print_program(program(text))
    x = np.ones(3, ml_dtypes.float8_e5m2)
    np.testing.assert_array_equal(everywhere(text, X=x).astype(np.float32), [0.3125, 1, -2])


# ---------------------------------------------------------------- rounding in te itself


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_nearest(dtype: DType) -> None:
    kind = numpy_dtype(dtype)
    for bits in range(1 << dtype.bits):
        value = float(np.array(bits, f"u{dtype.bytes}").view(kind))
        assert is_value_of(value, dtype)
        assert np.isnan(value) or bits_of(value, dtype) == bits
    samples = np.concatenate([numbers(F32, 3000, scale=s) for s in (1e-6, 1.0, 1e3, 1e5)])
    with np.errstate(all="ignore"):
        wanted = samples.astype(kind).astype(np.float64)
    np.testing.assert_array_equal([nearest(float(s), dtype) for s in samples], wanted)


def test_nearest_rounds_once() -> None:
    assert nearest(1 + 2**-8 + 2**-40, BF16) == 1 + 2**-7  # by way of f32 it would be a tie
    assert nearest(2**32 + 2**24 + 1, BF16) == 2**32 + 2**25
    assert nearest(2**64 - 1, BF16) == 2.0**64
