"""Measures in one process with one number of threads, and writes each result as a line of JSON.

`run.py` starts it: libraries read their number of threads when they are loaded.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import costs
import numpy as np
import te_side
from limits import Limits
from measure import QUICK, Plan, Times, interleaved, timed
from others import Others
from peers import bind_to_cores, peer
from report import print_row
from workload import Array, Prepared, Unsupported, Workload, select
from workloads import all_workloads

# A peer whose call takes so many times as long as te's is not measured in rounds.
TOO_SLOW = 8.0
Json = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("select", nargs="*")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--peers", nargs="*", default=[])
    parser.add_argument("--compile-all", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--budget", type=float, default=Plan().budget)
    parser.add_argument("--results", type=Path, required=True)
    options = parser.parse_args()
    bind_to_cores(options.threads)
    warnings.filterwarnings("ignore")
    done = finished(options.results)
    with options.results.open("a", encoding="utf-8") as file:
        for result in measure(options, done):
            file.write(json.dumps(result, ensure_ascii=False) + "\n")
            file.flush()


def finished(results: Path) -> set[tuple[str, str]]:
    """The workloads of an earlier process that ended before its time, the one that ended it among them."""
    if not results.exists():
        return set()
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return {(line["group"], line["name"]) for line in lines if "name" in line}


def measure(options: argparse.Namespace, done: set[tuple[str, str]]) -> Iterator[Json]:
    plan = QUICK if options.quick else Plan(budget=options.budget)
    if options.threads > 1:
        plan = replace(plan, quiet=0.4)
    limits = Limits(options.threads)
    if not done:
        yield {"limits": limits.table(), "threads": options.threads}
    group = ""
    for workload in select(all_workloads(), options.select, options.quick):
        if (workload.group, workload.name) in done:
            continue
        yield {"name": workload.name, "group": workload.group, "threads": options.threads, "starts": True}
        chosen = [p for p in options.peers if p != "compile" or workload.compiles or options.compile_all]
        row = measure_workload(workload, chosen, options.threads, plan, limits)
        print_row(row, with_heading=workload.group != group)
        group = workload.group
        yield row
    if options.threads == 1:
        for row in costs.rows(options.select, options.quick, done):
            print_row(row, with_heading=row["group"] != group)
            group = row["group"]
            yield row


def measure_workload(workload: Workload, peers: list[str], threads: int, plan: Plan, limits: Limits) -> Json:
    """All of one workload, in turns: te, its peers, and the machine at its limits."""
    row: Json = {
        "name": workload.name,
        "group": workload.group,
        "threads": threads,
        "floor": workload.floor.ratio,
        "aim": workload.floor.aim,
        "share_aim": workload.floor.share,
        "strongest": list(workload.strongest),
        "flops": workload.flops,
        "kind": workload.kind,
        "peers": {},
        "slow": {},
        "failed": {},
    }
    arrays = workload.arrays()
    expected = workload.reference(*arrays.values())
    try:
        ours = checked(te_side.prepare(workload, arrays), expected, workload.tolerance)
    except Exception as error:
        return row | {"error": describe(error)}
    actions: dict[str, Callable[[], Any]] = {"te": ours.call}
    once = min(timed(ours.call) for _ in range(3))
    for name, prepare in contestants(workload, peers, threads):
        try:
            prepared = prepare(arrays)
            if name in peers:
                checked(prepared, expected, workload.tolerance)
            prepared.call()
            seconds = min(timed(prepared.call) for _ in range(3))
        except Unsupported:
            continue
        except Exception as error:
            row["failed"][name] = describe(error)
            continue
        if seconds > TOO_SLOW * once and name in peers and seconds > 1e-4:
            row["slow"][name] = seconds / once
        else:
            actions[name] = prepared.call
    read = workload.bytes_read or sum(array.nbytes for array in arrays.values())
    written = workload.bytes_written or expected.nbytes
    loops = {"memory": limits.streaming(read, written)}
    arithmetic = limits.arithmetic(workload.kind, workload.flops) if workload.flops else None
    if arithmetic is not None:
        loops["arithmetic"] = arithmetic
    actions |= {f"limit {name}": loop.call for name, loop in loops.items()}
    others = Others()
    times = interleaved(actions, plan)
    row["others"] = others.share(threads)
    limits.forget()
    row["seconds"] = list(times.pop("te").rounds)
    row["limits"] = {name: _scaled(times.pop(f"limit {name}"), loop.passes) for name, loop in loops.items()}
    row["bytes"] = read + written
    row["peers"] = {name: list(seconds.rounds) for name, seconds in times.items()}
    return row


def contestants(
    workload: Workload, peers: list[str], threads: int
) -> Iterator[tuple[str, Callable[[Mapping[str, Array]], Prepared]]]:
    """What te is measured against: libraries, or te itself in another way."""
    if not workload.versus:
        for name in peers:
            yield name, lambda arrays, name=name: peer(name).prepare(workload, arrays, threads)
    for name, make in workload.versus.items():
        yield name, lambda arrays, make=make: Prepared(make(*arrays.values()))


def checked(prepared: Prepared, expected: Array, tolerance: float) -> Prepared:
    """Refuse what computes something else."""
    found = np.asarray(prepared.read(prepared.call()))
    if found.shape != expected.shape:
        raise ValueError(f"wrong result: shape {found.shape}, not {expected.shape}")
    scale = np.abs(expected.astype(np.float64)).max()
    error = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max() / scale
    if not error <= tolerance:
        raise ValueError(f"wrong result: off by {error:.1e} of the largest element")
    return prepared


def describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]


def _scaled(times: Times, by: float) -> list[float]:
    return [seconds / by for seconds in times.rounds]


if __name__ == "__main__":
    main()
