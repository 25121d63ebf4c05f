"""`precompute`: stages of `param`s alone run once, and calls take over what they gave."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import te
from te.backends.interp.loop import run_kernel
from te.diagnostics import ScheduleError
from te.grammar.parser import parse_directives
from te.ir.loop import Kernel
from te.ir.print import print_kernel
from te.schedule.nest import nest
from te.schedule.precompute import separated
from te.schedule.text import names_in, read_directives
from tests.schedule.scheduling import assert_same, program, refused, scheduled

SCALED = """
op scaled(X: f32[M, N], param W: f32[N], param v: f32[N]) -> Y: f32[M, N] {
    a[i]    = abs(W[i])
    n       = sum[i](a[i])
    U[i]    = W[i] / n
    z[i]    = v[i] * 2.0
    Y[i, j] = X[i, j] * U[j] + z[j] + a[j]
}
"""
W = np.array([1, -2, 5, 8], np.float32)
V = np.array([1, 2, 3, 4], np.float32)
X = np.arange(12, dtype=np.float32).reshape(3, 4)


def expected(x: np.ndarray, w: np.ndarray, v: np.ndarray) -> np.ndarray:
    return x * (w / np.abs(w).sum()) + v * 2 + np.abs(w)


def bodies(final: Kernel) -> list[str]:
    main, ahead = separated(final)
    return [print_kernel(k) for k in (main, *(part.kernel for part in ahead))]


@pytest.fixture(scope="module")
def kernel() -> te.Kernel:
    built = te.build(SCALED, "precompute U, z")
    assert isinstance(built, te.Kernel)
    return built


def test_the_code_of_a_call_takes_it_over(kernel: te.Kernel) -> None:
    ahead_u, ahead_z, main = kernel.ir("final").split("final kernel ")[1:]
    assert ahead_u.startswith("scaled.ahead(")
    assert "abs(W" in ahead_u
    assert "v[" not in ahead_u
    assert ahead_z.startswith("scaled.ahead1(")
    assert "W[" not in ahead_z
    assert "W[" not in main
    assert "v[" not in main
    assert "# computed where the `param`s are bound: U, z" in kernel.ir("loop")
    assert kernel.schedule == "schedule scaled on llvm {\n    precompute U, z\n}"


def test_results_are_the_same_however_much_is_bound(kernel: te.Kernel) -> None:
    plain = te.build(SCALED, "none")
    want = plain(X, W, V)
    np.testing.assert_allclose(want, expected(X, W, V), rtol=1e-6)
    np.testing.assert_array_equal(kernel(X, W, V), want)
    for bound, rest in (({"W": W, "v": V}, ()), ({"W": W}, (V,)), ({"v": V}, (W,)), ({"X": X}, (W, V))):
        some = kernel.bind(**bound)
        for x in (X, X + 1, X[:2]):
            given = rest if "X" in bound else (x, *rest)
            np.testing.assert_array_equal(some(*given), plain(X if "X" in bound else x, W, V))
    both = kernel.bind(W=W).bind(v=V)
    np.testing.assert_array_equal(both(X), want)
    np.testing.assert_array_equal(both.bind(W=2 * W)(X), plain(X, 2 * W, V))
    out = np.empty_like(X)
    assert both(X, out=out) is out
    np.testing.assert_array_equal(out, want)
    assert both.time(X, repeat=1).median > 0


def test_it_is_computed_once(kernel: te.Kernel) -> None:
    w, v = W.copy(), V.copy()
    bound = kernel.bind(W=w, v=v)
    want = bound(X)
    w *= 2
    v *= 2
    np.testing.assert_array_equal(bound(X), want)
    np.testing.assert_array_equal(kernel(X, w, v), te.build(SCALED, "none")(X, w, v))
    partly = kernel.bind(W=w)
    partly(X, v)
    np.testing.assert_array_equal(partly(X, V), te.build(SCALED, "none")(X, w, V))


def test_it_is_computed_when_it_is_bound_if_the_sizes_are_known(kernel: te.Kernel) -> None:
    w, v = W.copy(), V.copy()
    bound = kernel.bind(W=w, v=v)
    w *= 2
    v *= 2
    want = expected(X, W, V)  # `a`, which Y reads as U does, is kept too
    np.testing.assert_allclose(bound(X), want, rtol=1e-6)


@pytest.mark.parametrize(
    "head",
    [
        "op f(X: f32[M], param W: f32[N], param v: f32[N]) -> Y: f32[M] {\n require N < M",
        "op f(X: f32[M], param W: f32[N], param v: f32[M + N]) -> Y: f32[M] {",
    ],
)
def test_what_the_bound_inputs_leave_open_waits_for_the_first_call(head: str) -> None:
    text = head + "\n U[i] = W[i] * 2.0\n s = sum[j](U[j]) + v[0]\n Y[i] = X[i] * s }".replace("+ v[0]", "")
    kernel = te.build(text, "precompute U")
    w, x = np.arange(3, dtype=np.float32), np.ones(5, np.float32)
    v = np.ones(3 if "require" in head else 8, np.float32)
    bound = kernel.bind(W=w, v=v)
    w += 1
    np.testing.assert_array_equal(bound(x), np.full(5, 12, np.float32))
    with pytest.raises(ValueError, match=r"requires|must be"):
        bound(x[:2])


def test_what_is_wrong_with_bound_inputs_is_found_by_the_first_call(kernel: te.Kernel) -> None:
    with pytest.raises(TypeError, match="`W` must be"):
        kernel.bind(W=W.astype(np.float64), v=V)(X)
    with pytest.raises(ValueError, match="axis 0 of `v` must be"):
        kernel.bind(W=W, v=V[:2])(X)


def test_wrong_shapes_are_refused_at_each_call(kernel: te.Kernel) -> None:
    bound = kernel.bind(W=W, v=V)
    bound(X)
    with pytest.raises(ValueError, match="axis 0 of `W` must be N = 3"):
        bound(X[:, :3])


def test_threads_share_it(kernel: te.Kernel) -> None:
    want = kernel(X, W, V)
    for _ in range(20):
        bound = kernel.bind(W=W, v=V)
        found: list[np.ndarray] = []

        def call(bound: te.BoundKernel = bound, found: list[np.ndarray] = found) -> None:
            found.append(bound(X))

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        for result in found:
            np.testing.assert_array_equal(result, want)


def test_out_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("TE_CACHE_DIR", str(tmp_path))
    lines = "specialize M % 2 == 0 { precompute z; vectorize Y.j by 4 }\nprecompute U, z"
    for _ in range(2):
        kernel = te.build(SCALED, lines)
        for rows in (2, 3):
            np.testing.assert_array_equal(kernel(X[:rows], W, V), kernel.bind(W=W, v=V)(X[:rows]))
            np.testing.assert_allclose(kernel(X[:rows], W, V), expected(X[:rows], W, V), rtol=1e-6)


def test_tables_sizes_checks_and_dtypes_left_open() -> None:
    text = """
    const T: f32[2] = [10.0, 20.0]
    op f<D: float>(X: D[M], param W: D[N], ids: i64[M]) -> Y: D[M] {
        U[i] = W[i] + D(T[i % 2]) + D(f32(i + N))
        Y[i] = X[i] * U[ids[i]]
    }
    schedule f on llvm { precompute U; parallel U.i }
    """
    kernel = te.build(text)
    for dtype in (np.float32, np.float64):
        x, w, ids = np.ones(3, dtype), np.arange(4, dtype=dtype), np.array([0, 3, 1])
        want = (w + np.array([10, 20, 10, 20]) + np.arange(4) + 4)[ids]
        bound = kernel.bind(W=w)
        for _ in range(2):
            np.testing.assert_array_equal(bound(x, ids), want.astype(dtype))
        np.testing.assert_array_equal(kernel(x, w, ids), want.astype(dtype))
        with pytest.raises(IndexError):
            bound(x, ids + 1)


def test_sizes_that_no_param_has() -> None:
    text = """
    op f(X: f32[M], param w: f32) -> Y: f32[M] { U[i < M] = w * f32(i); Y[i] = X[i] + U[i] }
    schedule f on llvm { precompute U }
    """
    bound = te.build(text).bind(w=2.0)
    for m in (3, 5, 0, 3, *range(50)):
        np.testing.assert_array_equal(bound(np.zeros(m, np.float32)), 2 * np.arange(m, dtype=np.float32))


def test_a_debug_build_computes_everything_at_each_call() -> None:
    kernel = te.build(SCALED, "precompute U, z", debug=True)
    np.testing.assert_array_equal(kernel.bind(W=W, v=V)(X), kernel(X, W, V))


def test_copies_and_reductions_are_precomputed() -> None:
    text = """
    op linear(X: f32[M, K], param W: f32[N, K]) -> Y: f32[M, N] { Y[i, j] = sum[k](X[i, k] * W[j, k]) }
    schedule linear on llvm {
        cache_read W[j, k] as Wp layout [j // 4, k, j % 4]
        split Wp.j by 4
        precompute Wp
        split Y.j by 4
    }
    """
    kernel = te.build(text)
    x, w = np.arange(15, dtype=np.float32).reshape(5, 3), np.arange(30, dtype=np.float32).reshape(10, 3)
    bound = kernel.bind(W=w)
    for _ in range(2):
        np.testing.assert_array_equal(bound(x), x @ w.T)
    assert "W[" not in kernel.ir("final").split("final kernel linear(")[1].split("\n", 1)[1]


def test_the_loop_program_computes_the_same() -> None:
    lines = "precompute U\nparallel U.i\nvectorize Y.j by 4"
    assert_same(nest(program(SCALED)), scheduled(SCALED, lines), {"M": 3, "N": 5}, {"M": 0, "N": 1})


def test_both_parts_together_compute_the_whole() -> None:
    from te.schedule.finalize import finalize

    final = finalize(scheduled(SCALED, "precompute U, z\nsplit Y.j by 3"))
    sizes = {"M": 3, "N": 4}
    whole = run_kernel(final, {"X": X, "W": W, "v": V}, sizes)
    np.testing.assert_allclose(whole["Y"], expected(X, W, V), rtol=1e-6)
    assert len(bodies(final)) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("precompute Y", "`Y` is a result"),
        ("precompute W", "`W` is given"),
        ("precompute q", "no intermediate `q`"),
        ("inline z\nprecompute z", "no intermediate `z`"),
        ("precompute z\ninline z", "this line leaves nothing of it"),
        ("precompute U\ncompute_at U at Y.j", "`U` cannot be precomputed: it is computed in `Y.i`"),
        ("compute_at z at Y.i\nprecompute z", "`z` cannot be precomputed: it is computed in `Y.i`"),
    ],
)
def test_what_cannot_run_alone_is_refused(lines: str, message: str) -> None:
    assert message in refused(SCALED, lines).message


def test_loops_that_compute_more_are_refused() -> None:
    text = "op f(X: f32[N], param W: f32[N]) -> Y: f32[N] { e[i] = W[i] + 1.0; Y[i] = X[i] * e[i] }"
    found = refused(text, "precompute e\nmerge e.i, Y.i")
    assert found.message == "`e` cannot be precomputed: it is computed together with `Y` in `e.i`"
    assert refused(text, "merge e.i, Y.i\nprecompute e").message == found.message


PACKED = """
op linear(X: f32[M, K], param W: f32[N, K]) -> Y: f32[M, N] { Y[i, j] = sum[k](X[i, k] * W[j, k]) }
schedule linear on llvm {
    layout W[j, k] as [j // 8, k, j % 8]
    vectorize Y.j by 8
}
"""


@pytest.mark.parametrize("sizes", [(5, 3, 10), (4, 8, 16), (1, 1, 1), (3, 0, 9), (0, 2, 8)])
def test_the_layout_of_a_param(sizes: tuple[int, int, int]) -> None:
    kernel = te.build(PACKED)
    assert kernel.schedule.count("layout W[j, k] as [j // 8, k, j % 8]") == 1
    m, k, n = sizes
    x = np.arange(m * k, dtype=np.float32).reshape(m, k)
    w = np.arange(n * k, dtype=np.float32).reshape(n, k)
    bound = kernel.bind(W=w)
    for _ in range(2):
        np.testing.assert_array_equal(bound(x), x @ w.T)
    np.testing.assert_array_equal(kernel(x, w), x @ w.T)


def test_the_layout_of_a_param_in_python_and_its_mistakes() -> None:
    s = te.Schedule("linear").layout("W[j, k]", as_="[j // 8, k, j % 8]").vectorize("Y.j", by=8)
    assert te.build(PACKED, s).schedule == te.build(PACKED).schedule
    op = PACKED.split("schedule")[0]
    assert "share a place" in refused(op, "layout W[j, k] as [j // 8, k]").message
    assert "`X` is an input" in refused(op, "layout X[i, k] as [k, i]").message
    assert "already" in refused(op, "layout W[j, k] as [k, j]\nlayout W[j, k] as [k, j]").message


def test_what_depends_on_another_input_is_refused() -> None:
    text = SCALED.replace("a[i]    = abs(W[i])", "a[i]    = abs(W[i]) + X[0, i]").replace("-> Y", "-> Y")
    text = text.replace("op scaled(", "op scaled(").replace("{\n", "{\n    require M > 0\n", 1)
    found = refused(text, "precompute U")
    assert found.message == "`U` cannot be precomputed: it depends on `X`, through `a`"
    assert found.help == "an input that is bound once is declared so: `param X`"


def test_in_python() -> None:
    s = te.Schedule("scaled").precompute("U", "z").vectorize("Y.j", by=4)
    assert str(s).splitlines()[1] == "    precompute U, z"
    np.testing.assert_array_equal(te.build(SCALED, s).bind(W=W, v=V)(X), te.build(SCALED, s)(X, W, V))


LINES = [
    "inline a",
    "inline z",
    "parallel U.i",
    "vectorize U.i by 4",
    "split Y.j by 3 tail peel",
    "vectorize a.i by 8",
    "cache_read W",
    "cache_read v at Y.i",
    "layout W[i] as [i % 2, i // 2]",
    "layout v[i] as [i // 4, i % 4]",
    "compute_at z at Y.i",
    "merge a.i, n.i",
    "precompute U",
    "precompute z, a",
    "precompute n",
]


@settings(max_examples=25)
@given(st.lists(st.sampled_from(LINES), unique=True, max_size=6), st.integers(1, 9), st.data())
def test_any_schedule_gives_the_same_results(lines: list[str], n: int, data: st.DataObject) -> None:
    of = program(SCALED)
    schedule = te.Schedule(of)
    for line in lines:
        try:
            for directive in read_directives(parse_directives(line), names_in(of)):
                schedule.add(directive)
        except ScheduleError:
            continue  # it does not go with those before
    kernel = te.build(SCALED, str(schedule))
    small = st.integers(-4, 4).map(float)
    w, v, x = (np.array(data.draw(st.lists(small, min_size=n, max_size=n)), np.float32) for _ in range(3))
    w[0] = 3  # the sum is not 0
    for rows in (1, 3):
        inputs = {"X": np.tile(x, (rows, 1)), "W": w, "v": v}
        want = run_kernel(nest(of), inputs, {"M": rows, "N": n})["Y"]
        some = {name: inputs[name] for name in data.draw(st.sets(st.sampled_from(sorted(inputs))))}
        rest = {name: array for name, array in inputs.items() if name not in some}
        bound = kernel.bind(**some)
        for _ in range(2):
            np.testing.assert_array_equal(bound(**rest), want)
