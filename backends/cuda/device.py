"""A GPU: its primary context, which all libraries of a process share, its memory, and the streams that te uses.

Work is queued on a `Lane`. The usual one is the default stream, which PyTorch, CuPy and PyCUDA use too if they are
told nothing else: what they queue before and after is in order with te's. PyCUDA cannot launch on a stream that
another library made, and arrays are copied on the default stream, which does not wait for all. So for a stream of
another library, and for one that the default stream does not wait for, there is a lane with a stream of its own, which
waits for the caller's by an event before, and for which the caller's waits after.
"""

from __future__ import annotations

import atexit
import struct
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

from te.backends.cuda.compile import compiler_version
from te.backends.cuda.driver import DriverError, driver, driver_calls
from te.backends.cuda.host import SizedLaunch
from te.backends.cuda.launches import Launch

__all__ = ["Block", "Device", "Functions", "Lane", "Memory", "device_numbered", "stream_handle"]

STATIC_SHARED = 48 << 10  # more dynamic shared memory than this must be asked for


@dataclass(frozen=True, slots=True)
class _Module:
    """Machine code that is loaded, and its functions by name and shared memory, which keep it loaded."""

    module: Any
    functions: dict[tuple[str, int], Any]


class Device:
    """The GPU of that number. Raises CudaUnavailable where there is none to use, ValueError where it is not there."""

    def __init__(self, number: int):
        self.driver = driver()
        there_are = self.driver.Device.count()
        if number >= there_are:
            raise ValueError(f"there is no GPU {number}: this machine has {there_are}")
        self.number = number
        device = self.driver.Device(number)
        self.name = str(device.name())
        major, minor = device.compute_capability()
        self.sm = 10 * major + minor
        most_shared = self.driver.device_attribute.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        self._most_shared = int(device.get_attribute(most_shared))
        self._context = device.retain_primary_context()
        self._lanes: dict[int, Lane] = {}
        self._is_open = True
        self._modules: dict[int, _Module] = {}
        self._numbers = count()
        self._retired: list[int] = []  # modules that nobody uses any more
        self.memories: list[Memory] = []
        atexit.register(self._close)

    @property
    def architecture(self) -> str:
        """What machine code is made for: of Hopper and later with the instructions that only it has."""
        return f"sm_{self.sm}a" if self.sm >= 90 else f"sm_{self.sm}"

    @contextmanager
    def active(self) -> Iterator[None]:
        """The device's context is current in this thread. Raises RuntimeError when Python ends."""
        if not self._is_open:
            raise RuntimeError(f"{self} is not used any more: Python ends")
        self._context.push()
        try:
            while self._retired:
                self._modules.pop(self._retired.pop(), None)
            yield
        finally:
            self.driver.Context.pop()

    # PyCUDA's objects warn, and leak, where they go in another thread than that of their context, and end the process
    # where there is none. So all of them are owned here, and go while the context is current.

    def load(self, cubin: bytes) -> int:
        """Load machine code; its number is for `function`. Raises DriverError, with what may help."""
        try:
            module = self.driver.module_from_buffer(cubin)
        except self.driver.MemoryError:
            raise
        except self.driver.Error as problem:
            major, minor = divmod(self.driver.get_driver_version() // 10, 100)
            raise DriverError(
                f"{problem}: {compiler_version()} made the code, and the driver is of CUDA {major}.{minor}; code of a "
                "newer compiler cannot be loaded (`nvidia-cuda-nvrtc-cu12` on PyPI is that of CUDA 12)"
            ) from problem
        number = next(self._numbers)
        self._modules[number] = _Module(module, {})
        return number

    def function(self, number: int, launch: Launch) -> Any:
        """A function of a module, ready to be launched so. Raises DriverError where blocks have too little memory."""
        module = self._modules[number]
        function = module.functions.get((launch.symbol, launch.shared))
        if function is None:
            if launch.shared > self._most_shared:
                raise DriverError(
                    f"`{launch.symbol}` takes {launch.shared >> 10} KiB of shared memory, and a block has at most "
                    f'{self._most_shared >> 10} KiB: build it for this GPU, `target="cuda"`'
                )
            function = module.module.get_function(launch.symbol)
            if launch.shared > STATIC_SHARED:
                attribute = self.driver.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
                function.set_attribute(attribute, launch.shared)
            module.functions[launch.symbol, launch.shared] = function
        return function

    def retire(self, number: int) -> None:
        """The module is not used any more. From any thread."""
        self._retired.append(number)

    def _close(self) -> None:
        """When Python ends: what the device holds goes while its context is current, and then the context."""
        if not self._is_open:
            return
        with self.active():
            self._lanes.clear()
            self._modules.clear()
            for memory in self.memories:
                memory.forget()
        self._is_open = False
        self._context.detach()

    def lane(self, stream: Any = None) -> Lane:
        """Where work for a caller's stream is queued; None for the default stream. The context must be current."""
        handle = 0 if stream is None else stream_handle(stream)
        lane = self._lanes.get(handle)
        if lane is None:
            is_used = isinstance(stream, self.driver.Stream) and not driver_calls().is_non_blocking(handle)
            lane = self._lanes[handle] = Lane(self, stream if is_used else None, handle)
        return lane

    def __str__(self) -> str:
        return f"GPU {self.number} ({self.name})"


class Lane:
    """A stream that work is queued on, and memory that belongs to work on it."""

    def __init__(self, device: Device, stream: Any, caller: int, *, keeps_memory: bool = False):
        """`stream` is PyCUDA's. Without one, `caller` is the handle of another stream; 0 is the default stream.

        With `keeps_memory` what is freed serves this lane alone until it is closed: a graph writes to it again.
        """
        self.device = device
        self._is_foreign = stream is None and caller not in (0, 1)
        # A stream without flags is in order with the default stream, through which arrays are copied.
        self.stream = device.driver.Stream() if self._is_foreign else stream
        self.caller = caller
        self._memory = Memory(device, keeps=keeps_memory)

    @property
    def handle(self) -> int:
        return 0 if self.stream is None else int(self.stream.handle)

    def allocate(self, bytes: int) -> Block:
        """Memory, aligned to 256; what is freed serves later work on this lane. Raises the driver's MemoryError."""
        return self._memory.allocate(bytes)

    @contextmanager
    def ordered(self) -> Iterator[None]:
        """Work queued inside is in order with what the caller's stream has been given and will be.

        Raises ValueError where the caller's stream records a graph: te's memory would serve others between its runs.
        """
        if not self._is_foreign:
            yield
            return
        calls = driver_calls()
        if calls.is_capturing(self.caller):
            raise ValueError("another library's graph cannot record a kernel of te: see `kernel.graph`")
        calls.wait_for_stream(self.handle, self.caller)
        yield
        calls.wait_for_stream(self.caller, self.handle)

    def close(self) -> None:
        """Give the memory and the stream back: they are not in use any more. The context must be current."""
        self._memory.forget()
        self.device.memories.remove(self._memory)
        self.stream = None

    def synchronize(self) -> None:
        """Wait until all work is done. Raises DriverError for what has failed."""
        driver_calls().synchronize(self.handle)


class Memory:
    """Memory that is kept for later work when it is freed: the driver takes long to give more, and to take it back.

    PyCUDA's own pool asks for a current context when memory is freed, and ends the process where there is none. Here a
    block goes back to a list, from any thread.
    """

    def __init__(self, device: Device, *, keeps: bool = False):
        """With `keeps`, nothing goes back to the driver before all of it does."""
        self._device, self._keeps = device, keeps
        self._owned: dict[int, Any] = {}  # by address
        self._free: dict[int, list[int]] = {}  # by size
        device.memories.append(self)

    def allocate(self, bytes: int) -> Block:
        size = _rounded_up(bytes)
        free = self._free.setdefault(size, [])
        try:
            return Block(free, free.pop())
        except IndexError:
            pass
        try:
            allocation = self._device.driver.mem_alloc(size)
        except self._device.driver.MemoryError:
            for memory in tuple(self._device.memories):
                memory.release()
            allocation = self._device.driver.mem_alloc(size)
        self._owned[int(allocation)] = allocation
        return Block(free, int(allocation))

    def release(self) -> None:
        """Give what is free back to the driver, which waits for all work. Other threads may take some meanwhile."""
        for free in () if self._keeps else tuple(self._free.values()):
            with suppress(IndexError):
                while True:
                    self._owned.pop(free.pop()).free()

    def forget(self) -> None:
        """Give all back."""
        self._owned.clear()


class Block:
    """Memory that is in use as long as this object lives."""

    __slots__ = ("_address", "_free")

    def __init__(self, free: list[int], address: int):
        self._free, self._address = free, address

    def __int__(self) -> int:
        return self._address

    def __del__(self) -> None:
        self._free.append(self._address)


def _rounded_up(bytes: int) -> int:
    """One of eight sizes between a power of two and the next, so that blocks serve again for similar sizes."""
    step = max(256, 1 << max(bytes - 1, 1).bit_length() >> 4)
    return -(-max(bytes, 1) // step) * step


class Functions:
    """The `__global__` functions of one piece of machine code, loaded on a device whose context is current."""

    def __init__(self, device: Device, cubin: bytes):
        self._device = device
        self._module = device.load(cubin)
        weakref.finalize(self, device.retire, self._module).atexit = False

    def launch(self, ready: SizedLaunch, pointers: Sequence[int], stream: Any) -> None:
        """Queue a launch; `pointers` are those of its buffers."""
        function = self._device.function(self._module, ready.launch)
        words = struct.pack(f"{len(pointers)}P{len(ready.scalars)}q", *pointers, *ready.scalars)
        # What PyCUDA's `prepared_async_call` does, without the call of cuFuncSetBlockShape that it makes before.
        function._launch_kernel(ready.grid, ready.launch.block, words, ready.launch.shared, stream)


def stream_handle(stream: Any) -> int:
    """The driver's handle of a stream: a number, or an object of PyTorch, CuPy, PyCUDA or numba.

    Raises TypeError for what is no stream.
    """
    if isinstance(stream, int):
        return stream
    for name in ("cuda_stream", "ptr", "handle"):  # PyTorch, CuPy, PyCUDA
        found = getattr(stream, name, None)
        if found is not None:
            return int(getattr(found, "value", found) or 0)  # numba has a ctypes number, which is None of 0
    raise TypeError(
        f"a stream of PyTorch, CuPy or PyCUDA, or its handle, is wanted, found {type(stream).__name__}"
    )


@cache
def device_numbered(number: int) -> Device:
    return Device(number)
