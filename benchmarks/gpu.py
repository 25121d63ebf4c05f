"""Kernels on an NVIDIA GPU: whether they are right, and how fast, beside PyTorch where it is.

    python benchmarks/gpu.py                    # checks small sizes, measures large ones, and prints a table
    python benchmarks/gpu.py products --json r.json
    python benchmarks/gpu.py --emulated         # checks alone, in the emulator: no GPU is needed

What PyTorch calls is cuBLAS for products, cuDNN or its own kernels for rows, FlashAttention-2 for attention.
Times are of the GPU, by events, in turns in one process. All calls are CUDA graphs, so that Python's time is in none of
them, and go through several sets of arrays, which the caches cannot hold. A kernel's share is its part of the speed of
a copy on the device. `gpu_offline.py` does all of this on a machine without a network.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import gpu_workloads
import numpy as np
from te_side import dtypes_of, find, sizes_of
from verdict import TITLES, ratio_to_fastest, verdict
from workload import Array, Workload, select

import te
from te.backends.cuda.arrays import DeviceArray
from te.backends.cuda.device import Device, device_numbered
from te.backends.cuda.driver import why_unavailable
from te.ir.types import dtype_named

ROUNDS = 9
COPIED = 1 << 30  # bytes
BEYOND_CACHES = 256 << 20  # bytes: more than the caches of a GPU hold
Stopwatch = Callable[[], float]


def main() -> int:
    small, large = gpu_workloads.small(), gpu_workloads.large()
    groups = list(dict.fromkeys(w.group for w in small))
    parser = argparse.ArgumentParser(description="Check and measure kernels on an NVIDIA GPU.")
    parser.add_argument("--emulated", action="store_true", help="check in the emulator, and measure nothing")
    parser.add_argument("--json", type=Path, help="write what was measured to this file, too")
    parser.add_argument(
        "wanted", nargs="*", help=f"groups ({', '.join(groups)}) or parts of names; default: all"
    )
    options = parser.parse_args()
    if not options.emulated and (missing := why_unavailable()):
        sys.exit(f"nothing can be measured: {missing}")
    wrong = 0
    for workload in select(small, options.wanted, quick=False):
        error = largest_error(workload, "cuda-emulated" if options.emulated else "cuda")
        is_wrong = not error <= workload.tolerance
        wrong += is_wrong
        print(f"{workload.name:44} {'WRONG' if is_wrong else 'right'}, largest error {error:.1e}", flush=True)
    if not options.emulated and not wrong:
        for found in measure(select(large, options.wanted, quick=False)):
            wrong += found["rows"][-1].get("problem") is not None
            if options.json:  # after each row: a GPU that fails in one fails in all that follow
                options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 1 if wrong else 0


def built(workload: Workload, arrays: Mapping[str, Array], target: str) -> Any:
    """The op for the arrays' sizes; without a schedule, unless its file has one: what a user gets who writes none."""
    op = find(workload.op)
    options = {"sizes": sizes_of(op, arrays), "dtypes": dtypes_of(op, arrays), **workload.options}
    return te.build(op, consts=workload.consts, target=target, **options)


def largest_error(workload: Workload, target: str) -> float:
    """Of a small size, beside NumPy in f64; as a part of the largest element of the result."""
    given = workload.arrays()
    wanted = workload.reference(*[x.astype(np.float64) for x in given.values()])
    found = built(workload, given, target)(*given.values())
    return relative_error(found.astype(np.float64), wanted)


def relative_error(found: Array, wanted: Array) -> float:
    return float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))


# ---------------------------------------------------------------- measuring


def measure(workloads: Sequence[Workload]) -> Iterator[dict[str, Any]]:
    """Measure, print a table, and give the same as data: all rows so far, after each."""
    torch = torch_with_cuda()
    device = device_numbered(0)
    copied = copy_bandwidth(device)
    used = f"PyTorch {torch.__version__}" if torch else "without PyTorch, so nothing is compared"
    print(f"\n{device}, {used}; a copy on the device moves {copied / 1e9:.0f} GB/s\n")
    found: dict[str, Any] = {"device": str(device), "peer": used, "copy_bytes_per_second": copied, "rows": []}
    for workload in workloads:
        try:
            row = measured(workload, device, torch, copied)
            print(line(row), flush=True)
        except Exception as problem:  # of whatever library: the other rows are wanted all the same
            row = {"name": workload.name, "group": workload.group, "problem": said(problem)}
            print(f"{workload.name:44} FAILED: {row['problem']}", flush=True)
        found["rows"].append(row)
        yield found


def measured(workload: Workload, device: Device, torch: Any, copied: float) -> dict[str, Any]:
    """One row: te and its peers in turns. A peer whose result is another one is not compared."""
    given = workload.arrays()
    kernel = built(workload, given, "cuda")
    values = on_gpu(device, torch, given)
    graphs = [kernel.graph(*values)]
    result = graphs[0]()
    moved = sum(x.nbytes for x in given.values()) + result.nbytes
    sets = [values, *(on_gpu(device, torch, given) for _ in range(BEYOND_CACHES // moved))]
    graphs += [kernel.graph(*others) for others in sets[1:]]
    watches = {"te": stopwatch(device, graphs)}
    failed: dict[str, str] = {}
    for name, call in peers_of(workload, torch).items():
        try:
            error = difference(result, call(*values))
            if not error <= 4 * workload.tolerance:
                raise RuntimeError(f"its result differs by {error:.1e}")
            watches[name] = stopwatch(device, [recorded(torch, call, others) for others in sets])
        except Exception as problem:  # what this GPU or this PyTorch does not have, too
            failed[name] = said(problem)
    seconds: dict[str, list[float]] = {name: [] for name in watches}
    for _ in range(ROUNDS):
        for name, watch in watches.items():
            seconds[name].append(watch())
    return {
        "name": workload.name,
        "group": workload.group,
        "seconds": seconds,
        "failed": failed,
        "floor": workload.floor.ratio,
        "strongest": list(workload.strongest),
        "flops": workload.flops,
        "bytes": moved,
        "share": None if workload.flops else moved / median(seconds["te"]) / copied,
    }


def said(problem: Exception) -> str:
    """The first line of what an error says."""
    return (str(problem).splitlines() or [""])[0] or type(problem).__name__


def line(row: Mapping[str, Any]) -> str:
    """A row for the terminal: time, rate, share of a copy's speed, verdict, and the peers' time over te's."""
    medians = {name: median(times) for name, times in row["seconds"].items()}
    own = medians.pop("te")
    fastest = ratio_to_fastest(own, medians)
    said = verdict(fastest and fastest[0], row["floor"], row["strongest"], medians)
    work, unit = (row["flops"], "TFLOP/s") if row["flops"] else (row["bytes"], "TB/s")
    share = "" if row["share"] is None else f"{row['share']:.0%}"
    peers = [f"{TITLES[name]} {seconds / own:.2f}" for name, seconds in medians.items()]
    peers += [f"{TITLES[name]} failed: {why}" for name, why in row["failed"].items()]
    rate = f"{work / own / 1e12:.2f} {unit}"
    return f"{row['name']:44} {own * 1e3:8.3f} ms {rate:>13} {share:>5}  {said:30} {'  '.join(peers)}"


def copy_bandwidth(device: Device) -> float:
    """Bytes a second that a copy on the device reads and writes, the median of some."""
    with device.active():
        lane = device.lane()
        source, target = lane.allocate(COPIED), lane.allocate(COPIED)

        def copy() -> None:
            device.driver.memcpy_dtod_async(int(target), int(source), COPIED, lane.stream)

        watch = stopwatch(device, [copy])
        return 2 * COPIED / median([watch() for _ in range(ROUNDS)])


def stopwatch(device: Device, calls: Sequence[Callable[[], object]]) -> Stopwatch:
    """The GPU's time for one of the calls, in seconds, by events on the default stream around many of them, in turn."""

    def once(rounds: int) -> float:
        with device.active():
            start, end = device.driver.Event(), device.driver.Event()
            start.record()
            for _ in range(rounds):
                for call in calls:
                    call()
            end.record()
            end.synchronize()
            seconds = float(end.time_since(start)) * 1e-3
            del start, end  # while the context is current
        return seconds / (rounds * len(calls))

    once(1)
    rounds = max(1, round(2e-3 / max(once(1) * len(calls), 1e-6)))
    return lambda: once(rounds)


def on_gpu(device: Device, torch: Any, arrays: Mapping[str, Array]) -> list[Any]:
    """Copies of arrays in the GPU's memory: PyTorch's where it is there, else te's."""
    if torch is not None:
        return [tensor_on_gpu(torch, array) for array in arrays.values()]
    made = []
    with device.active():
        for array in arrays.values():
            dtype = dtype_named(array.dtype.name)
            assert dtype is not None, "the arrays have te's dtypes"
            memory = device.lane().allocate(array.nbytes)
            device.driver.memcpy_htod(int(memory), np.array(array, order="C").reshape(-1).view(np.uint8))
            made.append(DeviceArray(int(memory), array.shape, dtype, device.number, memory))
    return made


# ---------------------------------------------------------------- PyTorch


def torch_with_cuda() -> Any:
    try:
        import torch
    except ImportError:
        return None
    torch.backends.cuda.matmul.allow_tf32 = False  # te's products of f32 are of f32
    return torch if torch.cuda.is_available() else None


def tensor_on_gpu(torch: Any, array: Array) -> Any:
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).cuda().view(torch.bfloat16)
    return torch.from_numpy(np.array(array, order="C")).cuda()


def peers_of(workload: Workload, torch: Any) -> dict[str, Callable[..., Any]]:
    """PyTorch as it is, and compiled."""
    program = workload.torch
    if torch is None or program is None:
        return {}

    def eager(*tensors: Any) -> Any:
        return program(torch, *tensors)

    found: dict[str, Callable[..., Any]] = {"torch": eager}
    if workload.compiles:
        found["compile"] = torch.compile(eager)
    return found


def recorded(torch: Any, call: Callable[..., Any], tensors: Sequence[Any]) -> Callable[[], object]:
    """A call as a CUDA graph: what `torch.compile` does in its mode for little overhead, without its copies."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # code is compiled and libraries choose their kernels in the first calls
            call(*tensors)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call(*tensors)
    replay: Callable[[], object] = graph.replay
    return replay


def difference(found: Any, wanted: Any) -> float:
    """The largest, as a part of the largest element; both are tensors."""
    found, wanted = found.double(), wanted.double()
    return float(((found - wanted).abs().max() / wanted.abs().max()).item())


if __name__ == "__main__":
    sys.exit(main())
