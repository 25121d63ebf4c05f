"""What a call may hand over, and what is said where it does not fit."""

from __future__ import annotations

import re
import threading
from typing import Any

import numpy as np
import pytest

import te
from te.ir.types import DTYPES, numpy_dtype

F32 = np.float32

MATMUL = (
    "op matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] {\n    C[i, j] = sum[k](A[i, k] * B[k, j])\n}\n"
)
DOUBLE = "op double(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }"
SCALED = "op scaled(X: f32[N], a: f32) -> Y: f32[N] { Y[i] = a * X[i] }"


@pytest.fixture(scope="module")
def matmul() -> Any:
    return te.build(MATMUL)


@pytest.fixture(scope="module")
def double() -> Any:
    return te.build(DOUBLE)


@pytest.fixture(scope="module")
def scaled() -> Any:
    return te.build(SCALED)


def f32(*shape: int) -> Any:
    return np.arange(np.prod(shape, dtype=int), dtype=F32).reshape(shape) % 7


def refused(error: type[Exception], message: str, call: Any, *arguments: Any, **named: Any) -> None:
    """The call raises exactly this error with exactly this message."""
    with pytest.raises(error) as caught:
        call(*arguments, **named)
    assert type(caught.value) is error
    assert str(caught.value) == message


# ---------------------------------------------------------------- which arguments


def test_by_position_and_by_name(matmul: Any) -> None:
    a, b = f32(3, 4), f32(4, 5)
    for found in (matmul(a, b), matmul(a, B=b), matmul(B=b, A=a)):
        np.testing.assert_array_equal(found, a @ b)


def test_missing_extra_unknown_repeated(matmul: Any) -> None:
    a, b = f32(3, 4), f32(4, 5)
    takes = "matmul takes 2 arguments (A, B)"
    refused(TypeError, f"{takes}; `B` missing", matmul, a)
    refused(TypeError, f"{takes}; `A`, `B` missing", matmul)
    refused(TypeError, f"{takes}, found 3", matmul, a, b, a)
    refused(TypeError, "matmul: `A` is given twice, by its position and by its name", matmul, a, b, A=a)
    refused(TypeError, "matmul has no argument `C`; it takes 2 arguments (A, B)", matmul, a, b, C=a)
    wide = te.build("op f(weights: f32[N]) -> Y: f32[N] { Y[i] = weights[i] }")
    refused(TypeError, "f has no argument `wieghts`; did you mean `weights`?", wide, wieghts=a)


def test_an_op_without_inputs() -> None:
    ones = te.build("op ones() -> Y: f32[3] { Y[i] = 1 }")
    np.testing.assert_array_equal(ones(), np.ones(3, F32))
    refused(TypeError, "ones takes no arguments, found 1", ones, f32(3))


@pytest.mark.parametrize("name", ["out", "self", "arrays", "None", "lambda", "kernel"])
def test_names_that_mean_something_in_python(name: str) -> None:
    kernel = te.build(f"op f({name}: f32[N]) -> Y: f32[N] {{ Y[i] = {name}[i] + 1 }}")
    np.testing.assert_array_equal(kernel(f32(3)), f32(3) + 1)
    if name != "out":  # the keyword is taken by the result
        np.testing.assert_array_equal(kernel(**{name: f32(3)}), f32(3) + 1)


# ---------------------------------------------------------------- dtypes


def test_wrong_dtype(matmul: Any) -> None:
    a, b = f32(3, 4), f32(4, 5)
    refused(
        TypeError,
        "matmul: `B` must be f32, found float64: cast it with `.astype(np.float32)`",
        matmul,
        a,
        b.astype(np.float64),
    )
    refused(
        TypeError,
        "matmul: `A` must be f32, found object: cast it with `.astype(np.float32)`",
        matmul,
        a.astype(object),
        b,
    )


@pytest.mark.parametrize(
    ("dtype", "like"),
    [(name, numpy_dtype(dtype)) for name, dtype in DTYPES.items()],
)
def test_every_dtype_passes_through(dtype: str, like: np.dtype[Any]) -> None:
    copy = te.build(
        f"op copy(X: {dtype}[N], s: {dtype}) -> Y: {dtype}[N], t: {dtype} {{ Y[i] = X[i]; t = s }}"
    )
    x = np.arange(5).astype(like)
    y, t = copy(x, x[2])
    assert y.dtype == x.dtype
    assert t.dtype == x.dtype
    assert t.shape == ()
    np.testing.assert_array_equal(y, x)
    assert t == x[2]


def test_not_an_array(matmul: Any) -> None:
    b = f32(4, 5)
    start = "matmul: `A` must be an array (NumPy's, or one with `__dlpack__`), found "
    refused(TypeError, start + "list: convert it with `np.asarray`", matmul, [[1.0]], b)
    refused(TypeError, start + "NoneType", matmul, None, b)
    refused(TypeError, start + "str", matmul, "A.npy", b)
    refused(TypeError, start + "float: convert it with `np.asarray`", matmul, 1.0, b)


def test_masked_arrays_are_refused(double: Any) -> None:
    masked = np.ma.masked_array(f32(3), mask=[True, False, False])
    with pytest.raises(TypeError, match=re.escape("is a masked array, and te has no masks: fill it")):
        double(masked)


# ---------------------------------------------------------------- scalars


@pytest.mark.parametrize("value", [3, 3.0, F32(3), np.array(3, F32)])
def test_scalars_for_rank_0(scaled: Any, value: Any) -> None:
    np.testing.assert_array_equal(scaled(f32(4), value), 3 * f32(4))


def test_scalars_that_do_not_fit(scaled: Any) -> None:
    x = f32(4)
    refused(TypeError, "scaled: `a` must be f32, found True, a Python bool", scaled, x, True)
    refused(ValueError, "scaled: `a` must be f32, and 1e+39 does not fit", scaled, x, 1e39)
    refused(
        TypeError,
        "scaled: `a` must be f32, found float64: cast it with `.astype(np.float32)`",
        scaled,
        x,
        np.float64(3),
    )
    refused(ValueError, "scaled: `a` must be a scalar (a: f32), found the shape (4,)", scaled, x, x)
    with pytest.raises(ValueError, match=re.escape(f"and {10**400} does not fit")):
        scaled(x, 10**400)
    np.testing.assert_array_equal(scaled(x[1:], float("inf")), [np.inf] * 3)

    shift = te.build("op shift(X: u8[N], by: u8) -> Y: u8[N] { Y[i] = X[i] + by }")
    bytes_ = np.arange(3, dtype=np.uint8)
    np.testing.assert_array_equal(shift(bytes_, 255), bytes_ + np.uint8(255))
    refused(ValueError, "shift: `by` must be u8, and 256 does not fit", shift, bytes_, 256)
    refused(ValueError, "shift: `by` must be u8, and -1 does not fit", shift, bytes_, -1)
    refused(TypeError, "shift: `by` must be u8, found 1.0, a Python float", shift, bytes_, 1.0)


# ---------------------------------------------------------------- shapes


def test_extents_that_disagree(matmul: Any) -> None:
    refused(
        ValueError,
        "matmul: axis 0 of `B` must be K = 512 (as in axis 1 of `A`), found 256",
        matmul,
        f32(3, 512),
        f32(256, 5),
    )


def test_wrong_rank(matmul: Any) -> None:
    refused(
        ValueError,
        "matmul: `B` must have 2 axes (B: f32[K, N]), found the shape (4,)",
        matmul,
        f32(3, 4),
        f32(4),
    )


def test_extents_that_are_expressions() -> None:
    halves = te.build(
        "op halves(X: f32[N], Z: f32[2*N + 1], W: f32[3]) -> Y: f32[N] { Y[i] = X[i] + Z[2*i] + W[0] }"
    )
    x, z, w = f32(4), f32(9), f32(3)
    np.testing.assert_array_equal(halves(x, z, w), x + z[:8:2] + w[0])
    refused(
        ValueError,
        "halves: axis 0 of `Z` must be 2*N + 1 = 9 (N = 4 from axis 0 of `X`), found 8",
        halves,
        x,
        f32(8),
        w,
    )
    refused(ValueError, "halves: axis 0 of `W` must be 3, found 4", halves, x, z, f32(4))


def test_extents_that_the_build_fixed() -> None:
    fixed = te.build(MATMUL, sizes={"K": 4})
    np.testing.assert_array_equal(fixed(f32(3, 4), f32(4, 5)), f32(3, 4) @ f32(4, 5))
    refused(
        ValueError,
        "matmul: axis 1 of `A` must be K = 4 (fixed by the build), found 5",
        fixed,
        f32(3, 5),
        f32(5, 2),
    )


def test_requirements() -> None:
    pairs = te.build(
        "op pairs(X: f32[N]) -> Y: f32[N // 2] {\n    require N % 2 == 0\n    Y[i] = X[2*i] + X[2*i + 1]\n}"
    )
    np.testing.assert_array_equal(pairs(f32(4)), [1, 5])
    refused(ValueError, "pairs requires N % 2 == 0, and N = 5 from axis 0 of `X`", pairs, f32(5))


def test_requirements_on_floats() -> None:
    few = te.build("op few(X: f32[N]) -> Y: f32[N] {\n    require f32(N) * 0.5 < 2.0\n    Y[i] = X[i]\n}")
    np.testing.assert_array_equal(few(f32(3)), f32(3))
    with pytest.raises(ValueError, match=re.escape("few requires f32(N) * 0.5 < 2.0")):
        few(f32(4))


def test_a_result_of_negative_extent() -> None:
    differences = te.build("op differences(X: f32[N]) -> Y: f32[N - 1] { Y[i] = X[i + 1] - X[i] }")
    np.testing.assert_array_equal(differences(f32(4)), [1, 1, 1])
    assert differences(f32(1)).shape == (0,)
    refused(
        ValueError,
        "differences: axis 0 of the result `Y` would be N - 1 = -1 (N = 0 from axis 0 of `X`)",
        differences,
        f32(0),
    )


@pytest.mark.parametrize("schedule", [None, "none"])
@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 0, 5), (3, 4, 0), (0, 0, 0), (1, 1, 1)])
def test_empty_arrays(schedule: str | None, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    found = te.build(MATMUL, schedule)(f32(m, k), f32(k, n))
    np.testing.assert_array_equal(found, f32(m, k) @ f32(k, n))


@pytest.mark.timeout(60)
def test_an_empty_array_may_have_a_long_axis() -> None:
    kernel = te.build("op f(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = X[i, j] * 2 }")
    for shape in ((1 << 40, 0), (0, 1 << 40)):
        for _ in range(2):
            assert kernel(np.empty(shape, np.float32)).shape == shape
    out = np.empty((1 << 40, 0), np.float32)
    assert kernel(out, out=out) is out


# ---------------------------------------------------------------- sizes and memory


def huge(*shape: int) -> Any:
    """An array of that shape in four bytes of memory."""
    return np.lib.stride_tricks.as_strided(np.zeros(1, F32), shape, (0,) * len(shape))


def test_sizes_too_large_for_indices() -> None:
    far = te.build("op far(X: f32[N]) -> Y: f32[N] { Y[i] = X[clamp(i * N * N, 0, N - 1)] }")
    np.testing.assert_array_equal(far(f32(3)), [0, 2, 2])
    refused(ValueError, "far: sizes too large for 64-bit indices: N = 4194304", far, huge(1 << 22))
    np.testing.assert_array_equal(far(f32(3)), [0, 2, 2])


def test_large_sizes_with_small_products() -> None:
    """The bound for one size, whatever the others, is 2**15 here; what counts is the sizes of the call."""
    total = te.build("op total(X: f32[A, B, C, D]) -> y: f32 { y = sum[a, b, c, d](X[a, b, c, d]) }")
    assert total(np.ones((1, 1 << 20, 1, 1), F32)) == 1 << 20


def test_a_result_that_cannot_be_addressed() -> None:
    outer = te.build("op outer(X: f32[N]) -> Y: f32[N, N, N] { Y[i, j, k] = X[i] * X[j] * X[k] }")
    with pytest.raises(ValueError, match=r"too large|more bytes than can be addressed"):
        outer(huge(1 << 21))


def test_memory_that_is_refused() -> None:
    outer = te.build("op outer(X: f32[N]) -> Y: f32[N, N] { Y[i, j] = X[i] * X[j] }")
    with pytest.raises(MemoryError, match="outer: a result cannot be allocated"):
        outer(np.zeros(1 << 26, F32))  # 16 PiB, more than any process may map
    twice = te.build(
        "op twice(X: f32[N]) -> y: f32 {\n"
        "    e[i, j] = exp(X[i] * X[j])\n    y = sum[i < N, j < N](e[i, j] + e[j, i])\n}",
        "none",
    )
    with pytest.raises(MemoryError, match="twice: intermediates cannot be allocated"):
        twice(np.zeros(1 << 26, F32))
    np.testing.assert_allclose(twice(np.zeros(2, F32)), 8)


def test_copies_that_are_refused(double: Any) -> None:
    with pytest.raises(MemoryError, match="double: a copy of `X` cannot be allocated"):
        double(huge(1 << 50))


# ---------------------------------------------------------------- how arrays lie in memory


def strided(x: Any) -> Any:
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def read_only(x: Any) -> Any:
    x = x.copy()
    x.flags.writeable = False
    return x


def misaligned(x: Any) -> Any:
    memory = np.zeros(x.nbytes + 1, np.uint8)
    view = memory[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


class Subclass(np.ndarray):
    pass


LAYOUTS = {
    "strided": strided,
    "read only": read_only,
    "misaligned": misaligned,
    "Fortran": np.asfortranarray,
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "swapped and strided": lambda x: strided(x.astype(x.dtype.newbyteorder())),
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "subclass": lambda x: x.view(Subclass),
    "same dtype, another object": lambda x: x.view(np.dtype([("x", x.dtype)])["x"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_inputs(matmul: Any, layout: str) -> None:
    a, b = LAYOUTS[layout](f32(4, 4) + 1), f32(4, 5)
    before = np.array(a)
    found = matmul(a, b)
    np.testing.assert_array_equal(found, np.asarray(a, F32) @ b)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(a, before)


def test_contiguous_inputs_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    from te.runtime import kernel as kernel_module

    seen: list[Any] = []
    address = kernel_module.address
    monkeypatch.setattr(kernel_module, "address", lambda array: seen.append(array) or address(array))
    a, b = f32(3, 4), read_only(f32(4, 5))
    matmul = te.build(MATMUL)
    matmul(a, b)
    matmul(a, b)  # the next one would read addresses elsewhere
    assert seen[0] is a
    assert seen[1] is b
    assert seen[3] is a


def test_one_array_for_several_inputs(matmul: Any) -> None:
    a = f32(4, 4)
    np.testing.assert_array_equal(matmul(a, a), a @ a)
    np.testing.assert_array_equal(matmul(a, a.T), a @ a.T)


def test_memory_maps(tmp_path: Any, double: Any) -> None:
    np.save(tmp_path / "x.npy", f32(5))
    found = double(np.load(tmp_path / "x.npy", mmap_mode="r"))
    np.testing.assert_array_equal(found, 2 * f32(5))


# ---------------------------------------------------------------- out


def test_out(matmul: Any) -> None:
    a, b, c = f32(3, 4), f32(4, 5), np.full((3, 5), -1, F32)
    assert matmul(a, b, out=c) is c
    np.testing.assert_array_equal(c, a @ b)
    c[...] = -1
    assert matmul(a, b, out=(c,))[0] is c
    np.testing.assert_array_equal(c, a @ b)


def test_out_that_cannot_be_written(matmul: Any) -> None:
    a, b, c = f32(3, 4), f32(4, 5), np.zeros((3, 5), F32)
    start = "matmul: out `C` "
    with pytest.raises(TypeError, match=re.escape(start + "must be f32, found float64")):
        matmul(a, b, out=c.astype(np.float64))
    refused(
        ValueError,
        start + "must have the shape (3, 5), found (5, 3)",
        matmul,
        a,
        b,
        out=np.zeros((5, 3), F32),
    )
    refused(ValueError, start + "is read-only", matmul, a, b, out=read_only(c))
    for layout in ("strided", "misaligned", "Fortran", "swapped"):
        with pytest.raises((ValueError, TypeError), match=re.escape(start + "must be contiguous, aligned")):
            matmul(a, b, out=LAYOUTS[layout](c))
    refused(
        TypeError,
        "matmul: `out` must be an array, one for each result, found 2 of them",
        matmul,
        a,
        b,
        out=(c, c),
    )
    with pytest.raises(TypeError, match=re.escape(start + "must be an array")):
        matmul(a, b, out="C")
    np.testing.assert_array_equal(c, 0)


def test_out_that_overlaps_inputs() -> None:
    for schedule in ("none", "vectorize i by 8"):
        reverse = te.build("op reverse(X: f32[N]) -> Y: f32[N] { Y[i] = X[N - 1 - i] }", schedule)
        x = np.arange(21, dtype=F32)
        reverse(x, out=x)
        np.testing.assert_array_equal(x, np.arange(21)[::-1])
        memory = np.arange(30, dtype=F32)
        expected = memory[0:20][::-1].copy()
        reverse(memory[0:20], out=memory[10:30])
        np.testing.assert_array_equal(memory[10:30], expected)


def test_several_results() -> None:
    both = te.build("op both(X: f32[N]) -> P: f32[N], Q: f64[N] { P[i] = X[i] + 1; Q[i] = f64(X[i]) * 2 }")
    x = f32(5)
    p, q = both(x)
    np.testing.assert_array_equal(p, x + 1)
    np.testing.assert_array_equal(q, x * 2.0)
    out = (np.zeros(5, F32), np.zeros(5))
    assert both(x, out=out) is out
    np.testing.assert_array_equal(out[1], x * 2.0)
    both(x, out=list(out))
    message = "both: `out` must be a tuple of 2 arrays, one for each result, found "
    refused(TypeError, message + "ndarray", both, x, out=out[0])
    refused(TypeError, message + "1 of them", both, x, out=out[:1])


def test_results_in_out_must_not_overlap() -> None:
    both = te.build("op both(X: f32[N]) -> P: f32[N], Q: f32[N] { P[i] = X[i] + 1; Q[i] = X[i] * 2 }")
    memory = np.zeros(8, F32)
    refused(
        ValueError,
        "both: two of the arrays in `out` overlap",
        both,
        f32(5),
        out=(memory[:5], memory[3:]),
    )
    both(f32(4), out=(memory[:4], memory[4:]))
    np.testing.assert_array_equal(memory, [1, 2, 3, 4, 0, 2, 4, 6])


def test_results_of_rank_0() -> None:
    total = te.build("op total(X: f32[N]) -> y: f32 { y = sum[i](X[i]) }")
    found = total(f32(5))
    assert found.shape == ()
    assert found == 10
    out = np.zeros((), F32)
    assert total(f32(5), out=out) is out
    assert out == 10


# ---------------------------------------------------------------- other libraries


class Exported:
    """An array of some library: nothing but DLPack."""

    def __init__(self, array: Any):
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def test_dlpack(matmul: Any) -> None:
    a, b = f32(3, 4), f32(4, 5)
    np.testing.assert_array_equal(matmul(Exported(a), Exported(b)), a @ b)
    np.testing.assert_array_equal(matmul(Exported(a.T.copy().T), b), a @ b)
    with pytest.raises(TypeError, match="`B` must be f32, found float64"):
        matmul(a, Exported(b.astype(np.float64)))


def test_dlpack_on_another_device(double: Any) -> None:
    class OnGpu(Exported):
        def __dlpack_device__(self) -> Any:
            return (2, 0)

    refused(
        TypeError,
        "double: `X` lies in the memory of another device (CUDA): copy it to the CPU first",
        double,
        OnGpu(f32(3)),
    )


def test_dlpack_that_fails(double: Any) -> None:
    class Broken(Exported):
        def __dlpack__(self, **options: Any) -> Any:
            raise BufferError("no export today")

    refused(TypeError, "double: `X` cannot be shared through DLPack: no export today", double, Broken(f32(3)))


@pytest.mark.torch
def test_torch_in_torch_out(matmul: Any) -> None:
    torch = pytest.importorskip("torch")
    a, b = torch.arange(12.0).reshape(3, 4), torch.ones(4, 5)
    found = matmul(a, b)
    assert isinstance(found, torch.Tensor)
    assert torch.equal(found, a @ b)
    assert torch.equal(matmul(a, b.T.contiguous().T), a @ b)
    out = torch.zeros(3, 5)
    assert matmul(a, b, out=out) is out
    assert torch.equal(out, a @ b)
    assert isinstance(matmul(a.numpy(), b), np.ndarray)
    with pytest.raises(TypeError, match=r"`A` must be f32, found float64: cast it with"):
        matmul(a.double(), b)
    with pytest.raises(TypeError, match=r"`A` cannot be shared through DLPack: .*grad"):
        matmul(a.requires_grad_(), b)


@pytest.mark.torch
def test_torch_of_every_dtype() -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.float64, torch.int32, torch.int64, torch.uint8, torch.bool):
        name = str(np.dtype(str(dtype).removeprefix("torch.")).name)
        te_name = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "uint8": "u8"}.get(
            name, name
        )
        copy = te.build(f"op copy(X: {te_name}[N]) -> Y: {te_name}[N] {{ Y[i] = X[i] }}")
        x = torch.arange(5).to(dtype)
        assert torch.equal(copy(x), x)
    with pytest.raises(TypeError, match="`X`"):
        copy(torch.zeros(3, dtype=torch.bfloat16))
    for dtype, name in ((torch.float16, "f16"), (torch.bfloat16, "bf16"), (torch.float8_e5m2, "f8e5m2")):
        copy = te.build(f"op copy(X: {name}[N]) -> Y: {name}[N] {{ Y[i] = X[i] }}")
        x = torch.arange(5.0).to(dtype)
        found = copy(x)
        assert found.dtype == dtype
        assert torch.equal(found.float(), x.float())


# ---------------------------------------------------------------- threads


def test_one_kernel_from_many_threads() -> None:
    softmax = te.build(
        "op softmax(X: f32[M, N]) -> Y: f32[M, N] {\n"
        "    e[i, j] = exp(X[i, j])\n    Y[i, j] = e[i, j] / sum[k](e[i, k])\n}",
        "none",
    )
    wrong: list[str] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(50):
            x = rng.standard_normal((int(rng.integers(1, 30)), int(rng.integers(1, 30)))).astype(F32)
            e = np.exp(x.astype(np.float64))
            if not np.allclose(softmax(x), e / e.sum(1, keepdims=True), rtol=1e-4):
                wrong.append(f"seed {seed}, shape {x.shape}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
