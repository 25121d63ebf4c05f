"""CUDA graphs: launches that were queued once, and go to the GPU again as one."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable

from te.backends.cuda.device import Device, Lane
from te.backends.cuda.driver import DriverCalls, driver_calls

__all__ = ["Graph"]


class Graph:
    """What `queue` queues on a lane, ready to be launched on any stream. The device's context must be current."""

    def __init__(self, device: Device, queue: Callable[[Lane], None]):
        """`queue` is called with a lane of the graph's own, whose stream only takes note of what it is given."""
        self.device = device
        calls = driver_calls()
        lane = Lane(device, device.driver.Stream(), 0)
        calls.begin_capture(lane.handle)
        try:
            queue(lane)
        except BaseException:
            calls.destroy_graph(calls.end_capture(lane.handle))
            raise
        graph = calls.end_capture(lane.handle)
        try:
            self._executable = calls.instantiate(graph)
        finally:
            calls.destroy_graph(graph)
        weakref.finalize(self, _destroy, lane, calls, self._executable).atexit = False

    def launch(self, stream: int = 0) -> None:
        """Queue all of it on a stream, given by its handle."""
        driver_calls().launch_graph(self._executable, stream)


def _destroy(lane: Lane, calls: DriverCalls, executable: int) -> None:
    # When Python ends the device is closed, and the driver takes all.
    with contextlib.suppress(RuntimeError), lane.device.active():
        lane.device.driver.Context.synchronize()  # its memory may be in use
        calls.destroy_executable(executable)
        lane.close()
