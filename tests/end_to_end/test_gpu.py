"""What runs on a real NVIDIA GPU only: the prelude's functions, programs with schedules, other libraries' arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import te
from te.backends.cuda import prelude
from te.backends.cuda.device import Device, Functions, device_numbered
from te.backends.cuda.driver import why_unavailable
from te.backends.cuda.host import SizedLaunch
from te.backends.cuda.launches import Launch
from te.backends.interp.arithmetic import quietly
from te.backends.interp.casts import cast
from te.backends.llvm.math.fast import FAST
from te.ir.expr import FUNCTIONS, integer
from te.ir.types import F32, DType, numpy_dtype
from te.runtime.gpu_code import machine_code
from te.runtime.gpu_kernel import GpuKernel
from te.target import parse_target
from tests.backends.math_reference import Compiled
from tests.backends.test_cuda_prelude import (
    ELEMENTARY,
    INTERPRETED,
    OPERATORS,
    PAIRS,
    arguments_of,
    assert_same,
    columns,
    values,
)
from tests.machines import NATIVE
from tests.std.comparing import example, find, run_example
from tests.std.test_library import OPS

MISSING = why_unavailable()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(MISSING is not None, reason=f"needs a GPU: {MISSING}")]

Array = np.ndarray[Any, Any]
PROGRAMS = sorted((Path(__file__).parents[1] / "backends" / "cuda").glob("*.te"))
THREADS = 256


class OnGPU:
    """Functions of the prelude on arrays, as `tests.backends.prelude_on_cpu.OnCPU` has them."""

    def __init__(self, wanted: Mapping[str, tuple[Sequence[DType], DType]]):
        self.wanted = wanted
        self.device: Device = device_numbered(0)
        loops = "\n".join(_kernel(name, *types) for name, types in wanted.items())
        text = f"{prelude.definitions(loops)}\n{loops}"
        with self.device.active():
            self.functions = Functions(self.device, machine_code(text, self.device.architecture).cubin)

    def __call__(self, name: str, *given: Array) -> Array:
        arguments, result = self.wanted[name]
        given = tuple(np.ascontiguousarray(c) for c in np.broadcast_arrays(*given))
        out = np.empty(given[0].shape, numpy_dtype(result))
        buffers = tuple(f"x{n}" for n in range(len(arguments) + 1))
        launch = Launch(f"run_{name}", (integer(1),) * 3, (THREADS, 1, 1), 0, buffers, ("n",))
        with self.device.active():
            lane = self.device.lane()
            memory = [lane.allocate(array.nbytes) for array in (*given, out)]
            for block, array in zip(memory, given, strict=False):
                self.device.driver.memcpy_htod(int(block), array.reshape(-1).view(np.uint8))
            ready = SizedLaunch(launch, (-(-out.size // THREADS), 1, 1), (out.size,))
            self.functions.launch(ready, [int(block) for block in memory], lane.stream)
            self.device.driver.memcpy_dtoh(out.reshape(-1).view(np.uint8), int(memory[-1]))
        return out


def _kernel(name: str, arguments: Sequence[DType], result: DType) -> str:
    parameters = "".join(f"const {prelude.type_name(a)} *x{n}, " for n, a in enumerate(arguments))
    given = ", ".join(f"x{n}[i]" for n in range(len(arguments)))
    return (
        f'extern "C" __global__ void run_{name}({parameters}{prelude.type_name(result)} *y, long long n) {{\n'
        f"    long long i = blockIdx.x * {THREADS}ll + threadIdx.x;\n"
        f"    if (i < n) {{\n        y[i] = {name}({given});\n    }}\n}}"
    )


@pytest.fixture(scope="module")
def compiled() -> OnGPU:
    wanted = {prelude.function_name(op, t): ([t] * arity, r) for op, t, arity, r in OPERATORS}
    wanted |= {prelude.function_name(op, t): ([t] * FUNCTIONS[op][1], t) for op, t in ELEMENTARY}
    wanted |= {prelude.function_name(op, F32, fast=True): ([F32] * FUNCTIONS[op][1], F32) for op in FAST}
    wanted |= {prelude.cast_name(a, b): ([a], b) for a, b in PAIRS}
    return OnGPU(wanted)


def test_operators(compiled: OnGPU) -> None:
    for op, dtype, arity, result in OPERATORS:
        arguments = columns(dtype, arity)
        with quietly():
            wanted = 1 / np.sqrt(arguments[0]) if op == "rsqrt" else INTERPRETED[op](*arguments)
        got = compiled(prelude.function_name(op, dtype), *arguments)
        assert_same(got, np.asarray(wanted, numpy_dtype(result)))


def test_casts(compiled: OnGPU) -> None:
    for source, to in PAIRS:
        x = values(source)
        with quietly():
            wanted = np.asarray(cast(x, to))
        assert_same(compiled(prelude.cast_name(source, to), x), wanted)


@pytest.mark.skipif("llvm.avx2" not in NATIVE, reason="needs a CPU with AVX2 and FMA")
def test_elementary_functions_have_the_bits_of_the_llvm_backend(compiled: OnGPU) -> None:
    target = parse_target("llvm.avx2")
    for name, dtype in ELEMENTARY:
        arguments = arguments_of(name, dtype)
        wanted = Compiled(name, dtype, arguments[0].size, 4, target)(*arguments)
        assert_same(compiled(prelude.function_name(name, dtype), *arguments), wanted)
    for name in FAST:
        arguments = arguments_of(name, F32)
        wanted = Compiled(name, F32, arguments[0].size, 4, target, fast=True)(*arguments)
        assert_same(compiled(prelude.function_name(name, F32, fast=True), *arguments), wanted)


# ---------------------------------------------------------------- ops


@pytest.mark.parametrize("op", OPS)
def test_the_examples_of_the_library(op: str) -> None:
    found = find(op)
    shown = example(found)
    assert shown is not None
    run_example(found, shown, "auto", "cuda")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_programs_with_schedules(path: Path) -> None:
    kernel, plain = te.build(path, target="cuda"), te.build(path, schedule="none")
    assert isinstance(kernel, GpuKernel)
    rng = np.random.default_rng(1)
    sizes = dict.fromkeys(kernel._signature.sizes, 70)
    inputs = [
        rng.integers(0, 5, [d.value(list(sizes.values())) for d in p.dimensions]).astype(p.array_dtype)
        for p in kernel.inputs
    ]
    got, wanted = kernel(*inputs), plain(*inputs)
    for a, b in zip(*[r if isinstance(r, tuple) else (r,) for r in (got, wanted)], strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-5)


SCALE = """op scale(X: f32[N], by: f32) -> Y: f32[N] {
    Y[i] = by * X[i]
}

schedule scale on cuda {
    split i by 256
    bind io to block.x
    bind ii to thread.x
}
"""


@pytest.fixture
def torch() -> Any:
    """PyTorch, where it has CUDA."""
    found = pytest.importorskip("torch")
    if not found.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    return found


@pytest.mark.torch
def test_tensors_of_pytorch_streams_and_graphs(torch: Any) -> None:
    kernel = te.build(SCALE, target="cuda")
    assert isinstance(kernel, GpuKernel)
    x, by = torch.randn(100_000, device="cuda"), torch.tensor(3.0, device="cuda")
    y = kernel(x, by)
    assert y.is_cuda
    assert torch.equal(y, 3 * x)
    out = torch.empty_like(x)
    assert kernel(x, 2.0, out=out) is out
    assert torch.equal(out, 2 * x)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        z = kernel.on(stream)(x + 1, by) - 3
    stream.synchronize()
    torch.testing.assert_close(z, 3 * x)
    graph = kernel.graph(x, by)
    x += 1
    assert torch.equal(graph(), 3 * x)
    bf16 = te.build("op double(X: bf16[N]) -> Y: bf16[N] { Y[i] = X[i] + X[i] }", target="cuda")
    assert torch.equal(bf16(x.bfloat16()), 2 * x.bfloat16())


@pytest.mark.torch
def test_work_is_in_order_with_the_current_stream_of_pytorch(torch: Any) -> None:
    kernel = te.build(SCALE, target="cuda")
    assert isinstance(kernel, GpuKernel)
    x = torch.zeros(1 << 20, device="cuda")
    expected = torch.full_like(x, 7.0)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x += 2  # not done when the kernel is queued
        y = kernel(x, 3.0) + 1
        out = torch.empty_like(x)
        kernel(x, 3.0, out=out)
        out += 1
    stream.synchronize()
    assert torch.equal(y, expected)
    assert torch.equal(out, expected)
    on_default = kernel(x, 3.0)
    with torch.cuda.stream(stream):
        assert torch.equal(kernel.on(stream)(on_default, 1.0) + 1, expected)
        with (
            pytest.raises(ValueError, match="another library's graph"),
            torch.cuda.graph(torch.cuda.CUDAGraph()),
        ):
            kernel(x, torch.ones((), device="cuda"))


@pytest.mark.torch
def test_a_graph_of_memory_that_is_not_aligned(torch: Any) -> None:
    kernel = te.build(SCALE, target="cuda")
    assert isinstance(kernel, GpuKernel)
    x, by = torch.arange(1001.0, device="cuda"), torch.tensor(3.0, device="cuda")
    graph = kernel.graph(x[1:], by)
    x += 1
    assert torch.equal(graph(), 3 * x[1:])


def test_more_than_48_kib_of_shared_memory() -> None:
    schedule = """
        split i by 16384
        bind io to block.x
        cache_read X at io as S in shared
        split ii by 64
        bind iii to thread.x
    """
    kernel = te.build("op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] }", schedule=schedule, target="cuda")
    x = np.arange(20_000, dtype=np.float32)
    np.testing.assert_array_equal(kernel(x), x)


def test_time_is_that_of_the_gpu() -> None:
    timing = te.build(SCALE, target="cuda").time(np.ones(1 << 20, np.float32), 2.0, repeat=3)
    assert 0 < timing.best < 1e-2


def test_an_index_that_lies_outside_is_found() -> None:
    gather = te.build("op gather(X: f32[N], I: i64[M]) -> Y: f32[M] { Y[i] = X[I[i]] }", target="cuda")
    assert gather(np.arange(3, dtype=np.float32), np.array([2, 0])).tolist() == [2, 0]
    with pytest.raises(IndexError, match="gather"):
        gather(np.arange(3, dtype=np.float32), np.array([7]))
