"""Elaboration: `.te` text in, tensor IR as text out."""

from textwrap import dedent

import numpy as np
import pytest

import te
from te.backends.interp.tensor import run_program
from te.diagnostics import CompileError, Source
from te.elaborate.elaborate import check, elaborate
from te.grammar.parser import parse_file
from te.ir.print import print_program
from te.ir.tensor import Program
from te.ir.verify import verify_program


def program(text: str, op: str = "f", **build: object) -> Program:
    result = elaborate(parse_file(Source("test.te", dedent(text))), op, **build)  # type: ignore[arg-type]
    verify_program(result)
    return result


def codes(text: str, op: str = "f", **build: object) -> list[str]:
    with pytest.raises(CompileError) as caught:
        program(text, op, **build)
    return [d.code for d in caught.value.diagnostics]


def stages(p: Program) -> list[str]:
    return [s.name for s in p.stages]


def body(p: Program) -> str:
    lines = print_program(p).splitlines()
    start = next(n for n, line in enumerate(lines) if line.endswith("{"))
    return "\n".join(line.strip() for line in lines[start + 1 : -1])


def test_matmul():
    p = program("op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }")
    assert p.sizes == ("M", "K", "N")
    assert body(p) == "C[i, j] = sum[k < K](A[i, k] * B[k, j])"


SOFTMAX = """
op f(X: f32[M, N]) -> Y: f32[M, N] {
    Y[i, j] = e[i, j] / sum[k](e[i, k])
    e[i, j] = exp(X[i, j] - m[i])
    m[i] = max[j](X[i, j])
}
"""


def test_statements_may_stand_in_any_order():
    assert stages(program(SOFTMAX)) == ["m", "e", "Y_sum", "Y"]


def test_softmax_is_right():
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    y = run_program(program(SOFTMAX), {"X": x})["Y"]
    e = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=1e-6)


CONV = """
op f(X: f32[C, H, W], F: f32[K, C, R, S], const stride: int = 1, const pad: int = 0)
        -> Y: f32[K, (H + 2*pad - R) // stride + 1, (W + 2*pad - S) // stride + 1] {
    require stride >= 1
    Y[k, y, x] = sum[c, r, s]((X[c, y*stride + r - pad, x*stride + s - pad] else 0) * F[k, c, r, s])
}
"""


@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (1, 1), (2, 1), (3, 2)])
def test_convolution(stride, pad):
    p = program(CONV, consts={"stride": stride, "pad": pad})
    rng = np.random.default_rng(1)
    x = rng.integers(-4, 5, (2, 7, 8)).astype(np.float32)
    f = rng.integers(-4, 5, (3, 2, 3, 2)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 2), axis=(1, 2))[:, ::stride, ::stride]
    expected = np.einsum("cyxrs,kcrs->kyx", windows, f)
    np.testing.assert_array_equal(run_program(p, {"X": x, "F": f})["Y"], expected)


def test_else_without_padding_needs_no_test():
    # With pad = 0 every read is in range, so no condition is left; that is no error, for pad may be 1.
    p = program(CONV, consts={"stride": 1, "pad": 0})
    assert "where" not in body(p)


def test_concatenation_by_guards():
    p = program(
        """
        op f(A: f32[M], B: f32[N]) -> c: f32[M + N] {
            c[i] = where(i < M, A[i], B[i - M])
        }
        """
    )
    a, b = np.arange(3, dtype=np.float32), np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(run_program(p, {"A": a, "B": b})["c"], np.concatenate([a, b]))


def test_else_chains_to_a_concatenation():
    p = program("op f(A: f32[M], B: f32[N]) -> c: f32[M + N] { c[i] = A[i] else B[i - M] }")
    a, b = np.arange(3, dtype=np.float32), np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(run_program(p, {"A": a, "B": b})["c"], np.concatenate([a, b]))


def test_declared_result_may_be_smaller():
    p = program("op f(X: f32[N]) -> Y: f32[N - 1] { Y[i] = X[i + 1] - X[i] }")
    assert body(p) == "Y[i] = X[i + 1] - X[i]"


def test_triangular_condition():
    p = program("op f(X: f32[N]) -> Y: f32[N] { Y[i] = sum[j where j <= i](X[j]) }")
    x = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(run_program(p, {"X": x})["Y"], np.cumsum(x))


def test_reduction_adopts_the_guards_its_reads_need():
    p = program(
        """
        op f(A: f32[M, K], b: f32[N]) -> Y: f32[N] {
            Y[i] = where(b[i] > 0, where(i < M, 1 + sum[k](A[i, k]), 2), 3)
        }
        """
    )
    lifted = p.stage("Y_sum")
    assert [a.name for a in lifted.axes] == ["i"]
    assert "i < M" in body(p).splitlines()[0]
    assert "b[" not in body(p).splitlines()[0]  # a guard that no read needs is not adopted


def test_mean_divides_by_the_number_of_terms():
    p = program(
        "op f(X: f32[M, N]) -> y: f32[M], z: f32[M] {\n y[i] = mean[j](X[i, j])\n z[i] = mean[j where j < i](X[i, j]) }"
    )
    x = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)
    out = run_program(p, {"X": x})
    np.testing.assert_allclose(out["y"], x.mean(1), rtol=1e-6)
    assert np.isnan(out["z"][0])
    np.testing.assert_allclose(out["z"][1:], [x[1, 0], (x[2, 0] + x[2, 1]) / 2], rtol=1e-6)


def test_nested_reductions_are_named_in_reading_order():
    p = program(
        """
        op f(X: f32[M, N]) -> Y: f32[M] {
            Y_sum[i] = X[i, 0] else 0
            Y[i] = 1 + sum[j](X[i, j] * max[k](X[i, k])) + sum[j](X[i, j]) + Y_sum[i]
        }
        """
    )
    assert set(stages(p)) == {"Y_sum", "Y_sum2", "Y_max", "Y_sum3", "Y"}


def test_scalars_and_functions_of_scalars():
    p = program(
        """
        op square(x: f32) -> y: f32 { y = x * x }
        op f(X: f32[N], alpha: f32) -> s: f32 {
            t = alpha + 1
            s = sum[i](square(X[i]) * t)
        }
        """
    )
    x = np.arange(4, dtype=np.float32)
    assert run_program(p, {"X": x, "alpha": np.float32(1)})["s"] == 28


CALLS = """
op linear(X: f32[B, I], W: f32[O, I], b: f32[O]) -> Y: f32[B, O] {
    Y[n, o] = b[o] + sum[i](X[n, i] * W[o, i])
}
op relu(X: f32[A, C]) -> Y: f32[A, C] { Y[h, w] = max(X[h, w], 0) }
op f(X: f32[h, w], W: f32[O, w], b: f32[O]) -> Y: f32[h, O] { Y = relu(linear(X, W, b)) }
"""


def test_calls_of_ops():
    p = program(CALLS)
    assert stages(p) == ["Y_linear_Y_sum", "Y_linear", "Y"]
    rng = np.random.default_rng(3)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((2, 3), (4, 3), (4,)))
    expected = np.maximum(x @ w.T + b, 0)
    np.testing.assert_allclose(run_program(p, {"X": x, "W": w, "b": b})["Y"], expected, rtol=1e-5)


def test_a_callees_index_does_not_capture_a_size_of_the_caller():
    # The caller's sizes h and w have the names of relu's indices.
    relu = program(CALLS).stage("Y")
    assert {a.name for a in relu.axes} == {"h_", "w_"} or {a.name for a in relu.axes}.isdisjoint({"h", "w"})


def test_a_call_uses_what_the_caller_requires():
    text = """
    op g(A: f32[M], B: f32[N]) -> Y: f32[N] {
        require N <= M
        Y[i] = A[i] + B[i]
    }
    op f(A: f32[P], B: f32[Q]) -> Y: f32[Q] { Y = g(A, B) }
    """
    p = program(text)
    assert [r.text for r in p.requirements] == ["N <= M (in g)"]


def test_requirements_are_facts():
    program("op f(X: f32[N], Z: f32[M]) -> Y: f32[M] {\n require M <= N\n Y[i] = X[i] + Z[i] }")
    program("op f(X: f32[N]) -> Y: f32[N // 4] {\n require N % 4 == 0\n Y[i] = X[4*i + 3] }")


def test_dtype_variables_are_decided_by_the_build():
    text = "op f<T: float>(X: T[N]) -> Y: T[N] { Y[i] = X[i] * 2 }"
    assert program(text, dtypes={"T": "f64"}).inputs[0].dtype.name == "f64"
    assert codes(text, dtypes={"T": "i32"}) == ["dtype-not-allowed"]


def test_fixed_sizes_are_filled_in():
    p = program("op f(X: f32[N], Z: f32[M]) -> Y: f32[M] { Y[i] = X[i] }", sizes={"N": 8, "M": 5})
    assert p.sizes == ()
    assert p.fixed == (("N", 8), ("M", 5))
    assert codes("op f(X: f32[N], Z: f32[M]) -> Y: f32[M] { Y[i] = X[i] }", sizes={"N": 4, "M": 5}) == [
        "read-out-of-range"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "op f(X: f32[N], const c: int = 1) -> Y: f32[N] { Y[i] = X[i + c * c * c] else 0 }",
        "op f(X: f32[N], const c: int = 1) -> Y: f32[N] { Y[i] = X[i + (c*c*c) // (c*c*c)] else 0 }",
        "op f(X: f32[N], const c: int = 1) -> Y: f32[N] { Y[i] = where(i + c * c * c < N, X[i], 0.0) }",
        "op f(X: f32[N], const c: int = 1) -> y: f32 { y = sum[i where i < c * c * c](X[i]) }",
        "op f(X: f32[N], const c: int = 1) -> Y: f32[c * c * c] { Y[i] = X[0] else 0 }",
        "op f(X: f32[N], const c: int = 1) -> y: f32 { y = sum[i < c * c * c](X[i] else 0) }",
        "op f(X: f32[N], const c: int = 1) -> Y: f32[N] { require c * c * c > N\nY[i] = X[i] }",
        "op f(X: f32[N, c]) -> Y: f32[N] { Y[i] = X[i, 0] + (X[i + c * c * c, 0] else 0) }",  # a fixed size
    ],
)
def test_indices_that_constants_make_too_large_are_no_others(text: str) -> None:
    """A multiple of 2**64 is not 0."""
    given = {"consts": {"c": 2**22}} if "const" in text else {"sizes": {"c": 2**22}}
    assert codes(text, **given) == ["index-too-large"]
    program(text, **{key: {"c": 8} for key in given})


def test_a_read_names_sizes_for_which_it_goes_wrong():
    with pytest.raises(CompileError, match=r"it reads X\[-1\]"):
        program("op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i - 1] }")


def test_several_errors_of_one_file_come_together():
    text = """
    op f(X: f32[N]) -> Y: f32[N], Z: f32[N] {
        a[i < N] = X[i + 1]
        Y[i] = a[i] + epx(X[i])
        Z[i] = X[i] + 1.5 + i
    }
    """
    assert codes(text) == ["read-out-of-range", "operand-types-differ"]
    assert [d.code for d in check(parse_file(Source("t.te", dedent(text))))] == [
        "read-out-of-range",
        "operand-types-differ",
    ]


def test_a_call_with_a_tensor_that_failed_is_no_mistake_of_its_own():
    text = """
    op double(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] * 2 }
    op f(X: f32[N]) -> Y: f32[N] {
        b[i < N] = 0.0
        Y = double(b)
    }
    """
    assert [d.code for d in check(parse_file(Source("t.te", dedent(text))))] == ["float-needs-type"]


def test_literals_take_their_context():
    p = program(
        "op f(X: u8[N]) -> Y: u8[N], z: f64[N] {\n Y[i] = X[i] + 255\n z[i] = f64(X[i]) / (1 / 3 * 3) }"
    )
    out = run_program(p, {"X": np.array([1, 2], np.uint8)})
    np.testing.assert_array_equal(out["Y"], [0, 1])
    np.testing.assert_allclose(out["z"], [1, 2])


def test_integer_powers_are_multiplied_out():
    p = program("op f(X: i64[N]) -> Y: i64[N] { Y[i] = X[i] ** 5 + 2 ** 10 - 3 ** 0 }")
    out = run_program(p, {"X": np.array([-3, 2], np.int64)})
    np.testing.assert_array_equal(out["Y"], [-243 + 1023, 32 + 1023])


@pytest.mark.parametrize("text", ["2 ** 3 ** 2", "-2 ** 2", "7 // -2", "-7 % 3", "1 << 4 | 1", "5 & 6 ^ 3"])
def test_constant_expressions_mean_what_python_means(text):
    p = program(f"op f(X: i64[N]) -> y: i64 {{ y = {text} }}")
    assert run_program(p, {"X": np.zeros(1, np.int64)})["y"] == eval(text)


def test_adopted_guards_keep_the_order_they_rest_on():
    # `ids[i]` in the adopted guard may only be read where `i < M`, which therefore comes first.
    p = program(
        """
        op f(ids: i64[M], T: f32[V, K], X: f32[N]) -> Y: f32[N] {
            Y[i] = where(i < M, where(0 <= ids[i] and ids[i] < V, 1 + sum[k](T[ids[i], k]), X[i]), X[i])
        }
        """
    )
    out = run_program(
        p,
        {"ids": np.array([1, 7]), "T": np.ones((2, 3), np.float32), "X": np.zeros(4, np.float32)},
    )
    np.testing.assert_array_equal(out["Y"], [4, 0, 0, 0])


def test_float_literals_are_rounded_to_their_type():
    p = program("op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] * 9007199254740993.0 }")
    assert p.stage("Y").value.args[1].value == 9007199254740992.0


PACKS = """
op softmax<T: float>(X: T[*S, N]) -> Y: T[*S, N] {
    m[*s]    = max[j](X[*s, j])
    e[*s, j] = exp(X[*s, j] - m[*s])
    Y[*s, j] = e[*s, j] / sum[k](e[*s, k])
}
op total(X: f32[*S]) -> y: f32 { y = sum[*s](X[*s]) }
op f(X: f32[A, B, C]) -> Y: f32[A, B, C], t: f32 {
    Y = softmax(X)
    t = total(Y)
}
"""


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_packs_stand_for_any_number_of_axes(rank):
    p = program(PACKS, "softmax", ranks={"S": rank}, dtypes={"T": "f64"})
    x = np.random.default_rng(rank).normal(size=(2, 3, 4, 5)[3 - rank :])
    e = np.exp(x - x.max(-1, keepdims=True))
    np.testing.assert_allclose(run_program(p, {"X": x})["Y"], e / e.sum(-1, keepdims=True), rtol=1e-12)
    total = program(PACKS, "total", ranks={"S": rank})
    ones = np.ones((2, 3, 4)[:rank], np.float32)
    assert run_program(total, {"X": ones})["y"] == ones.sum()


def test_calls_decide_packs():
    p = program(PACKS)
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(run_program(p, {"X": x})["t"], 6, rtol=1e-5)


def test_use_reads_the_file_beside(tmp_path):
    (tmp_path / "nets.te").write_text(
        "use ops\nop twice(X: f32[N]) -> Y: f32[N] { Y = ops.once(ops.once(X)) }\n"
    )
    (tmp_path / "ops.te").write_text(
        "use nets\nop once(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] + one() }\nop one() -> y: f32 { y = 1 }\n"
    )
    main = tmp_path / "main.te"
    main.write_text("use nets.{twice}\nuse ops\nop f(X: f32[N]) -> Y: f32[N] { Y = ops.once(twice(X)) }\n")
    p = elaborate(parse_file(Source(str(main), main.read_text())), "f")
    np.testing.assert_array_equal(run_program(p, {"X": np.zeros(2, np.float32)})["Y"], [3, 3])


def test_errors_in_used_files_name_them(tmp_path):
    (tmp_path / "ops.te").write_text("op once(X: f32[N]) -> Y: f32[N] { Y[i] = X[i + 1] }\n")
    main = tmp_path / "main.te"
    main.write_text("use ops\nuse ops2\nuse ops.{twoce}\nop f(X: f32[N]) -> Y: f32[N] { Y = ops.once(X) }\n")
    found = check(parse_file(Source(str(main), main.read_text())))
    assert [d.code for d in found] == [
        "unknown-module",
        "unknown-op-in-module",
        "read-out-of-range",
        "in-call",
    ]
    assert found[2].span is not None
    assert found[2].span.source.name.endswith("ops.te")


def test_dtype_variables_that_no_input_decides_are_given_by_the_call():
    text = """
    op to<T, U>(X: T[N]) -> Y: U[N] { Y[i] = U(X[i]) }
    op f(X: f32[N]) -> Y: i32[N] { Y = to(X, U=i32) }
    """
    out = run_program(program(text), {"X": np.array([1.5, -2.5], np.float32)})
    np.testing.assert_array_equal(out["Y"], [1, -2])


def test_a_written_cast_keeps_a_product_from_being_fused():
    text = "op f(A: f32[K], B: f32[K]) -> y: f32, z: f32 {{ y = sum[k]({0})\n z = sum[k](A[k] * B[k]) }}"
    p = program(text.format("f32(A[k] * B[k])"))
    tiny = np.float32(2**-12)
    a = np.array([1, 1 + tiny], np.float32)
    b = np.array([-1 - 2 * tiny, 1 + tiny], np.float32)  # the second product rounds, its fused sum does not
    out = run_program(p, {"A": a, "B": b})
    assert out["y"] != out["z"]


def test_the_default_of_a_const_may_follow_from_another():
    text = "op f(X: f32[N], const k: int, const step: int = 2 * k) -> Y: f32[N] { Y[i] = X[i] * step }"
    assert check(parse_file(Source("t.te", text))) == []
    assert "6.0" in body(program(text, consts={"k": 3}))
    assert codes(text.replace("2 * k", "j"), consts={"k": 3}) == ["const-default"]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("op f<T: u8f | i8>(X: T[N]) -> Y: T[N]", "there is no type `u8f`"),
        ("op f<inf: float>(X: inf[N]) -> Y: inf[N]", "`inf` is a built-in constant"),
    ],
)
def test_a_dtype_variable_that_cannot_be_is_a_diagnostic(header: str, message: str) -> None:
    """It was an internal exception, where the op was built and not checked first."""
    with pytest.raises(CompileError, match=message):
        te.build(f"{header} {{ Y[i] = X[i] }}", dtypes={header[5 : header.index(":")]: "f32"})
