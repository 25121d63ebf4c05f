"""A compiled op that runs on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from te.backends.cuda.arrays import (
    ALIGNMENT,
    DeviceArray,
    current_stream,
    device_number,
    given_to,
    is_on_gpu,
    taken,
)
from te.backends.cuda.device import Device, Functions, Lane, device_numbered, stream_handle
from te.backends.cuda.driver import LEGACY_STREAM, DriverError
from te.backends.cuda.graphs import Graph
from te.backends.cuda.host import SizedLaunch, sized_launches
from te.diagnostics import counted
from te.ir.evaluate import evaluate
from te.ir.types import I64, dtype_named, numpy_name
from te.runtime.ahead import AheadPlan, Kept
from te.runtime.arguments import Parameter, Shape
from te.runtime.arrays import Array, ready
from te.runtime.gpu_code import machine_code
from te.runtime.interface import Interface
from te.runtime.kernel import PLANS_KEPT, Compilation, Kernel, Plan

if TYPE_CHECKING:
    from te.backends.cuda.artifact import CudaArtifact
    from te.runtime.generic import GenericKernel

__all__ = ["GpuKernel", "LaunchGraph", "OnStream"]

WORKSPACE_ALIGNMENT = 256  # bytes: of each buffer, as in `CudaArtifact`


@dataclass(frozen=True, slots=True)
class _Way:
    """What the host does for sizes seen before: launches, and where buffers lie in the workspace."""

    launches: tuple[SizedLaunch, ...]
    arguments: tuple[str, ...]
    offsets: Mapping[str, int]


class GpuKernel(Kernel):
    """A compiled op for a GPU. Call it as a function of its inputs, as every `te.Kernel`.

    Inputs that lie in the GPU's memory (of PyTorch, CuPy, PyCUDA, numba: all that speak DLPack or
    `__cuda_array_interface__`) are used where they lie; the call returns when its work is queued, and gives
    arrays of the first one's library. They must be in row-major order. NumPy's arrays are copied to the GPU,
    and where no input is on the GPU, results are copied back: the call then takes as long as the copies do.
    `out` may be either kind.

    Work is queued where the library of the first array on the GPU queues its own: on PyTorch's or CuPy's current
    stream, else on the default one. `on(stream)` calls the kernel on another. What an op reads at indices from data is
    checked as on the CPU: such a call waits for the GPU.

    Raises what a `te.Kernel` raises; `te.CudaUnavailable` where there is no GPU to run on, or PyCUDA is missing;
    RuntimeError, with the op and its functions, for what the GPU or its driver reports.
    """

    def __init__(self, interface: Interface, compile: Callable[[], Compilation]):
        super().__init__(interface, None, compile)
        self._functions: dict[int, Functions] = {}  # by device
        self._loading = Lock()
        self._tables: dict[int, list[DeviceArray]] = {}
        self._host: dict[tuple[int, tuple[int, ...]], _Way] = {}

    # ------------------------------------------------------------ calling it

    def __call__(self, /, *arrays: Any, out: Any = None, **named: Any) -> Any:
        return self._call_on(None, self.arrange(arrays, named), out, None)

    def on(self, stream: Any) -> OnStream:
        """The kernel, to be called on a stream: an object of PyTorch, CuPy or PyCUDA, or a driver's handle."""
        return OnStream(self, stream)

    def graph(self, /, *arrays: Any, out: Any = None, **named: Any) -> LaunchGraph:
        """All launches of a call on these arrays as one CUDA graph, which can be launched again and again.

        It reads the same memory each time, and writes the same results: copy new inputs into the arrays. Inputs must be
        on the GPU. Raises what a call raises, and ValueError for an op whose indices from data are checked.
        """
        return LaunchGraph(self, self.arrange(arrays, named), out)

    def call_on(self, stream: Any, values: tuple[object, ...], out: Any) -> Any:
        """A call on a stream: for `OnStream`."""
        return self._call_on(stream, values, out, None)

    def call_bound(self, named: Mapping[str, object], out: Any, kept: Kept) -> Any:
        return self._call_on(None, self.arrange((), named), out, kept)

    def compute_ahead(self, bound: Mapping[str, object], kept: Kept) -> None:
        """Nothing: the first call computes it, on its device."""

    def _call_on(self, stream: Any, values: tuple[object, ...], out: Any, kept: Kept | None) -> Any:
        device = self._device(values)
        first = next((value for value in values if is_on_gpu(value)), None)
        with self._reporting(device), device.active():
            lane = device.lane(current_stream(first) if stream is None else stream)
            with lane.ordered():
                inputs, plan = self._take(values, lane)
                results, copies = self._results(plan, out, lane)
                inputs = [self._readable(array, results, lane) for array in inputs]
                self._queue(lane, plan, inputs, results, kept)
            if out is not None:
                for array, result in copies:
                    self._copy_back(lane, result, array)
                return out
            if first is None:
                found = [np.empty(shape, dtype) for shape, dtype in plan.results]
                for array, result in zip(found, results, strict=True):
                    self._copy_back(lane, result, array)
                return found[0] if len(found) == 1 else tuple(found)
            given = [given_to(first, result) for result in results]
            return given[0] if len(given) == 1 else tuple(given)

    # ------------------------------------------------------------ arrays

    def _device(self, values: Sequence[object]) -> Device:
        """The GPU that the inputs are on; the first one where none is. Raises ValueError where they are on several."""
        numbers = {device_number(value) for value in values if is_on_gpu(value)}
        if len(numbers) > 1:
            listed = ", ".join(map(str, sorted(numbers)))
            raise ValueError(f"{self.name}: the inputs must be on one GPU, and they are on {listed}")
        return device_numbered(numbers.pop() if numbers else 0)

    def _take(self, values: Sequence[object], lane: Lane) -> tuple[list[DeviceArray], Plan]:
        inputs = [self._input(position, value, lane) for position, value in enumerate(values)]
        shapes = tuple([array.shape for array in inputs])
        plan = self._plans.get(shapes)
        if plan is None:
            plan = self._plan(shapes)
            if len(self._plans) >= PLANS_KEPT:
                self._plans.clear()
            self._plans[shapes] = plan
        return inputs, plan

    def _input(self, position: int, value: object, lane: Lane) -> DeviceArray:
        parameter = self._signature.inputs[position]
        if not is_on_gpu(value):
            array = self._signature.view(position, value)
            return self._copied(ready(array, parameter.array_dtype), parameter, lane)
        called = f"{self.name}: `{parameter.name}`"
        found = taken(value, called, lane.handle or LEGACY_STREAM)
        _check(found, parameter, called)
        return found

    def _copied(self, array: Array, parameter: Parameter, lane: Lane) -> DeviceArray:
        """A NumPy array in the GPU's memory."""
        made = self._allocate_on(lane, array.shape, parameter)
        if array.size:
            lane.device.driver.memcpy_htod(made.pointer, array.reshape(-1).view(np.uint8))
        return made

    def _readable(self, array: DeviceArray, results: Sequence[DeviceArray], lane: Lane) -> DeviceArray:
        """An input as functions take it: aligned, and of memory that no result shares; else a copy."""
        if array.pointer % ALIGNMENT == 0 and not any(_overlap(array, result) for result in results):
            return array
        memory = lane.allocate(array.nbytes)
        lane.device.driver.memcpy_dtod_async(int(memory), array.pointer, array.nbytes, lane.stream)
        return DeviceArray(int(memory), array.shape, array.dtype, array.device, (memory, array))

    def _results(
        self, plan: Plan, out: Any, lane: Lane
    ) -> tuple[list[DeviceArray], list[tuple[Array, DeviceArray]]]:
        """Where results are written, and the NumPy arrays of `out` that they are copied to."""
        made: list[DeviceArray] = []
        copies: list[tuple[Array, DeviceArray]] = []
        outs = [None] * len(plan.results) if out is None else self._out_arrays(plan, out)
        for position, (array, (shape, _)) in enumerate(zip(outs, plan.results, strict=True)):
            parameter = self._signature.results[position]
            if array is not None and is_on_gpu(array):
                called = f"{self.name}: out `{parameter.name}`"
                result = taken(array, called, lane.handle or LEGACY_STREAM, is_written=True)
                _check(result, parameter, called)
                if result.shape != shape:
                    raise ValueError(f"{called} must have the shape {shape}, found {result.shape}")
                if result.pointer % ALIGNMENT:
                    raise ValueError(f"{called} must lie at a multiple of {ALIGNMENT} bytes")
            else:
                result = self._allocate_on(lane, shape, parameter)
                if array is not None:
                    copies.append((self._signature.prepare_output(position, array, shape), result))
            if any(_overlap(result, earlier) for earlier in made):
                raise ValueError(f"{self.name}: two of the arrays in `out` overlap")
            made.append(result)
        return made, copies

    def _out_arrays(self, plan: Plan, out: Any) -> Sequence[Any]:
        count = len(plan.results)
        if count == 1 and not isinstance(out, tuple | list):
            return (out,)
        if not isinstance(out, tuple | list) or len(out) != count:
            what = "an array" if count == 1 else f"a tuple of {count} arrays"
            found = f"{len(out)} of them" if isinstance(out, tuple | list) else type(out).__name__
            raise TypeError(f"{self.name}: `out` must be {what}, one for each result, found {found}")
        return out

    def _allocate_on(self, lane: Lane, shape: Shape, parameter: Parameter) -> DeviceArray:
        size = prod(shape) * parameter.dtype.bytes
        memory = lane.allocate(size)
        return DeviceArray(
            int(memory), shape, parameter.dtype, lane.device.number, memory, lane.handle or LEGACY_STREAM
        )

    def _copy_back(self, lane: Lane, result: DeviceArray, array: Array) -> None:
        lane.synchronize()
        if array.size:
            lane.device.driver.memcpy_dtoh(array.reshape(-1).view(np.uint8), result.pointer)

    # ------------------------------------------------------------ launches

    def _queue(
        self,
        lane: Lane,
        plan: Plan,
        inputs: Sequence[DeviceArray],
        results: Sequence[DeviceArray],
        kept: Kept | None,
    ) -> None:
        """Queue all launches of a call; wait for them where they check something."""
        over = self._computed_ahead(lane, plan, inputs, kept)
        places = self._hidden.places()
        checks = lane.allocate(places.nbytes) if places.size else None
        if checks is not None:
            lane.device.driver.memcpy_htod(int(checks), places.view(np.uint8))
        first = 0 if checks is None else int(checks)
        hidden = [first + 8 * number for number in range(self._hidden.checks)]
        hidden += [table.pointer for table in self._device_tables(lane)]
        if places.size > self._hidden.checks:
            hidden.append(first + 8 * self._hidden.checks)
        pointers = [*(a.pointer for a in (*inputs, *results)), *hidden, *(a.pointer for a in over)]
        self._launch(lane, plan, pointers)
        if checks is not None:
            lane.synchronize()
            lane.device.driver.memcpy_dtoh(places.view(np.uint8), int(checks))
            self._hidden.raise_failures(places, plan.sizes, plan.entry)

    def _launch(
        self, lane: Lane, plan: Plan | AheadPlan, pointers: Sequence[int], sizes: Sequence[int] = ()
    ) -> None:
        values = tuple(plan.sizes) if isinstance(plan, Plan) else tuple(sizes)
        way = self._way(plan.entry, values)
        memory = lane.allocate(plan.workspace) if plan.workspace else None
        start = 0 if memory is None else int(memory)
        places = dict(zip(way.arguments, pointers, strict=True))
        places |= {name: start + offset for name, offset in way.offsets.items()}
        functions = self._loaded(lane.device)
        for ready_launch in way.launches:
            functions.launch(
                ready_launch, [places[name] for name in ready_launch.launch.buffers], lane.stream
            )

    def _way(self, entry: int, sizes: tuple[int, ...]) -> _Way:
        way = self._host.get((entry, sizes))
        if way is None:
            program = self._code.programs[entry]
            values = dict(zip(program.sizes, sizes, strict=True))
            offsets, end = {}, 0
            for part in program.workspace:
                offsets[part.name] = end
                end += -(-int(evaluate(part.bytes, values)) // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT
            names = tuple(argument.name for argument in program.arguments)
            way = _Way(tuple(sized_launches(program, sizes)), names, offsets)
            if len(self._host) >= PLANS_KEPT:
                self._host.clear()
            self._host[entry, sizes] = way
        return way

    def _computed_ahead(
        self, lane: Lane, plan: Plan, inputs: Sequence[DeviceArray], kept: Kept | None
    ) -> list[DeviceArray]:
        """What the code takes over from code that runs ahead: kept from an earlier call, or queued now."""
        arrays: list[Any] = []
        for part in plan.ahead:
            compute = partial(self._queue_ahead, lane, part, plan.sizes, inputs)
            unsaved = replace(part, digest="")  # what lies on a GPU is not written to files
            arrays += compute() if kept is None else kept.arrays((self, lane.device.number), unsaved, compute)
        return arrays

    def _queue_ahead(
        self, lane: Lane, part: AheadPlan, sizes: Sequence[int], inputs: Sequence[DeviceArray]
    ) -> list[Any]:
        arrays = []
        for shape, dtype in part.buffers:
            memory = lane.allocate(prod(shape) * dtype.itemsize)
            kind = dtype_named(dtype.name)
            assert kind is not None, "made from te's dtypes"
            arrays.append(DeviceArray(int(memory), shape, kind, lane.device.number, memory))
        tables = self._device_tables(lane)
        pointers = [a.pointer for a in (*inputs, *tables, *arrays)]
        self._launch(lane, part, pointers, sizes)
        return arrays

    def _device_tables(self, lane: Lane) -> list[DeviceArray]:
        number = lane.device.number
        tables = self._tables.get(number)
        if tables is None:
            tables = []
            for array in self._hidden.arrays:
                memory = lane.allocate(array.nbytes)
                if array.size:
                    lane.device.driver.memcpy_htod(int(memory), array.reshape(-1).view(np.uint8))
                dtype = dtype_named(array.dtype.name) or I64
                tables.append(DeviceArray(int(memory), array.shape, dtype, number, memory))
            self._tables[number] = tables
        return tables

    @property
    def _code(self) -> CudaArtifact:
        artifact: Any = self._compilation.artifact
        return artifact

    def _loaded(self, device: Device) -> Functions:
        functions = self._functions.get(device.number)
        if functions is None:
            with self._loading:
                functions = self._functions.get(device.number)
                if functions is None:
                    code = self._code
                    made = machine_code(code.text, device.architecture, code.lines)
                    functions = self._functions[device.number] = Functions(device, made.cubin)
        return functions

    @contextmanager
    def _reporting(self, device: Device) -> Iterator[None]:
        """Errors of the driver as Python's, with the op and what it launches."""
        try:
            yield
        except device.driver.MemoryError as problem:
            raise MemoryError(f"{self.name}: {device} has no memory for it: {problem}") from problem
        except (device.driver.Error, DriverError) as problem:
            launched = dict.fromkeys(x.launch.symbol for way in self._host.values() for x in way.launches)
            listed = ", ".join(f"`{symbol}`" for symbol in launched) or "nothing yet"
            raise RuntimeError(
                f"{self.name} failed on {device}: {problem} (it launches {listed}; "
                "with CUDA_LAUNCH_BLOCKING=1 in the environment the call that is to blame fails)"
            ) from problem

    # ------------------------------------------------------------ measuring it

    def _stopwatch(self, values: tuple[object, ...], kept: Kept | None) -> Callable[[], float]:
        """Events around launches measure the GPU's time, not the copies and not the host's."""
        device = self._device(values)
        with self._reporting(device), device.active():
            lane = device.lane()
            inputs, plan = self._take(values, lane)
            results, _ = self._results(plan, None, lane)
            inputs = [self._readable(array, results, lane) for array in inputs]

        def measure(times: int) -> float:
            with self._reporting(device), device.active():
                start, end = device.driver.Event(), device.driver.Event()
                start.record()
                for _ in range(times):
                    self._queue(lane, plan, inputs, results, kept)
                end.record()
                end.synchronize()
                seconds = float(end.time_since(start)) * 1e-3
                del start, end  # while the context is current
                return seconds / times

        measure(1)
        times = max(1, round(1e-3 / max(measure(1), 1e-6)))
        return lambda: measure(times)


class OnStream:
    """A kernel that is called on a stream: what `GpuKernel.on` gives.

    Its work is in order with what the stream has been given before, and will be.
    """

    def __init__(self, kernel: GpuKernel | GenericKernel, stream: Any):
        self._kernel, self._stream = kernel, stream

    def __call__(self, /, *arrays: Any, out: Any = None, **named: Any) -> Any:
        return self._kernel.call_on(self._stream, self._kernel.arrange(arrays, named), out)


class LaunchGraph:
    """A call of a kernel as a CUDA graph: what `GpuKernel.graph` gives. Each call of it runs on the same arrays."""

    def __init__(self, kernel: GpuKernel, values: tuple[object, ...], out: Any):
        wrong = [p.name for p, v in zip(kernel.inputs, values, strict=True) if not is_on_gpu(v)]
        if wrong:
            raise ValueError(f"{kernel.name}: a graph runs on arrays of a GPU, and `{wrong[0]}` is none")
        if kernel._hidden.places().size:
            raise ValueError(f"{kernel.name} checks indices at each call, which a graph cannot")
        self._kernel = kernel
        self._like = values[0] if values else None
        self._device = device = kernel._device(values)
        with kernel._reporting(device), device.active():
            lane = device.lane()
            inputs, plan = kernel._take(values, lane)
            results, copies = kernel._results(plan, out, lane)
            if copies:
                raise ValueError(f"{kernel.name}: the results of a graph lie on the GPU, and `out` does not")
            if any(_overlap(array, result) for array in inputs for result in results):
                raise ValueError(
                    f"{kernel.name}: a graph runs more than once, so `out` must not overlap an input"
                )

            def queue(lane: Lane) -> None:
                read = [kernel._readable(array, results, lane) for array in inputs]
                kernel._queue(lane, plan, read, results, None)

            queue(lane)  # loads the code, which cannot be captured
            lane.synchronize()
            self._graph = Graph(device, queue)
            self._held = (values, inputs, results)
            given = [given_to(self._like, result) for result in results]
            self._results = (given[0] if len(given) == 1 else tuple(given)) if out is None else out

    def __call__(self, stream: Any = None) -> Any:
        """Launch it, and give the results' arrays, the same each time.

        Where no stream is given, it is the one that the library of the first input queues work on.
        """
        with self._kernel._reporting(self._device), self._device.active():
            chosen = current_stream(self._like) if stream is None else stream_handle(stream)
            self._graph.launch(chosen)
        return self._results


def _check(array: DeviceArray, parameter: Parameter, called: str) -> None:
    """Raises TypeError for another dtype, ValueError for another number of axes."""
    if array.dtype != parameter.dtype:
        raise TypeError(
            f"{called} must be {parameter.dtype}, found {array.dtype}: cast it to {numpy_name(parameter.dtype)}"
        )
    if len(array.shape) != parameter.rank:
        wanted = "be a scalar" if parameter.rank == 0 else f"have {counted(parameter.rank, 'axis')}"
        raise ValueError(f"{called} must {wanted} ({parameter}), found the shape {array.shape}")


def _overlap(a: DeviceArray, b: DeviceArray) -> bool:
    return a.pointer < b.pointer + b.nbytes and b.pointer < a.pointer + a.nbytes
