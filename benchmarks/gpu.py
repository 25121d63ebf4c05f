"""Kernels on an NVIDIA GPU: whether they are right, and how fast, beside PyTorch where it is.

    python benchmarks/gpu.py                    # checks small sizes, measures large ones, and prints a table
    python benchmarks/gpu.py products --json r.json
    python benchmarks/gpu.py --emulated         # checks alone, in the emulator: no GPU is needed

What PyTorch calls is cuBLAS for products, cuDNN or its own kernels for rows, FlashAttention-2 for attention.
Times are of the GPU, by events, in turns in one process; a kernel's share is its part of the speed of a copy
on the device. `gpu_offline.py` does all of this on a machine without a network.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import gpu_workloads
import numpy as np
from te_side import dtypes_of, find, sizes_of
from verdict import TITLES, ratio_to_fastest, verdict
from workload import Array, Workload, select

import te
from te.backends.cuda.device import device_numbered
from te.backends.cuda.driver import why_unavailable

ROUNDS = 9
COPIED = 1 << 30  # bytes
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
        found = measure(select(large, options.wanted, quick=False))
        if options.json:
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


def measure(workloads: Sequence[Workload]) -> dict[str, Any]:
    """Measure, print a table, and give the same as data."""
    torch = torch_with_cuda()
    device = device_numbered(0)
    copied = copy_bandwidth()
    used = f"PyTorch {torch.__version__}" if torch else "without PyTorch, so nothing is compared"
    print(f"\n{device}, {used}; a copy on the device moves {copied / 1e9:.0f} GB/s\n")
    rows = []
    for workload in workloads:
        rows.append(row := measured(workload, torch, copied))
        print(line(row), flush=True)
    return {"device": str(device), "peer": used, "copy_bytes_per_second": copied, "rows": rows}


def measured(workload: Workload, torch: Any, copied: float) -> dict[str, Any]:
    """One row: te and its peers in turns. A peer whose result is another one is not compared."""
    given = workload.arrays()
    kernel = built(workload, given, "cuda")
    values = list(given.values()) if torch is None else [on_gpu(torch, x) for x in given.values()]
    result = kernel(*values)
    watches = {"te": te_stopwatch(workload, kernel, values, torch)}
    failed: dict[str, str] = {}
    for name, call in peers_of(workload, torch).items():
        try:
            error = difference(result, call(*values))
            if not error <= 4 * workload.tolerance:
                raise RuntimeError(f"its result differs by {error:.1e}")
            watches[name] = torch_stopwatch(torch, lambda call=call: call(*values))
        except RuntimeError as problem:  # what this GPU or this PyTorch does not have, too
            failed[name] = str(problem).splitlines()[0]
    seconds: dict[str, list[float]] = {name: [] for name in watches}
    for _ in range(ROUNDS):
        for name, watch in watches.items():
            seconds[name].append(watch())
    moved = sum(x.nbytes for x in given.values()) + result.nbytes
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


def copy_bandwidth() -> float:
    """Bytes a second that a copy on the device reads and writes, the median of some."""
    device = device_numbered(0)
    driver, found = device.driver, []
    with device.active():
        lane = device.lane()
        source, target = lane.allocate(COPIED), lane.allocate(COPIED)
        for _ in range(ROUNDS + 1):
            start, end = driver.Event(), driver.Event()
            start.record(lane.stream)
            driver.memcpy_dtod_async(int(target), int(source), COPIED, lane.stream)
            end.record(lane.stream)
            end.synchronize()
            found.append(2 * COPIED / (float(end.time_since(start)) * 1e-3))
            del start, end  # while the context is current
    return median(found[1:])


def te_stopwatch(workload: Workload, kernel: Any, values: Sequence[Any], torch: Any) -> Stopwatch:
    """The launches of a call; those of a block of several as one graph, as one would use it."""
    if workload.group == "blocks" and torch is not None:
        return torch_stopwatch(torch, kernel.graph(*values))
    watch: Stopwatch = kernel.stopwatch(*values)
    return watch


# ---------------------------------------------------------------- PyTorch


def torch_with_cuda() -> Any:
    try:
        import torch
    except ImportError:
        return None
    torch.backends.cuda.matmul.allow_tf32 = False  # te's products of f32 are of f32
    return torch if torch.cuda.is_available() else None


def on_gpu(torch: Any, array: Array) -> Any:
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).cuda().view(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(array)).cuda()


def peers_of(workload: Workload, torch: Any) -> dict[str, Callable[..., Any]]:
    """PyTorch as it is, and compiled; a block of several launches with CUDA graphs there as well."""
    program = workload.torch
    if torch is None or program is None:
        return {}

    def eager(*tensors: Any) -> Any:
        return program(torch, *tensors)

    found: dict[str, Callable[..., Any]] = {"torch": eager}
    if workload.compiles:
        mode = "reduce-overhead" if workload.group == "blocks" else None
        found["compile"] = torch.compile(eager, mode=mode)
    return found


def torch_stopwatch(torch: Any, call: Callable[[], object]) -> Stopwatch:
    def once(times: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(times):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3 / times

    for _ in range(3):  # compiled code records its graphs in the first calls
        once(1)
    times = max(1, round(1e-3 / max(once(1), 1e-6)))
    return lambda: once(times)


def difference(found: Any, wanted: Any) -> float:
    """The largest, as a part of the largest element; both are tensors."""
    found, wanted = found.double(), wanted.double()
    return float(((found - wanted).abs().max() / wanted.abs().max()).item())


if __name__ == "__main__":
    sys.exit(main())
