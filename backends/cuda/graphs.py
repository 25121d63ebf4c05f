"""CUDA graphs: launches that were queued once, and go to the GPU again as one."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from te.backends.cuda.device import Device
from te.backends.cuda.driver import DriverCalls, driver_calls

__all__ = ["Graph"]


class Graph:
    """What `queue` queues on a stream, ready to be launched on any. The device's context must be current."""

    def __init__(self, device: Device, queue: Callable[[Any], None]):
        """`queue` is called with a stream of PyCUDA, which only takes note of what it is given."""
        self.device = device
        calls = driver_calls()
        stream = device.driver.Stream()
        handle = int(stream.handle)
        calls.begin_capture(handle)
        try:
            queue(stream)
        except BaseException:
            calls.destroy_graph(calls.end_capture(handle))
            raise
        graph = calls.end_capture(handle)
        try:
            self._executable = calls.instantiate(graph)
        finally:
            calls.destroy_graph(graph)
        weakref.finalize(self, _destroy, device, calls, self._executable).atexit = False

    def launch(self, stream: int = 0) -> None:
        """Queue all of it on a stream, given by its handle."""
        driver_calls().launch_graph(self._executable, stream)


def _destroy(device: Device, calls: DriverCalls, executable: int) -> None:
    with device.active():
        calls.destroy_executable(executable)
