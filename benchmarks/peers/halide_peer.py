"""Halide, with schedules written by hand in the workloads. Threads: HL_NUM_THREADS."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from workload import Array, Prepared, Unsupported, Workload

from peers import installed


def version() -> str | None:
    return installed("halide")


def prepare(workload: Workload, arrays: Mapping[str, Array], threads: int) -> Prepared:
    if workload.halide is None:
        raise Unsupported("no program")
    import halide

    buffers = [halide.Buffer(array) for array in arrays.values()]
    func = workload.halide(halide, threads, *buffers)
    if func is None:
        raise Unsupported("the schedule is for other sizes")
    expected = workload.reference(*arrays.values())
    out = np.empty(expected.shape, expected.dtype)
    result = halide.Buffer(out)
    func.compile_jit()
    return Prepared(lambda: func.realize(result), lambda _: out)
