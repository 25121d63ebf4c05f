"""The way to the GPU: PyCUDA, imported in one place, and the driver's calls that it lacks.

PyCUDA has contexts, memory, modules, streams and launches. It has no graphs, cannot record an event on, or make wait,
a stream that is not its own, nor say to which context memory belongs: for these the driver's library is called through
ctypes.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from functools import cache
from typing import Any

from te.backends.cuda.unavailable import CudaUnavailable

__all__ = [
    "LEGACY_STREAM",
    "NON_BLOCKING",
    "DriverCalls",
    "DriverError",
    "driver",
    "driver_calls",
    "why_unavailable",
]

LIBRARY = "libcuda.so.1"
LEGACY_STREAM = (
    1  # the handle by which the driver, and DLPack, name the default stream that waits for all others
)
NON_BLOCKING = 1  # the flag of a stream that the default stream does not wait for
HOW_TO_INSTALL = "docs/cuda.md says how PyCUDA is installed"


def driver() -> Any:
    """The module `pycuda.driver`, with the driver initialised. Raises CudaUnavailable, with the reason."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        raise CudaUnavailable(
            f"there is no NVIDIA driver on this machine: {LIBRARY} cannot be loaded"
        ) from None
    if importlib.util.find_spec("pycuda") is None:
        raise CudaUnavailable(f"PyCUDA is not installed: {HOW_TO_INSTALL}")
    try:
        made = importlib.import_module("pycuda.driver")
    except ImportError as problem:
        raise CudaUnavailable(f"PyCUDA cannot be loaded: {problem}; {HOW_TO_INSTALL}") from problem
    try:
        made.init()
        count = made.Device.count()
    except made.Error as problem:
        raise CudaUnavailable(f"the NVIDIA driver cannot be initialised: {problem}") from problem
    if not count:
        raise CudaUnavailable("the NVIDIA driver finds no GPU")
    return made


def why_unavailable() -> str | None:
    """What is missing to run kernels on a GPU; None where nothing is."""
    try:
        driver()
    except CudaUnavailable as reason:
        return str(reason)
    return None


class DriverError(RuntimeError):
    """A call of the driver failed."""


class DriverCalls:
    """What PyCUDA lacks. Streams, events and graphs are the driver's handles. Raises DriverError where a call fails.

    A context must be current.
    """

    def __init__(self, library: Any):
        self._library = library

    def create_event(self) -> int:
        event = ctypes.c_void_p()
        without_timing = 2
        self._call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(without_timing))
        return _handle(event)

    def destroy_event(self, event: int) -> None:
        self._call("cuEventDestroy_v2", ctypes.c_void_p(event))

    def record_event(self, event: int, stream: int) -> None:
        self._call("cuEventRecord", ctypes.c_void_p(event), ctypes.c_void_p(stream))

    def wait_for_event(self, stream: int, event: int) -> None:
        self._call("cuStreamWaitEvent", ctypes.c_void_p(stream), ctypes.c_void_p(event), ctypes.c_uint(0))

    def wait_for_stream(self, stream: int, other: int) -> None:
        """What is queued on a stream from now on comes after what another has been given."""
        event = self.create_event()
        try:
            self.record_event(event, other)
            self.wait_for_event(stream, event)
        finally:
            self.destroy_event(event)  # the driver frees it when nobody waits for it any more

    def is_non_blocking(self, stream: int) -> bool:
        """Whether the default stream and this one do not wait for each other."""
        flags = ctypes.c_uint()
        self._call("cuStreamGetFlags", ctypes.c_void_p(stream), ctypes.byref(flags))
        return bool(flags.value & NON_BLOCKING)

    def synchronize(self, stream: int) -> None:
        """Wait until what the stream has been given is done."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def is_capturing(self, stream: int) -> bool:
        """Whether a stream takes notes for a graph, and runs nothing."""
        status = ctypes.c_int()
        self._call("cuStreamIsCapturing", ctypes.c_void_p(stream), ctypes.byref(status))
        return bool(status.value)

    def current_context(self) -> int:
        context = ctypes.c_void_p()
        self._call("cuCtxGetCurrent", ctypes.byref(context))
        return _handle(context)

    def context_of(self, pointer: int) -> int:
        """The context that memory belongs to; 0 where it belongs to none, as that of pools."""
        context = ctypes.c_void_p()
        which = 1  # CU_POINTER_ATTRIBUTE_CONTEXT
        self._call(
            "cuPointerGetAttribute", ctypes.byref(context), ctypes.c_int(which), ctypes.c_uint64(pointer)
        )
        return _handle(context)

    def begin_capture(self, stream: int) -> None:
        relaxed = 2  # memory may be allocated meanwhile
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(relaxed))

    def end_capture(self, stream: int) -> int:
        """The graph of what the stream was given meanwhile."""
        graph = ctypes.c_void_p()
        self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        return _handle(graph)

    def instantiate(self, graph: int) -> int:
        executable = ctypes.c_void_p()
        flags = ctypes.c_ulonglong(0)
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), ctypes.c_void_p(graph), flags)
        return _handle(executable)

    def launch_graph(self, executable: int, stream: int) -> None:
        self._call("cuGraphLaunch", ctypes.c_void_p(executable), ctypes.c_void_p(stream))

    def destroy_graph(self, graph: int) -> None:
        self._call("cuGraphDestroy", ctypes.c_void_p(graph))

    def destroy_executable(self, executable: int) -> None:
        self._call("cuGraphExecDestroy", ctypes.c_void_p(executable))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(ctypes.c_int(status), ctypes.byref(text))
            reason = text.value.decode() if text.value else f"error {status}"
            raise DriverError(f"{name} failed: {reason}")


def _handle(word: ctypes.c_void_p) -> int:
    return word.value or 0


@cache
def driver_calls() -> DriverCalls:
    return DriverCalls(ctypes.CDLL(LIBRARY))
