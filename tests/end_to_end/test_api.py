"""The Python interface: from text and files to kernels."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import te

F32 = np.float32

MATMUL = """
## Matrix product.
##
## The sum runs over the columns of `A`.
op matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] {
    C[i, j] = sum[k](A[i, k] * B[k, j])
}
"""

SOFTMAX = """
op softmax<T: float>(X: T[M, N]) -> Y: T[M, N] {
    m[i]    = max[j](X[i, j])
    e[i, j] = exp(X[i, j] - m[i])
    Y[i, j] = e[i, j] / sum[k](e[i, k])
}
"""

TWO_OPS = """
op double(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }
op triple(X: f32[N]) -> Y: f32[N] { Y[i] = 3 * X[i] }
"""

SCALE = "op scale(X: f32[N], const by: int = 2) -> Y: f32[N] { Y[i] = by * X[i] }"


def f32(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(F32)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------- what is built


@pytest.mark.parametrize(
    "schedule", [None, "auto", "none", "split k by 4\nunroll ki", "vectorize j by 8; parallel i"]
)
def test_matmul(schedule: str | None) -> None:
    matmul = te.build(MATMUL, schedule)
    for m, k, n in [(1, 1, 1), (3, 4, 5), (17, 33, 9), (64, 64, 64)]:
        a, b = f32(m, k), f32(k, n)
        np.testing.assert_allclose(matmul(a, b), a @ b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("schedule", [None, "none"])
def test_softmax(schedule: str | None) -> None:
    kernel = te.build(SOFTMAX, schedule, dtypes={"T": "f32"})
    x = f32(9, 37)
    np.testing.assert_allclose(kernel(x), softmax(x.astype(np.float64)), rtol=1e-5)


def test_expr_may_be_text_path_module_or_op(tmp_path: Path) -> None:
    path = tmp_path / "double.te"
    path.write_text(TWO_OPS.split("\n")[1])
    module = te.load(path)
    for expr in (path.read_text(), path, str(path), module, module.double, module["double"]):
        np.testing.assert_array_equal(te.build(expr)(np.ones(3, F32)), [2, 2, 2])
    with pytest.raises(TypeError, match=r"an op is given as text, path, te\.Op or te\.Module, not int"):
        te.build(3)  # type: ignore[arg-type]


def test_of_several_ops_one_is_chosen(tmp_path: Path) -> None:
    assert te.build(TWO_OPS, op="triple")(np.ones(1, F32)) == 3
    with pytest.raises(ValueError, match=r"^<text> has several ops; choose one with op=: double, triple$"):
        te.build(TWO_OPS)
    with pytest.raises(
        ValueError,
        match=re.escape("<text> has no op `tripel`; it has double, triple (did you mean `triple`?)"),
    ):
        te.build(TWO_OPS, op="tripel")
    with pytest.raises(ValueError, match=r"^<text> has no op$"):
        te.build("# nothing\n")
    with pytest.raises(ValueError, match="op='double' with an op that is called 'triple'"):
        te.build(te.parse(TWO_OPS).triple, op="double")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        te.build("nothing.te")
    with pytest.raises(FileNotFoundError):
        te.load(tmp_path / "nothing.te")
    with pytest.raises(IsADirectoryError):
        te.load(tmp_path)
    binary = tmp_path / "picture.te"
    binary.write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    with pytest.raises(te.CompileError, match=r"picture\.te is no UTF-8 text: byte 0x89 in line 1") as caught:
        te.load(binary)
    assert caught.value.diagnostics[0].code == "not-utf8"


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "double.te"
    path.write_bytes(b"\xef\xbb\xbf" + TWO_OPS.encode())
    assert len(te.load(path)) == 2


def test_modules() -> None:
    module = te.parse(TWO_OPS)
    assert [op.name for op in module] == ["double", "triple"]
    assert len(module) == 2
    assert "double" in module
    assert "single" not in module
    assert module.double is module["double"]
    assert "triple" in dir(module)
    assert repr(module) == "<te.Module <text>: double, triple>"
    assert repr(module.double) == "<te.Op double(X: f32[N]) -> Y: f32[N]>"
    with pytest.raises(AttributeError, match=r"has no op `duoble`; did you mean `double`\?"):
        _ = module.duoble
    with pytest.raises(KeyError):
        _ = module["duoble"]
    op = te.parse(MATMUL).matmul
    assert op.doc.startswith("Matrix product.")
    assert op.__doc__ == op.doc


def test_compile_errors_are_all_reported() -> None:
    with pytest.raises(te.CompileError) as caught:
        te.build("op f(X: f32[N]) -> Y: f32[N], Z: f32[N] {\n    Y[i] = X[j]\n    Z[i] = W[i]\n}\n")
    assert [d.code for d in caught.value.diagnostics] == ["unbound-index", "unknown-tensor"]
    assert caught.value.diagnostics[0].span.line == 2
    assert "  --> <text>:2:14" in str(caught.value)


# ---------------------------------------------------------------- what a kernel shows


def test_what_a_kernel_shows() -> None:
    matmul = te.build(MATMUL, "vectorize j by 8")
    assert matmul.name == "matmul"
    assert matmul.__doc__ == "Matrix product.\n\nThe sum runs over the columns of `A`."
    assert matmul.signature == "matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N]"
    assert repr(matmul) == f"<te.Kernel {matmul.signature}>"
    assert matmul.schedule == "schedule matmul on llvm {\n    vectorize j by 8\n}"
    assert [(p.name, str(p.dtype), p.rank) for p in matmul.inputs] == [("A", "f32", 2), ("B", "f32", 2)]
    assert [str(p) for p in matmul.results] == ["C: f32[M, N]"]


def test_ir() -> None:
    matmul = te.build(MATMUL, "vectorize j by 8", sizes={"N": 16})
    assert "C[i, j] = sum[k < K](A[i, k] * B[k, j])" in matmul.ir("tensor")
    assert te.build(matmul.ir("tensor")).signature == "matmul(A: f32[M, K], B: f32[K, 16]) -> C: f32[M, 16]"
    assert "vector for C.ji < 8" in matmul.ir("loop")
    assert matmul.ir("final").startswith("final kernel matmul")
    assert "<8 x float>" in matmul.ir("llvm")
    assert len(matmul.ir("asm").splitlines()) > 20
    with pytest.raises(
        ValueError, match=r"no level `lop`; the levels are: tensor, loop, .* \(did you mean `loop`\?\)"
    ):
        matmul.ir("lop")


def test_time() -> None:
    matmul = te.build(MATMUL)
    timing = matmul.time(f32(8, 8), B=f32(8, 8), repeat=5)
    assert len(timing.seconds) == 5
    assert 0 < timing.best <= timing.median <= max(timing.seconds)
    assert re.fullmatch(r"median [\d.]+ [mµn]s, best [\d.]+ [mµn]s of 5 runs", str(timing))
    with pytest.raises(ValueError, match="`repeat` must be at least 1, found 0"):
        matmul.time(f32(8, 8), f32(8, 8), repeat=0)
    with pytest.raises(TypeError, match="`B` missing"):
        matmul.time(f32(8, 8))


# ---------------------------------------------------------------- what a build fixes


def test_sizes() -> None:
    matmul = te.build(MATMUL, sizes={"K": np.int64(4), "N": 5})
    assert matmul.signature == "matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N]"
    assert matmul.program.sizes == ("M",)
    np.testing.assert_allclose(matmul(f32(3, 4), f32(4, 5)), f32(3, 4) @ f32(4, 5), rtol=1e-5)


def test_consts() -> None:
    assert te.build(SCALE)(np.ones(1, F32)) == 2
    assert te.build(SCALE, consts={"by": 5})(np.ones(1, F32)) == 5
    with pytest.raises(ValueError, match="`c` is too large for a float"):
        te.build("op f(const c: float = 1.0) -> y: f64 { y = c }", consts={"c": 10**400})
    kinds = "op f(X: f32[N], const a: float = 0.5, const b: bool = true) -> Y: f32[N] { Y[i] = where(b, a, X[i]) }"
    assert te.build(kinds, consts={"a": 3})(np.ones(1, F32)) == 3
    assert te.build(kinds, consts={"b": False})(np.ones(1, F32)) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sizes": {"n": 3}}, ValueError, "scale has no size `n`; it has `N`"),
        ({"sizes": {"by": 3}}, ValueError, "scale has no size `by`; it has `N`"),
        ({"sizes": {"N": -1}}, ValueError, "scale: size `N` must be at least 0, found -1"),
        ({"sizes": {"N": 3.0}}, TypeError, "scale: size `N` must be an int, found 3.0"),
        ({"sizes": {"N": True}}, TypeError, "scale: size `N` must be an int, found True"),
        ({"consts": {"bye": 3}}, ValueError, "scale has no const `bye`; it has `by` (did you mean `by`?)"),
        ({"consts": {"by": "3"}}, TypeError, "scale: const `by` must be an int, found '3'"),
        ({"consts": {"by": 1 << 40}}, ValueError, "scale: const `by` must lie between -2**31 and 2**31"),
        ({"dtypes": {"T": "f32"}}, ValueError, "scale has no dtype variable `T`; it has none"),
        ({"target": "lvm"}, ValueError, "there is no target `lvm`; the targets are: llvm, "),
        ({"math": "quick"}, ValueError, 'math must be "strict" or "fast", found \'quick\''),
    ],
)
def test_options_that_make_no_sense(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match="^" + re.escape(message)) as caught:
        te.build(SCALE, **options)
    assert type(caught.value) is error


def test_dtypes_that_make_no_sense() -> None:
    with pytest.raises(
        ValueError, match=re.escape("softmax: dtype variable `T`: there is no dtype `f23`; the dtypes")
    ):
        te.build(SOFTMAX, dtypes={"T": "f23"})
    with pytest.raises(TypeError, match=r"softmax: dtype variable `T` must be the name of a dtype"):
        te.build(SOFTMAX, dtypes={"T": np.float32})  # type: ignore[dict-item]
    with pytest.raises(te.CompileError) as caught:
        te.build(SOFTMAX, dtypes={"T": "i32"})
    assert [d.code for d in caught.value.diagnostics] == ["dtype-not-allowed"]


def test_a_const_without_a_value() -> None:
    with pytest.raises(te.CompileError) as caught:
        te.build(SCALE.replace(" = 2", ""))
    assert [d.code for d in caught.value.diagnostics] == ["const-missing"]


# ---------------------------------------------------------------- compilations


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ops that have been compiled to machine code, in order."""
    from te.backends import llvm

    compiled: list[str] = []
    load = llvm.load

    def counting(artifact: Any) -> Any:
        compiled.append(", ".join(entry.name for entry in artifact.entries))
        return load(artifact)

    monkeypatch.setattr(llvm, "load", counting)
    return compiled


def test_one_compilation_serves_all_sizes(compilations: list[str]) -> None:
    matmul = te.build(MATMUL)
    for m, k, n in [(1, 2, 3), (3, 2, 1), (0, 0, 0), (40, 50, 60)]:
        np.testing.assert_allclose(matmul(f32(m, k), f32(k, n)), f32(m, k) @ f32(k, n), rtol=1e-4, atol=1e-5)
    assert compilations == ["matmul, matmul, matmul"]  # for large ones, for few rows, and for others


def test_one_compilation_a_combination_of_dtypes(compilations: list[str]) -> None:
    kernel = te.build(SOFTMAX)
    for dtype in (F32, np.float64, F32, np.float64, ">f4"):
        x = f32(4, 6).astype(dtype)
        found = kernel(x)
        assert found.dtype == x.dtype.newbyteorder("=")
        np.testing.assert_allclose(found, softmax(f32(4, 6).astype(np.float64)), rtol=1e-5)
    assert compilations == ["softmax", "softmax"]


# ---------------------------------------------------------------- dtype variables


def test_dtype_variables() -> None:
    kernel = te.build(SOFTMAX)
    assert isinstance(kernel, te.GenericKernel)
    assert repr(kernel) == "<te.GenericKernel softmax(X: f32[M, N]) -> Y: f32[M, N] for any T>"
    assert kernel.specialized(T="f64").signature == "softmax(X: f64[M, N]) -> Y: f64[M, N]"
    assert "f32" in kernel.ir("tensor")
    assert kernel.schedule.startswith("schedule softmax on llvm {")
    assert kernel.time(f32(3, 4).astype(np.float64), repeat=2).median > 0
    out = np.zeros((3, 4))
    assert kernel(f32(3, 4).astype(np.float64), out=out) is out
    with pytest.raises(
        TypeError, match=re.escape("softmax: `T` cannot be i32 (one of f32, f64, f16, bf16); T by `X`")
    ):
        kernel(np.ones((3, 4), np.int32))
    with pytest.raises(TypeError, match=r"softmax: `X` is complex64, and te's dtypes are bool, i8, .*, f64"):
        kernel(np.ones((3, 4), np.complex64))
    with pytest.raises(TypeError, match=r"softmax leaves open T, not `U`"):
        kernel.specialized(U="f32")
    for wrong in ("f31", 3, None):
        with pytest.raises(TypeError, match=r"softmax: T is a dtype, one of bool, .*, found"):
            kernel.specialized(T=wrong)


def test_dtype_variables_of_several_inputs() -> None:
    axpy = te.build("op axpy<T>(a: T, X: T[N], Z: T[N]) -> Y: T[N] { Y[i] = a * X[i] + Z[i] }")
    x = np.arange(4, dtype=np.int32)
    np.testing.assert_array_equal(axpy(3, x, x), 4 * x)
    np.testing.assert_array_equal(axpy(0.5, x.astype(F32), x.astype(F32)), 1.5 * x)
    with pytest.raises(TypeError, match=re.escape("axpy: `Z` must be i32 (T, as `X`), found float32")):
        axpy(3, x, x.astype(F32))
    with pytest.raises(TypeError, match="axpy takes 3 arguments"):
        axpy(3, x)
    with pytest.raises(TypeError, match=r"axpy: `a` must be i32, found 0\.5, a Python float"):
        axpy(0.5, x, x)
    square = te.build("op square<T>(x: T) -> y: T { y = x * x }")
    assert square(np.float64(3)) == 9
    with pytest.raises(
        TypeError, match="square: a Python number does not decide the dtype T: give `x` as NumPy's"
    ):
        square(3)


def test_dtype_variables_that_no_input_decides() -> None:
    cast = "op cast<T, U>(X: T[N]) -> Y: U[N] { Y[i] = U(X[i]) }"
    with pytest.raises(
        ValueError, match="cast: no input decides the dtype variable `U`; give it to the build: dtypes="
    ):
        te.build(cast)
    kernel = te.build(cast, dtypes={"U": "i32"})
    assert kernel(np.array([1.5, -2.5])).dtype == np.int32


# ---------------------------------------------------------------- packs


def test_packs(compilations: list[str]) -> None:
    text = "op total<T>(X: T[*S, N], a: T) -> y: T[*S] { y[*s] = a * sum[j](X[*s, j]) }"
    total = te.build(text, dtypes={"T": "f32"})
    for shape in [(3, 4), (4,), (2, 3, 4), (2, 1, 0, 4)]:
        np.testing.assert_allclose(total(f32(*shape), 2), 2 * f32(*shape).sum(axis=-1), rtol=1e-5, atol=1e-6)
    assert len(compilations) == 4
    assert total.specialized(S=2).signature == "total(X: f32[S1, S2, N], a: f32) -> y: f32[S1, S2]"
    for wrong in ("x", 1.5, True, -1, 1000):
        with pytest.raises(TypeError, match="total: S is a number of axes, 0 to 64, found"):
            total.specialized(S=wrong)
    assert len(compilations) == 4
    with pytest.raises(
        ValueError, match=re.escape("total: `X` must have at least 1 axis, found the shape ()")
    ):
        total(F32(3), 2)
    both = te.build(text)
    assert repr(both) == "<te.GenericKernel total(X: f32[S1, N], a: f32) -> y: f32[S1] for any T, S>"
    assert both(np.arange(3), 2) == 6


def test_packs_of_several_inputs() -> None:
    add = te.build("op add(A: f32[*S], B: f32[*S]) -> Y: f32[*S] { Y[*s] = A[*s] + B[*s] }")
    np.testing.assert_array_equal(add(f32(2, 3), f32(2, 3)), 2 * f32(2, 3))
    assert add(1, 2) == 3
    with pytest.raises(
        ValueError, match=re.escape("add: `B` must have 2 axes (B: f32[S1, S2]), found the shape (3,)")
    ):
        add(f32(2, 3), f32(3))


# ---------------------------------------------------------------- schedules

WITH_SCHEDULES = """
op double(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }
schedule double on cuda { bind i to thread.x }
schedule double on llvm when N >= 64 { vectorize i by 16 }
schedule double on llvm when N >= 8 { unroll i by 4 }
"""


def test_the_schedule_in_the_file_is_taken() -> None:
    text = WITH_SCHEDULES.replace(" when N >= 64", "")
    assert "vectorize i by 16" in te.build(text).schedule
    assert te.build(text, "none").schedule == "schedule double on llvm {\n}"
    assert "vectorize i by 16" not in te.build(text, "auto").schedule


def test_conditions_on_run_time_sizes_choose_at_each_call(compilations: list[str]) -> None:
    double = te.build(WITH_SCHEDULES)
    assert double.schedule.count("schedule double on llvm") == 3
    assert "when N >= 64 {" in double.schedule
    assert "# when N >= 64\n" in double.ir("loop")
    assert "# else\n" in double.ir("final")
    entries = []
    for size in (0, 1, 7, 8, 63, 64, 200):
        np.testing.assert_array_equal(double(np.ones(size, F32)), np.full(size, 2))
        entries.append(next(p.entry for shapes, p in double._plans.items() if shapes == ((size,),)))
    assert entries == [2, 2, 2, 1, 1, 0, 0]
    assert compilations == ["double, double, double"]
    assert te.build(double.ir("tensor"), double.schedule).schedule == double.schedule


def test_conditions_on_fixed_sizes_choose_at_the_build() -> None:
    assert "vectorize i by 16" in te.build(WITH_SCHEDULES, sizes={"N": 64}).schedule
    kernel = te.build(WITH_SCHEDULES, sizes={"N": 10})
    assert kernel.schedule == "schedule double on llvm {\n    unroll i by 4\n}"


def test_conditions_on_dtypes() -> None:
    text = (
        "op double<T>(X: T[N]) -> Y: T[N] { Y[i] = 2 * X[i] }\n"
        "schedule double on llvm when T == f64 { vectorize i by 4 }\n"
        "schedule double on llvm { vectorize i by 8 }\n"
    )
    double = te.build(text)
    assert "by 4" in double.specialized(T="f64").schedule
    assert "by 8" in double.specialized(T="i32").schedule
    given = te.build(text.split("\n")[0], "\n".join(text.split("\n")[1:]))
    assert "by 4" in given.specialized(T="f64").schedule


def test_a_schedule_is_given(tmp_path: Path) -> None:
    double = WITH_SCHEDULES.split("\n")[1]
    path = tmp_path / "fast.te"
    path.write_text("schedule double on llvm { vectorize i by 4 }")
    lines = tmp_path / "lines.te"
    lines.write_text("vectorize i by 4\n")
    made = te.Schedule("double").vectorize("i", by=4)
    expected = te.build(double, "vectorize i by 4").schedule
    assert expected == "schedule double on llvm {\n    vectorize i by 4\n}"
    for given in (path, str(path), lines, path.read_text(), made):
        assert te.build(double, given).schedule == expected
    # A given schedule whose condition fails leaves the rest to the file's, then to the automatic one.
    both = te.build(WITH_SCHEDULES, "schedule double on llvm when N == 7 { unroll i by 7 }")
    assert both.schedule.count("on llvm") == 4


def test_schedules_that_are_not_meant_for_the_build() -> None:
    def codes(*arguments: Any, **options: Any) -> list[str]:
        with pytest.raises(te.CompileError) as caught:
            te.build(*arguments, **options)
        return [d.code for d in caught.value.diagnostics]

    triple = te.parse(TWO_OPS).triple
    assert codes(triple, "schedule double on llvm { vectorize i by 4 }") == ["schedule-other-op"]
    assert codes(triple, te.Schedule("double").vectorize("i", by=4)) == ["schedule-other-op"]
    assert codes(triple, "schedule triple on cuda { parallel i }") == ["schedule-other-target"]
    assert codes(TWO_OPS + "schedule tripel on llvm { parallel i }", op="triple") == ["schedule-op"]
    assert codes(triple, "vectorise i by 4") == ["unknown-verb"]
    with pytest.raises(ValueError, match=re.escape("(did you mean `auto`?)")):
        te.build(triple, "atuo")
    with pytest.raises(TypeError, match=r"a schedule is given as text, path or te\.Schedule, not int"):
        te.build(triple, 3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        te.build(triple, "nothing.te")


def test_refused_directives() -> None:
    with pytest.raises(te.ScheduleError) as caught:
        te.build(MATMUL, "parallel k")
    assert caught.value.diagnostics[0].code == "parallel-reduction"
    assert caught.value.diagnostics[0].span.text == "k"


# ---------------------------------------------------------------- lifetime


def test_dropped_kernels_are_freed_at_once() -> None:
    gc.collect()
    gc.disable()
    try:
        double = te.build(TWO_OPS, op="double")
        double(f32(3))
        kernel, executable = weakref.ref(double), weakref.ref(double._executable)
        del double
        assert kernel() is None
        assert executable() is None
    finally:
        gc.enable()


def test_kernels_in_cycles_are_freed() -> None:
    for _ in range(20):
        holder: list[Any] = [te.build(TWO_OPS, op="double")]
        holder.append(holder)
        del holder
        gc.collect()


def test_a_result_outlives_its_kernel() -> None:
    found = te.build(TWO_OPS, op="double")(np.ones(1000, F32))
    gc.collect()
    np.testing.assert_array_equal(found, np.full(1000, 2))


# ---------------------------------------------------------------- the module `te`


def test_public_names() -> None:
    for name in te.__all__:
        assert getattr(te, name) is not None
    assert set(te.__all__) <= set(dir(te))
    assert issubclass(te.ScheduleError, te.CompileError)
    with pytest.raises(AttributeError, match="module 'te' has no attribute 'biuld'"):
        _ = te.biuld  # type: ignore[attr-defined]


def test_build_stays_a_function() -> None:
    import importlib

    importlib.reload(sys.modules["te.build"])
    importlib.import_module("te.build")
    assert callable(te.build)


@pytest.mark.parametrize(
    "first", ["import te.std", "from te.std import nn", "import te", "import te.std as standard"]
)
def test_the_standard_library_may_be_imported(first: str) -> None:
    program = (
        f"{first}\nimport te\nfrom te.std import nn\nassert te.std.nn.softmax is nn.softmax\nprint(te.std)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("<te.std: conv, ")


def test_bugs_say_how_to_report_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from te.backends import llvm

    def broken(*arguments: Any, **options: Any) -> Any:
        raise KeyError("lost")

    monkeypatch.setattr(llvm, "emit", broken)
    with pytest.raises(KeyError) as caught:
        te.build(SCALE)
    assert "This is a bug in te. Please report it" in caught.value.__notes__[0]
    assert SCALE in caught.value.__notes__[0]
