"""CUDA graphs: launches that were queued once, and go to the GPU again as one."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable

from te.backends.cuda.device import Device, Lane
from te.backends.cuda.driver import NON_BLOCKING, DriverCalls, DriverError, driver_calls

__all__ = ["Graph"]


class Graph:
    """What `queue` queues on a lane, ready to be launched on any stream. The device's context must be current."""

    def __init__(self, device: Device, queue: Callable[[Lane], None]):
        """`queue` is called with a lane of the graph's own, whose stream only takes note of what it is given."""
        self.device = device
        calls = driver_calls()
        # The default stream cannot be used by anybody while a stream that it waits for takes notes.
        lane = Lane(device, device.driver.Stream(NON_BLOCKING), 0, keeps_memory=True)
        try:
            graph = _recorded(calls, lane, queue)
            try:
                self._executable = calls.instantiate(graph)
            finally:
                calls.destroy_graph(graph)
        except BaseException:
            lane.close()
            raise
        weakref.finalize(self, _destroy, lane, calls, self._executable).atexit = False

    def launch(self, stream: int = 0) -> None:
        """Queue all of it on a stream, given by its handle."""
        driver_calls().launch_graph(self._executable, stream)


def _recorded(calls: DriverCalls, lane: Lane, queue: Callable[[Lane], None]) -> int:
    """The graph of what `queue` gives the lane's stream."""
    calls.begin_capture(lane.handle)
    try:
        queue(lane)
    except BaseException:
        with contextlib.suppress(DriverError):  # what was wrong before may have ended it
            calls.destroy_graph(calls.end_capture(lane.handle))
        raise
    return calls.end_capture(lane.handle)


def _destroy(lane: Lane, calls: DriverCalls, executable: int) -> None:
    # When Python ends the device is closed, and the driver takes all. What a GPU has failed with before, it says again
    # at every call, and its callers know.
    failures = (RuntimeError, lane.device.driver.Error)
    with contextlib.suppress(*failures), lane.device.active():
        try:
            lane.device.driver.Context.synchronize()  # its memory may be in use
            calls.destroy_executable(executable)
        finally:
            lane.close()
