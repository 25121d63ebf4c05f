"""A GPU: its primary context, which all libraries of a process share, its memory, and the streams that te uses.

Work is queued on a `Lane`. The usual one is the default stream, which PyTorch, CuPy and PyCUDA use too if they are
told nothing else: what they queue before and after is in order with te's. PyCUDA cannot launch on a stream that
another library made; for such a stream there is a lane with a stream of its own, which waits for the caller's by an
event before, and for which the caller's waits after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from te.backends.cuda.driver import driver, driver_calls
from te.backends.cuda.host import SizedLaunch

__all__ = ["Device", "Functions", "Lane", "device_numbered", "stream_handle"]

STATIC_SHARED = 48 << 10  # more dynamic shared memory than this must be asked for


class Device:
    """The GPU of that number. Raises CudaUnavailable where there is none to use, ValueError where it is not there."""

    def __init__(self, number: int):
        self.driver = driver()
        count = self.driver.Device.count()
        if number >= count:
            raise ValueError(f"there is no GPU {number}: this machine has {count}")
        self.number = number
        device = self.driver.Device(number)
        self.name = str(device.name())
        major, minor = device.compute_capability()
        self.sm = 10 * major + minor
        self._context = device.retain_primary_context()
        self._lanes: dict[int, Lane] = {}

    @property
    def architecture(self) -> str:
        """What machine code is made for: of Hopper and later with the instructions that only it has."""
        return f"sm_{self.sm}a" if self.sm >= 90 else f"sm_{self.sm}"

    @contextmanager
    def active(self) -> Iterator[None]:
        """The device's context is current in this thread."""
        self._context.push()
        try:
            yield
        finally:
            self.driver.Context.pop()

    def lane(self, stream: Any = None) -> Lane:
        """Where work for a caller's stream is queued; None for the default stream. The context must be current."""
        handle = 0 if stream is None else stream_handle(stream)
        lane = self._lanes.get(handle)
        if lane is None:
            own = isinstance(stream, self.driver.Stream)
            lane = self._lanes[handle] = Lane(self, stream if own else None, handle)
        return lane

    def __str__(self) -> str:
        return f"GPU {self.number} ({self.name})"


class Lane:
    """A stream that work is queued on, and memory that belongs to work on it."""

    def __init__(self, device: Device, stream: Any, caller: int):
        """`stream` is PyCUDA's. Without one, `caller` is the handle of another library's; 0 is the default stream."""
        self.device = device
        self._is_foreign = stream is None and caller not in (0, 1)
        # A stream without flags is in order with the default stream, through which arrays are copied.
        self.stream = device.driver.Stream() if self._is_foreign else stream
        self.caller = caller
        self._pool = device.driver.DeviceMemoryPool()

    @property
    def handle(self) -> int:
        return 0 if self.stream is None else int(self.stream.handle)

    def allocate(self, bytes: int) -> Any:
        """Memory, aligned to 256; what is freed serves later work on this lane. Raises the driver's MemoryError."""
        return self._pool.allocate(max(bytes, 1))

    @contextmanager
    def ordered(self) -> Iterator[None]:
        """Work queued inside is in order with what the caller's stream has been given and will be."""
        if not self._is_foreign:
            yield
            return
        calls = driver_calls()
        event = calls.create_event()
        try:
            calls.record_event(event, self.caller)
            calls.wait_for_event(self.handle, event)
            yield
            calls.record_event(event, self.handle)
            calls.wait_for_event(self.caller, event)
        finally:
            calls.destroy_event(event)  # the driver frees it when nobody waits for it any more

    def synchronize(self) -> None:
        """Wait until all work is done. Raises the driver's error of what has failed."""
        if self.stream is None:
            self.device.driver.Context.synchronize()
        else:
            self.stream.synchronize()


class Functions:
    """The `__global__` functions of one piece of machine code, loaded on a device whose context is current."""

    def __init__(self, device: Device, cubin: bytes):
        self._device = device
        self._module = device.driver.module_from_buffer(cubin)
        self._prepared: dict[tuple[str, int], Any] = {}

    def launch(self, ready: SizedLaunch, pointers: Sequence[int], stream: Any) -> None:
        """Queue a launch; `pointers` are those of its buffers."""
        launch = ready.launch
        function = self._prepared.get((launch.symbol, launch.shared))
        if function is None:
            function = self._prepare(ready, len(pointers))
        function.prepared_async_call(
            ready.grid, launch.block, stream, *pointers, *ready.scalars, shared_size=launch.shared
        )

    def _prepare(self, ready: SizedLaunch, pointers: int) -> Any:
        launch = ready.launch
        function = self._module.get_function(launch.symbol)
        function.prepare("P" * pointers + "q" * len(ready.scalars))
        if launch.shared > STATIC_SHARED:
            attribute = self._device.driver.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
            function.set_attribute(attribute, launch.shared)
        self._prepared[launch.symbol, launch.shared] = function
        return function


def stream_handle(stream: Any) -> int:
    """The driver's handle of a stream: a number, or an object of PyTorch, CuPy, PyCUDA or numba.

    Raises TypeError for what is no stream.
    """
    if isinstance(stream, int):
        return stream
    for name in ("cuda_stream", "ptr", "handle"):  # PyTorch, CuPy, PyCUDA
        found = getattr(stream, name, None)
        if found is not None:
            return int(getattr(found, "value", None) or found)  # numba has a ctypes number
    raise TypeError(
        f"a stream of PyTorch, CuPy or PyCUDA, or its handle, is wanted, found {type(stream).__name__}"
    )


@cache
def device_numbered(number: int) -> Device:
    return Device(number)
