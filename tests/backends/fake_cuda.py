"""A double of what te uses of PyCUDA and of the driver's library: it keeps arrays in the CPU's memory, takes note of
all calls, and runs functions of Python in the place of those of a GPU.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest

from te.backends.cuda import arrays, device, graphs
from te.backends.cuda.compile import Compiled
from te.backends.cuda.driver import DriverCalls
from te.runtime import gpu_kernel

PRIMARY = 50  # the context
Event = tuple[Any, ...]
Function = Callable[..., None]  # of the pointers and scalars of a launch


class CudaError(Exception):
    pass


class CudaMemoryError(CudaError):
    pass


class Allocation:
    """Memory at a multiple of 256 bytes."""

    def __init__(self, fake: FakeCuda, bytes: int):
        self._fake, self._bytes = fake, bytes
        self._memory = np.full(bytes + 256, 0xAB, np.uint8)
        self._start = -(-self._memory.ctypes.data // 256) * 256

    def __int__(self) -> int:
        return self._start

    def free(self) -> None:
        self._fake.note("free", self._bytes)
        self._fake.memory += self._bytes


@dataclass
class FakeCuda:
    """The module `pycuda.driver`, and the driver's library (`library`)."""

    functions: Mapping[str, Function]
    count: int = 1
    capability: tuple[int, int] = (9, 0)
    memory: int = 1 << 30
    log: list[Event] = field(default_factory=list)
    depth: int = 0  # contexts that are current
    failure: CudaError | None = None  # of the next launch
    refused: CudaError | None = None  # of the next module
    most_shared: int = 227 << 10  # bytes of a block
    non_blocking: set[int] = field(default_factory=set)  # streams
    capturing: set[int] = field(default_factory=set)  # streams
    contexts: dict[int, int] = field(default_factory=dict)  # of memory, by address; else the primary one
    handles: int = 100

    Error = CudaError
    MemoryError = CudaMemoryError

    def __post_init__(self) -> None:
        fake = self

        class Device:
            count = staticmethod(lambda: fake.count)

            def __init__(self, number: int):
                self.number = number

            def name(self) -> str:
                return "Fake GPU"

            def compute_capability(self) -> tuple[int, int]:
                return fake.capability

            def get_attribute(self, name: str) -> int:
                assert name == "most shared"
                return fake.most_shared

            def retain_primary_context(self) -> Any:
                fake.log.append(("retain primary context", self.number))
                return Context()

        class Context:
            def push(self) -> None:
                fake.depth += 1

            @staticmethod
            def pop() -> None:
                fake.depth -= 1

            def detach(self) -> None:
                fake.log.append(("release primary context",))

            @staticmethod
            def synchronize() -> None:
                fake.note("synchronize", 0)

        class Stream:
            def __init__(self, flags: int = 0):
                assert fake.depth
                self.handle = fake.handle()
                if flags & 1:
                    fake.non_blocking.add(self.handle)

            def synchronize(self) -> None:
                fake.note("synchronize", self.handle)

        class Event:
            def record(self, stream: Any = None) -> None:
                fake.note("record")

            def synchronize(self) -> None:
                fake.note("synchronize event")

            def time_since(self, other: Any) -> float:
                return 2.0

        class function_attribute:
            MAX_DYNAMIC_SHARED_SIZE_BYTES = "shared"

        class device_attribute:
            MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = "most shared"

        self.Device, self.Context, self.Stream, self.Event = Device, Context, Stream, Event
        self.function_attribute, self.device_attribute = function_attribute, device_attribute

    def note(self, *event: Any) -> None:
        assert self.depth, "a context must be current"
        self.log.append(event)

    def handle(self) -> int:
        self.handles += 1
        return self.handles

    # ------------------------------------------------------------ PyCUDA's functions

    def mem_alloc(self, bytes: int) -> Allocation:
        self.note("allocate", bytes)
        if bytes > self.memory:
            raise CudaMemoryError("cuMemAlloc failed: out of memory")
        self.memory -= bytes
        return Allocation(self, bytes)

    def memcpy_htod(self, to: int, array: np.ndarray[Any, Any]) -> None:
        self.note("host to device", array.nbytes)
        ctypes.memmove(to, array.ctypes.data, array.nbytes)

    def memcpy_dtoh(self, array: np.ndarray[Any, Any], source: int) -> None:
        self.note("device to host", array.nbytes)
        ctypes.memmove(array.ctypes.data, source, array.nbytes)

    def memcpy_dtod_async(self, to: int, source: int, bytes: int, stream: Any) -> None:
        self.note("device to device", bytes)
        ctypes.memmove(to, source, bytes)

    def get_driver_version(self) -> int:
        return 12040

    def module_from_buffer(self, cubin: bytes) -> Any:
        self.note("load", cubin)
        if self.refused is not None:
            raise self.refused
        return Module(self)

    # ------------------------------------------------------------ the driver's library

    @property
    def library(self) -> Any:
        return Library(self)


class Module:
    def __init__(self, fake: FakeCuda):
        self._fake = fake

    def get_function(self, symbol: str) -> KernelFunction:
        return KernelFunction(self._fake, symbol)


class KernelFunction:
    def __init__(self, fake: FakeCuda, symbol: str):
        self._fake, self._symbol = fake, symbol

    def set_attribute(self, name: str, value: int) -> None:
        self._fake.note("attribute", self._symbol, name, value)

    def _launch_kernel(self, grid: Any, block: Any, words: bytes, shared: int, stream: Any) -> None:
        arguments = [word for (word,) in struct.iter_unpack("q", words)]
        handle = 0 if stream is None else stream.handle
        self._fake.note("launch", self._symbol, grid, block, shared, handle)
        if self._fake.failure is not None:
            raise self._fake.failure
        self._fake.functions[self._symbol](*arguments)


class Library:
    """The driver's functions: each takes note of its name and of the handles that it is given."""

    def __init__(self, fake: FakeCuda):
        self._fake = fake

    # ------------------------------------------------------------ what only asks, and is not noted

    def cuStreamGetFlags(self, stream: Any, flags: Any) -> int:
        flags._obj.value = int(stream.value in self._fake.non_blocking)
        return 0

    def cuStreamIsCapturing(self, stream: Any, status: Any) -> int:
        status._obj.value = int(stream.value in self._fake.capturing)
        return 0

    def cuCtxGetCurrent(self, context: Any) -> int:
        context._obj.value = PRIMARY
        return 0

    def cuPointerGetAttribute(self, context: Any, which: Any, pointer: Any) -> int:
        context._obj.value = self._fake.contexts.get(pointer.value, PRIMARY)
        return 0

    # ------------------------------------------------------------ what does something

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            handles = []
            for argument in arguments:
                if hasattr(argument, "_obj"):  # `byref`: a result
                    argument._obj.value = self._fake.handle()
                    handles.append(argument._obj.value)
                elif isinstance(argument, ctypes.c_void_p):
                    handles.append(argument.value or 0)
            self._fake.note(name, *handles)
            return 0

        return call


def install(monkeypatch: pytest.MonkeyPatch, fake: FakeCuda) -> FakeCuda:
    """Let te find the double in the place of PyCUDA, of the driver and of the compiler."""
    calls = DriverCalls(fake.library)
    numbered = cache(device.Device)
    monkeypatch.setattr(arrays, "driver_calls", lambda: calls)
    for module in (device, gpu_kernel):
        monkeypatch.setattr(module, "device_numbered", numbered)
    monkeypatch.setattr(device, "driver", lambda: fake)
    monkeypatch.setattr(device, "driver_calls", lambda: calls)
    monkeypatch.setattr(graphs, "driver_calls", lambda: calls)
    monkeypatch.setattr(gpu_kernel, "machine_code", lambda text, sm, lines: Compiled(sm.encode(), "", ""))
    return fake


def array_at(pointer: int, shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """The memory at a pointer as an array."""
    array = np.empty(shape, dtype)
    memory = (ctypes.c_uint8 * array.nbytes).from_address(pointer)
    return np.frombuffer(memory, dtype).reshape(shape)


class OnGPU:
    """An array of a library that knows DLPack or the interface of CUDA: it only says that it is on the GPU."""

    def __init__(self, array: np.ndarray[Any, Any], device: int = 0):
        self.array = array
        self._device = device

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.array.__array_interface__, "data": (self.array.ctypes.data, False), "version": 3}

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def __repr__(self) -> str:
        return f"OnGPU({self.array})"
