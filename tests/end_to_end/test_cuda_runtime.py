"""Calls of kernels on a GPU, with a double of PyCUDA in the place of a GPU (tests/backends/fake_cuda.py)."""

from __future__ import annotations

import ctypes
import gc
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import te
from te.backends.cuda import device, driver
from te.backends.cuda.arrays import DeviceArray
from te.backends.cuda.launches import launches
from te.runtime.gpu_kernel import GpuKernel
from tests.backends.fake_cuda import CudaError, FakeCuda, OnGPU, array_at, install

Array = np.ndarray[Any, Any]

SCALE = """op scale(X: f32[N], const by: int = 2) -> Y: f32[N] {
    Y[i] = by * X[i]
}

schedule scale on cuda {
    split i by 256
    bind io to block.x
    bind ii to thread.x
}
"""


def scale(x: int, y: int, n: int) -> None:
    array_at(y, n, np.float32)[:] = 2 * array_at(x, n, np.float32)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return install(monkeypatch, FakeCuda({"te_scale": scale}))


@pytest.fixture
def kernel() -> GpuKernel:
    made = te.build(SCALE, target="cuda.sm_80")
    assert isinstance(made, GpuKernel)
    return made


def aligned(values: Any, dtype: Any = np.float32, offset: int = 0) -> Array:
    """An array at a multiple of 256 bytes, plus `offset`."""
    values = np.asarray(values, dtype)
    memory = np.zeros(values.nbytes + 512, np.uint8)
    start = -memory.ctypes.data % 256 + offset
    array = memory[start : start + values.nbytes].view(dtype).reshape(values.shape)
    array[:] = values
    return array


def names(cuda: FakeCuda) -> list[str]:
    return [str(event[0]) for event in cuda.log if event[0] != "allocate"]


# ---------------------------------------------------------------- arrays


def test_arrays_of_numpy_are_copied_there_and_back(cuda: FakeCuda, kernel: GpuKernel) -> None:
    x = np.arange(300, dtype=np.float32)
    assert np.array_equal(kernel(x), 2 * x)
    assert names(cuda) == [
        "retain primary context",
        "host to device",
        "load",
        "launch",
        "cuStreamSynchronize",
        "device to host",
    ]
    assert ("load", b"sm_90a") in cuda.log  # code of the device, whatever the target
    assert cuda.log[-3] == ("launch", "te_scale", (2, 1, 1), (256, 1, 1), 0, 0)
    assert cuda.depth == 0


def test_code_is_loaded_once(cuda: FakeCuda, kernel: GpuKernel) -> None:
    for n in (3, 5, 3):
        kernel(np.ones(n, np.float32))
    assert names(cuda).count("load") == 1


def test_arrays_of_the_gpu_stay_where_they_are(cuda: FakeCuda, kernel: GpuKernel) -> None:
    x = aligned(np.arange(10))
    result = kernel(OnGPU(x))
    assert isinstance(result, DeviceArray)
    assert names(cuda) == ["retain primary context", "load", "launch"]
    assert np.array_equal(result.numpy(), 2 * x)
    interface = result.__cuda_array_interface__
    assert (interface["shape"], interface["typestr"], interface["stream"]) == ((10,), "<f4", 1)
    assert result.__dlpack_device__() == (2, 0)


def test_out_on_the_gpu_is_written(cuda: FakeCuda, kernel: GpuKernel) -> None:
    x, y = OnGPU(aligned(np.arange(10))), OnGPU(aligned(np.zeros(10)))
    assert kernel(x, out=y) is y
    assert np.array_equal(y.array, 2 * x.array)


def test_out_of_numpy_is_written(cuda: FakeCuda, kernel: GpuKernel) -> None:
    y = np.empty(10, np.float32)
    assert kernel(OnGPU(aligned(np.arange(10))), out=y) is y
    assert np.array_equal(y, 2 * np.arange(10))


def test_an_input_that_overlaps_out_is_copied(cuda: FakeCuda, kernel: GpuKernel) -> None:
    x = OnGPU(aligned(np.arange(10)))
    kernel(x, out=x)
    assert np.array_equal(x.array, 2 * np.arange(10))
    assert "device to device" in names(cuda)


def test_a_pointer_that_is_not_aligned_is_copied(cuda: FakeCuda, kernel: GpuKernel) -> None:
    x = aligned(np.arange(10), offset=4)
    assert np.array_equal(kernel(OnGPU(x)).numpy(), 2 * x)
    assert names(cuda)[1:] == ["device to device", "load", "launch", "device to host"]


def test_memory_serves_again_when_it_is_free(cuda: FakeCuda, kernel: GpuKernel) -> None:
    x = OnGPU(aligned(np.arange(1000)))
    first = kernel(x)
    second = kernel(x)
    assert isinstance(first, DeviceArray)
    place = first.pointer
    assert place != second.pointer
    del first
    assert kernel(x).pointer == place
    assert [e[1] for e in cuda.log if e[0] == "allocate"] == [4096, 4096]


def test_free_memory_is_given_back_where_more_is_needed(cuda: FakeCuda, kernel: GpuKernel) -> None:
    cuda.memory = 10_000
    kernel(OnGPU(aligned(np.arange(1000))))
    kernel(OnGPU(aligned(np.arange(2000))))
    assert ("free", 4096) in cuda.log


def test_memory_is_freed_in_any_thread(cuda: FakeCuda, kernel: GpuKernel) -> None:
    results = [kernel(OnGPU(aligned(np.arange(10))))]
    with ThreadPoolExecutor(1) as other:
        other.submit(results.clear).result()
    kernel(OnGPU(aligned(np.arange(10))))
    assert len([e for e in cuda.log if e[0] == "allocate"]) == 1


def test_sizes_of_zero_launch_nothing(cuda: FakeCuda, kernel: GpuKernel) -> None:
    assert kernel(np.empty(0, np.float32)).shape == (0,)
    assert "launch" not in names(cuda)


def test_a_pycuda_array_gives_one(cuda: FakeCuda, kernel: GpuKernel) -> None:
    class GPUArray(OnGPU):
        def __init__(self, shape: Any, dtype: Any, base: Any = None, gpudata: int = 0):
            super().__init__(array_at(gpudata, shape, dtype))
            self.base = base

    GPUArray.__module__ = "pycuda.gpuarray"
    x = aligned(np.arange(10))
    result = kernel(GPUArray((10,), np.float32, gpudata=x.ctypes.data))
    assert type(result) is GPUArray
    assert np.array_equal(result.array, 2 * x)
    assert isinstance(result.base, DeviceArray)  # which keeps the memory


# ---------------------------------------------------------------- what is refused


def test_wrong_arrays_are_refused(cuda: FakeCuda, kernel: GpuKernel) -> None:
    with pytest.raises(TypeError, match=r"scale: `X` must be f32, found f64: cast it to np.float32"):
        kernel(OnGPU(np.zeros(3)))
    with pytest.raises(
        ValueError, match=r"scale: `X` must have 1 axis \(X: f32\[N\]\), found the shape \(3, 2\)"
    ):
        kernel(OnGPU(aligned(np.zeros((3, 2)))))
    with pytest.raises(
        ValueError, match=r"`X` must be in row-major order in the GPU's memory, and its strides are"
    ):
        kernel(OnGPU(aligned(np.zeros(6))[::2]))
    with pytest.raises(TypeError, match="te does not have"):
        kernel(OnGPU(np.zeros(3, np.complex64)))
    with pytest.raises(ValueError, match=r"out `Y` must have the shape \(3,\), found \(4,\)"):
        kernel(OnGPU(aligned(np.zeros(3))), out=OnGPU(aligned(np.zeros(4))))
    assert cuda.depth == 0


def test_inputs_on_several_gpus_are_refused(cuda: FakeCuda) -> None:
    class There(OnGPU):
        class device:
            id = 1

    kernel = te.build("op f(X: f32[N], Y: f32[N]) -> Z: f32[N] { Z[i] = X[i] + Y[i] }", target="cuda.sm_80")
    with pytest.raises(ValueError, match="f: the inputs must be on one GPU, and they are on 0, 1"):
        kernel(OnGPU(np.zeros(3, np.float32)), There(np.zeros(3, np.float32)))


def test_errors_of_the_driver_name_op_and_function(cuda: FakeCuda, kernel: GpuKernel) -> None:
    cuda.failure = CudaError("cuLaunchKernel failed: an illegal memory access was encountered")
    with pytest.raises(
        RuntimeError, match=r"scale failed on GPU 0 \(Fake GPU\): .* \(it launches `te_scale`;"
    ):
        kernel(np.zeros(3, np.float32))
    assert cuda.depth == 0


def test_too_little_memory_is_a_memory_error(cuda: FakeCuda, kernel: GpuKernel) -> None:
    cuda.memory = 1000
    with pytest.raises(MemoryError, match=r"scale: GPU 0 \(Fake GPU\) has no memory for it"):
        kernel(np.zeros(1000, np.float32))


# ---------------------------------------------------------------- without a GPU


def test_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(te.CudaUnavailable, match="there is no NVIDIA driver on this machine: libcuda"):
        driver.driver()
    assert driver.why_unavailable() is not None


def test_without_pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    monkeypatch.setattr(driver.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(te.CudaUnavailable, match=r"PyCUDA is not installed: docs/cuda\.md"):
        driver.driver()


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (
            ImportError("_driver.so: undefined symbol"),
            "PyCUDA cannot be loaded: _driver.so: undefined symbol",
        ),
        (
            CudaError("cuInit failed: no device"),
            "the NVIDIA driver cannot be initialised: cuInit failed: no device",
        ),
        (None, "the NVIDIA driver finds no GPU"),
    ],
)
def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, problem: Exception | None, reason: str) -> None:
    class Driver:
        Error = CudaError

        class Device:
            count = staticmethod(lambda: 0)

        @staticmethod
        def init() -> None:
            if problem is not None:
                raise problem

    def load(name: str) -> Any:
        if isinstance(problem, ImportError):
            raise problem
        return Driver

    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    monkeypatch.setattr(driver.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(driver.importlib, "import_module", load)
    with pytest.raises(te.CudaUnavailable, match=reason):
        driver.driver()


def test_a_kernel_is_built_without_a_gpu_and_says_why_it_cannot_run(
    monkeypatch: pytest.MonkeyPatch, kernel: GpuKernel
) -> None:
    def unavailable() -> Any:
        raise te.CudaUnavailable("there is no NVIDIA driver on this machine")

    device.device_numbered.cache_clear()
    monkeypatch.setattr(device, "driver", unavailable)
    assert "__global__" in kernel.ir("cuda")
    with pytest.raises(te.CudaUnavailable, match="there is no NVIDIA driver"):
        kernel(np.zeros(3, np.float32))


# ---------------------------------------------------------------- streams, graphs, time


def test_another_librarys_stream_is_waited_for_and_waits(cuda: FakeCuda, kernel: GpuKernel) -> None:
    class Torchs:
        cuda_stream = 7

    x = OnGPU(aligned(np.arange(10)))
    result = kernel.on(Torchs())(x)
    events = cuda.log[cuda.log.index(next(e for e in cuda.log if e[0] == "cuEventCreate")) :]
    before, after = (e[1] for e in events if e[0] == "cuEventCreate")
    own = next(e[-1] for e in events if e[0] == "launch")
    assert own not in (0, 7)
    assert [e for e in events if e[0] not in ("load", "allocate")] == [
        ("cuEventCreate", before),
        ("cuEventRecord", before, 7),
        ("cuStreamWaitEvent", own, before),
        ("cuEventDestroy_v2", before),
        ("launch", "te_scale", (1, 1, 1), (256, 1, 1), 0, own),
        ("cuEventCreate", after),
        ("cuEventRecord", after, own),
        ("cuStreamWaitEvent", 7, after),
        ("cuEventDestroy_v2", after),
    ]
    assert np.array_equal(result.numpy(), 2 * x.array)


def test_what_another_stream_makes_is_waited_for(cuda: FakeCuda, kernel: GpuKernel) -> None:
    class Queued(OnGPU):
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            return {**super().__cuda_array_interface__, "stream": 9}

    kernel(Queued(aligned(np.arange(10))))
    waits = [e for e in cuda.log if e[0] in ("cuEventRecord", "cuStreamWaitEvent")]
    assert [(e[0], e[-1] if e[0] == "cuEventRecord" else e[1]) for e in waits] == [
        ("cuEventRecord", 9),
        ("cuStreamWaitEvent", 1),
    ]


def test_a_stream_of_pycuda_is_used_itself(cuda: FakeCuda, kernel: GpuKernel) -> None:
    cuda.depth = 1
    stream = cuda.Stream()
    cuda.depth = 0
    kernel.on(stream)(OnGPU(aligned(np.arange(10))))
    assert cuda.log[-1][-1] == stream.handle
    assert "cuEventCreate" not in names(cuda)


def test_what_is_no_stream_is_refused(cuda: FakeCuda, kernel: GpuKernel) -> None:
    with pytest.raises(
        TypeError, match="a stream of PyTorch, CuPy or PyCUDA, or its handle, is wanted, found str"
    ):
        kernel.on("fast")(np.zeros(3, np.float32))


def test_a_graph_is_recorded_once_and_launched_again(cuda: FakeCuda, kernel: GpuKernel) -> None:
    x = OnGPU(aligned(np.arange(10)))
    graph = kernel.graph(x)
    assert names(cuda)[-6:] == [
        "cuStreamSynchronize",
        "cuStreamBeginCapture_v2",
        "launch",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphDestroy",
    ]
    executable = next(e[1] for e in cuda.log if e[0] == "cuGraphInstantiateWithFlags")
    first = graph()
    assert graph(7) is first
    assert cuda.log[-2:] == [("cuGraphLaunch", executable, 0), ("cuGraphLaunch", executable, 7)]
    del graph
    assert cuda.log[-1] == ("cuGraphExecDestroy", executable)


def test_what_is_left_when_python_ends_goes_while_the_context_is_current(
    cuda: FakeCuda, kernel: GpuKernel
) -> None:
    result = kernel(OnGPU(aligned(np.arange(10))))
    graph = kernel.graph(OnGPU(aligned(np.arange(10))))
    device.device_numbered(0)._close()
    assert cuda.log[-1] == ("release primary context",)
    del graph, result  # without a word
    with pytest.raises(RuntimeError, match="Python ends"):
        kernel(np.zeros(3, np.float32))


def test_code_of_kernels_that_are_gone_is_unloaded(cuda: FakeCuda) -> None:
    for _ in range(3):
        te.build(SCALE, target="cuda.sm_80")(np.zeros(3, np.float32))
        gc.collect()
    assert len(device.device_numbered(0)._modules) == 1


def test_a_graph_of_arrays_of_numpy_is_refused(cuda: FakeCuda, kernel: GpuKernel) -> None:
    with pytest.raises(ValueError, match="scale: a graph runs on arrays of a GPU, and `X` is none"):
        kernel.graph(np.zeros(3, np.float32))


def test_time_is_that_of_events(cuda: FakeCuda, kernel: GpuKernel) -> None:
    timing = kernel.time(np.zeros(3, np.float32), repeat=3)
    assert timing.seconds == (2e-3, 2e-3, 2e-3)


def test_what_is_copied_comes_after_what_the_stream_was_given(cuda: FakeCuda) -> None:
    """Memory serves again on a stream that may still read it."""
    kernel = te.build("op f(X: f32[N], a: f32) -> Y: f32[N] { Y[i] = a * X[i] }", target="cuda.sm_80")
    cuda.functions = {"te_f": lambda *arguments: None}
    kernel.on(7)(OnGPU(aligned(np.arange(10))), 2.0)
    assert names(cuda).index("cuStreamWaitEvent") < names(cuda).index("host to device")


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A double of PyTorch, whose current stream is `torch.handle`."""

    class Stream:
        cuda_stream = 0

    class Cuda:
        current = Stream()

        def current_stream(self, device: object) -> Stream:
            return self.current

    module = types.ModuleType("torch")
    vars(module)["cuda"] = Cuda()
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


class Tensor(OnGPU):
    device = "cuda:0"


Tensor.__module__ = "torch"


def test_work_is_queued_on_the_current_stream_of_the_arrays_library(
    cuda: FakeCuda, kernel: GpuKernel, torch: Any
) -> None:
    x = Tensor(aligned(np.arange(10)))
    kernel(x)
    assert cuda.log[-1][0] == "launch"
    assert cuda.log[-1][-1] == 0  # the default stream
    torch.cuda.current.cuda_stream = 7
    kernel(x)
    assert [e[1] for e in cuda.log if e[0] == "cuStreamWaitEvent"][-1] == 7  # waits for the result
    graph = kernel.graph(x)
    graph()
    assert cuda.log[-1][0] == "cuGraphLaunch"
    assert cuda.log[-1][-1] == 7


def test_a_graph_of_another_library_does_not_record_a_kernel(
    cuda: FakeCuda, kernel: GpuKernel, torch: Any
) -> None:
    torch.cuda.current.cuda_stream = 7
    cuda.capturing.add(7)
    with pytest.raises(ValueError, match="another library's graph cannot record a kernel of te"):
        kernel(Tensor(aligned(np.arange(10))))


def test_a_stream_that_the_default_one_does_not_wait_for_has_one_of_te_beside_it(
    cuda: FakeCuda, kernel: GpuKernel
) -> None:
    cuda.depth = 1
    stream = cuda.Stream(1)
    cuda.depth = 0
    kernel.on(stream)(np.zeros(3, np.float32))
    launched = next(e[-1] for e in cuda.log if e[0] == "launch")
    assert launched not in (0, stream.handle)
    assert launched not in cuda.non_blocking


def test_who_reads_a_result_on_another_stream_waits(cuda: FakeCuda, kernel: GpuKernel) -> None:
    def waits() -> list[int]:
        return [e[1] for e in cuda.log if e[0] == "cuStreamWaitEvent"]

    result = kernel(OnGPU(aligned(np.arange(10))))
    for stream in (None, -1, 1):
        result.__dlpack__(stream=stream)
    assert waits() == []
    result.__dlpack__(stream=9)
    assert waits() == [9]
    on_another = kernel.on(7)(OnGPU(aligned(np.arange(10))))
    assert on_another.__cuda_array_interface__["stream"] == on_another.stream != 7
    before = len(waits())
    kernel.on(8)(on_another)
    own = next(e[-1] for e in reversed(cuda.log) if e[0] == "launch")
    assert waits()[before:] == [
        own,
        own,
        8,
    ]  # te's for the caller's and for the array's, the caller's for te's


def test_memory_of_a_gpu_is_not_copied_for_dlpack(cuda: FakeCuda, kernel: GpuKernel) -> None:
    result = kernel(OnGPU(aligned(np.arange(10))))
    result.__dlpack__(max_version=(1, 0), dl_device=(2, 0), copy=False)
    for wanted in ({"copy": True}, {"dl_device": (1, 0)}):
        with pytest.raises(BufferError, match="shared as it is"):
            result.__dlpack__(**wanted)


def test_a_stream_of_numba_is_a_ctypes_number() -> None:
    class Stream:
        def __init__(self, handle: int):
            self.handle = ctypes.c_void_p(handle)

    assert device.stream_handle(Stream(7)) == 7
    assert device.stream_handle(Stream(0)) == 0


# ---------------------------------------------------------------- what graphs hold


def test_a_graph_keeps_its_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = install(monkeypatch, FakeCuda(dict.fromkeys(("te_chain", "te_chain_2"), lambda *arguments: None)))
    kernel = te.build(CHAIN, target="cuda.sm_80")
    x, w = OnGPU(aligned(np.arange(1000))), OnGPU(aligned(np.ones(1000)))
    graph = kernel.graph(x, w)
    cuda.memory = 100
    with pytest.raises(MemoryError):
        kernel(OnGPU(aligned(np.arange(9000))), OnGPU(aligned(np.ones(9000))))
    kept = [memory for memory in device.device_numbered(0).memories if memory._keeps]
    assert [list(memory._owned) for memory in kept] == [[*kept[0]._free[4096]]]
    del graph
    assert not any(memory._keeps for memory in device.device_numbered(0).memories)


def test_a_graph_copies_what_is_not_aligned_each_time(cuda: FakeCuda, kernel: GpuKernel) -> None:
    kernel.graph(OnGPU(aligned(np.arange(10), offset=4)))
    recorded = names(cuda)[names(cuda).index("cuStreamBeginCapture_v2") :]
    assert recorded[:3] == ["cuStreamBeginCapture_v2", "device to device", "launch"]


def test_a_graph_does_not_write_what_it_reads(cuda: FakeCuda, kernel: GpuKernel) -> None:
    x = OnGPU(aligned(np.arange(10)))
    with pytest.raises(ValueError, match="scale: a graph runs more than once, so `out` must not overlap"):
        kernel.graph(x, out=x)
    assert np.array_equal(x.array, np.arange(10))


def test_a_graph_of_an_op_without_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCuda({"te_ones": lambda *arguments: None}))
    kernel = te.build("op ones(const n: int = 4) -> Y: f32[n] { Y[i] = 1.0 }", target="cuda.sm_80")
    assert kernel.graph()().shape == (4,)


def test_a_capture_that_fails_leaves_nothing(cuda: FakeCuda, kernel: GpuKernel) -> None:
    x = OnGPU(aligned(np.arange(10)))
    kernel(x)
    launched = len([e for e in cuda.log if e[0] == "launch"])

    def fails(*arguments: int) -> None:
        if len([e for e in cuda.log if e[0] == "launch"]) > launched + 1:
            raise CudaError("cuLaunchKernel failed: operation failed due to a previous error during capture")

    cuda.functions = {"te_scale": fails}
    memories = len(device.device_numbered(0).memories)
    with pytest.raises(RuntimeError, match="a previous error during capture"):
        kernel.graph(x)
    assert names(cuda)[-2:] == ["cuStreamEndCapture", "cuGraphDestroy"]
    assert len(device.device_numbered(0).memories) == memories


# ---------------------------------------------------------------- what a GPU does not have


def test_code_that_the_driver_does_not_know(cuda: FakeCuda, kernel: GpuKernel) -> None:
    cuda.refused = CudaError("cuModuleLoadDataEx failed: device kernel image is invalid")
    with pytest.raises(
        RuntimeError, match=r"image is invalid: .* made the code, and the driver is of CUDA 12\.4;"
    ):
        kernel(np.zeros(3, np.float32))


def test_more_shared_memory_than_a_block_has(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] }"
    lines = """
        split i by 16384
        bind io to block.x
        cache_read X at io as S in shared
        split ii by 64
        bind iii to thread.x
    """
    kernel = te.build(text, schedule=lines, target="cuda.sm_80")
    cuda = install(monkeypatch, FakeCuda({"te_f": lambda *arguments: None}, most_shared=48 << 10))
    with pytest.raises(
        RuntimeError, match=r"`te_f` takes 64 KiB of shared memory, and a block has at most 48 KiB"
    ):
        kernel(np.zeros(20000, np.float32))
    cuda.log.clear()
    cuda = install(monkeypatch, FakeCuda({"te_f": lambda *arguments: None}))
    te.build(text, schedule=lines, target="cuda.sm_80")(np.zeros(20000, np.float32))
    assert ("attribute", "te_f", "shared", 65536) in cuda.log


def test_memory_of_a_context_of_its_own_is_refused(cuda: FakeCuda, kernel: GpuKernel) -> None:
    x = OnGPU(aligned(np.arange(10)))
    cuda.contexts[x.array.ctypes.data] = 51
    with pytest.raises(TypeError, match=r"`X` cannot be shared: it lies in another context .*autoprimaryctx"):
        kernel(x)
    cuda.contexts[x.array.ctypes.data] = 0  # of a pool
    kernel(x)


def test_out_that_is_read_only_is_refused(cuda: FakeCuda, kernel: GpuKernel) -> None:
    class ReadOnly(OnGPU):
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            return {**super().__cuda_array_interface__, "data": (self.array.ctypes.data, True)}

    x = ReadOnly(aligned(np.arange(10)))
    kernel(x)
    with pytest.raises(ValueError, match="scale: out `Y` is read-only"):
        kernel(OnGPU(aligned(np.arange(10))), out=x)


# ---------------------------------------------------------------- several launches, checks, tables

CHAIN = """op chain(X: f32[N], w: f32[N]) -> Z: f32[N] {
    Y[i] = X[i] + 1
    Z[i] = Y[i] * w[i]
}

schedule chain on cuda {
    split Y.i by 256
    bind Y.io to block.x
    bind Y.ii to thread.x
    split Z.i by 256
    bind Z.io to block.x
    bind Z.ii to thread.x
}
"""


def test_workspace_is_handed_from_launch_to_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(x: int, y: int, n: int) -> None:
        array_at(y, n, np.float32)[:] = array_at(x, n, np.float32) + 1

    def second(w: int, z: int, y: int, n: int) -> None:
        array_at(z, n, np.float32)[:] = array_at(y, n, np.float32) * array_at(w, n, np.float32)

    cuda = install(monkeypatch, FakeCuda({"te_chain": first, "te_chain_2": second}))
    kernel = te.build(CHAIN, target="cuda.sm_80")
    assert isinstance(kernel, GpuKernel)
    x, w = aligned(np.arange(300)), aligned(np.full(300, 3))
    assert np.array_equal(kernel(x, w), 3 * (x + 1))
    assert [e[1:3] for e in cuda.log if e[0] == "launch"] == [
        ("te_chain", (2, 1, 1)),
        ("te_chain_2", (2, 1, 1)),
    ]
    graph = kernel.graph(OnGPU(x), OnGPU(w))
    x[:] = 5
    w[:] = 1
    assert [e[1] for e in cuda.log if e[0] == "launch"] == 3 * [
        "te_chain",
        "te_chain_2",
    ]  # also while recording
    assert graph().shape == (300,)


def programs_of(kernel: Any) -> Any:
    return kernel._compilation.artifact.programs


GATHER = "op gather(X: f32[N], I: i64[M]) -> Y: f32[M] { Y[i] = X[I[i]] }\n"


def test_indices_from_data_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = te.build(GATHER, schedule="none", target="cuda.sm_80")
    [program] = programs_of(kernel)
    [launch] = launches(program.host)

    def gather(*arguments: int) -> None:
        given = dict(zip((*launch.buffers, *launch.scalars), arguments, strict=True))
        check = next(a.name for a in program.arguments if a.name not in ("X", "I", "Y"))
        array_at(given[check], 1, np.int64)[:] = 0  # the first index lies outside

    cuda = install(monkeypatch, FakeCuda({launch.symbol: gather}))
    with pytest.raises(IndexError, match="gather"):
        kernel(np.zeros(3, np.float32), np.array([7], np.int64))
    assert cuda.log[-1][0] == "device to host"
    with pytest.raises(ValueError, match="gather checks indices at each call, which a graph cannot"):
        kernel.graph(OnGPU(aligned(np.zeros(3))), OnGPU(aligned([7], np.int64)))


def test_a_bound_kernel_runs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "op f(X: f32[N], param w: f32[N]) -> Y: f32[N] { Y[i] = X[i] * w[i] }"
    kernel = te.build(text, schedule="none", target="cuda.sm_80")
    [launch] = launches(programs_of(kernel)[0].host)

    def multiply(*arguments: int) -> None:
        given = dict(zip((*launch.buffers, *launch.scalars), arguments, strict=True))
        x, w, y = (array_at(given[name], given["N"], np.float32) for name in ("X", "w", "Y"))
        y[:] = x * w

    install(monkeypatch, FakeCuda({launch.symbol: multiply}))
    bound = kernel.bind(w=np.full(4, 3, np.float32))
    assert np.array_equal(bound(np.arange(4, dtype=np.float32)), 3 * np.arange(4))
    assert bound.time(np.ones(4, np.float32), repeat=1).seconds == (2e-3,)


def test_a_generic_kernel_takes_arrays_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(x: int, y: int, n: int) -> None:
        array_at(y, n, np.float64)[:] = 2 * array_at(x, n, np.float64)

    kernel = te.build(
        "op twice<T: float>(X: T[N]) -> Y: T[N] { Y[i] = X[i] + X[i] }", schedule="none", target="cuda.sm_80"
    )
    install(monkeypatch, FakeCuda({"te_twice": twice}))
    x = aligned(np.arange(4), np.float64)
    assert np.array_equal(kernel(OnGPU(x)).numpy(), 2 * x)
    assert isinstance(kernel, te.GenericKernel)
    assert np.array_equal(kernel.on(7)(OnGPU(x)).numpy(), 2 * x)
    assert kernel.graph(OnGPU(x))().shape == (4,)
    assert kernel.stopwatch(OnGPU(x))() == 2e-3


def test_a_generic_kernel_of_the_cpu_has_no_streams() -> None:
    kernel = te.build("op twice<T: float>(X: T[N]) -> Y: T[N] { Y[i] = X[i] + X[i] }")
    assert isinstance(kernel, te.GenericKernel)
    with pytest.raises(ValueError, match="twice was not built for a GPU"):
        kernel.on(7)(np.zeros(3))
