"""All benchmarks: `make bench`, or `make bench ARGS="gemm softmax --threads 1 2 --peers numpy,torch --quick"`.

Each number of threads is measured in a process of its own, in which every peer that is installed
takes turns with te. Prints ratios (a peer's median time over te's), writes them as JSON, and decides no test.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import costs
from peers import NAMES, environment, peer
from report import print_comparison, print_limits, print_row, print_summary
from results import Row, compare, document, load, processor
from verdict import TITLES
from workloads import all_workloads

HERE = Path(__file__).parent
RESULTS = HERE.parent / "build" / "benchmarks"
RESTARTS = 5  # of a process that a library ended


def main() -> None:
    options = parse(sys.argv[1:])
    if options.show:
        results = load(options.show)
        show(results)
    else:
        signal.signal(signal.SIGTERM, interrupt)
        results = measure(options)
        if not results["rows"]:
            words = " or ".join(options.select)
            sys.exit(f"nothing was measured; is a workload called like {words}? see --list")
        path = options.json or RESULTS / f"{results['date'].replace(':', '')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print_summary(results)
        print(f"\nwritten to {path}")
    finish(options, results)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "select", nargs="*", help="groups, or parts of names of workloads; all if none is given"
    )
    parser.add_argument("--list", action="store_true", help="list groups and workloads, and end")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    parser.add_argument(
        "--peers", default="", help=f"some of {','.join(NAMES)}; default: all that are installed"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few rounds of some workloads, without torch.compile"
    )
    parser.add_argument(
        "--budget", type=float, default=2.5, metavar="S", help="seconds for a workload; default: 2.5"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where the results go; default: build/benchmarks/DATE.json"
    )
    parser.add_argument(
        "--compare", type=Path, nargs="+", metavar="OLD", help="say what became faster or slower since"
    )
    parser.add_argument(
        "--show", type=Path, nargs="+", metavar="FILE", help="print earlier results instead of measuring"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write tables for the documentation")
    parser.add_argument(
        "--plots", type=Path, metavar="FOLDER", help="write roofline and bars as SVG and PNG (matplotlib)"
    )
    options = parser.parse_args(arguments)
    if options.list:
        list_workloads()
        sys.exit()
    unknown = {*filter(None, options.peers.split(","))} - {*NAMES}
    if unknown:
        parser.error(f"there is no peer `{sorted(unknown)[0]}`; there are {', '.join(NAMES)}")
    return options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    named = [name for name in NAMES if name in options.peers.split(",")]
    versions = {name: version for name in NAMES if (version := peer(name).version())}
    chosen = [name for name in named or NAMES if name in versions]
    if options.quick and not named:
        chosen = [name for name in chosen if name not in ("compile", "tvm")]
    print(f"{processor()}, {os.cpu_count()} cores")
    print("beside " + ", ".join(f"{TITLES[name]} {versions[name]}" for name in chosen))
    missing = [TITLES[name] for name in NAMES if name not in versions]
    if missing:
        print(f"not installed: {', '.join(missing)} (make bench-peers)")
    lines: list[dict[str, Any]] = []
    for threads in options.threads:
        found, is_whole = run_worker(options, chosen, threads, compile_all="compile" in named)
        lines += found
        if not is_whole:
            print("\ninterrupted; what was measured is kept")
            break
    rows = [line for line in lines if "seconds" in line or "error" in line]
    limits = {str(line["threads"]): line["limits"] for line in lines if "name" not in line}
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return document(rows, limits, {name: versions[name] for name in chosen}, date)


def run_worker(
    options: argparse.Namespace, peers: list[str], threads: int, compile_all: bool
) -> tuple[list[dict[str, Any]], bool]:
    """Measure on so many threads: the lines of results, and whether they are all.

    A process that ends early is started again behind what ended it.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        command = [sys.executable, str(HERE / "worker.py"), *options.select]
        command += ["--threads", str(threads), "--results", str(results)]
        command += [*(["--quick"] if options.quick else []), *(["--compile-all"] if compile_all else [])]
        command += ["--budget", str(options.budget), "--peers", *peers]
        for _ in range(RESTARTS):
            try:
                code = subprocess.run(command, env=environment(threads), check=False).returncode
            except KeyboardInterrupt:
                return read_lines(results), False
            lines = read_lines(results)
            if code == 0:
                break
            if not lines or "starts" not in lines[-1]:
                sys.exit(f"the measuring process ended with {code}")
            ended = {key: value for key, value in lines[-1].items() if key != "starts"}
            ended |= {"error": f"the process ended with {code}"}
            print_row(ended, with_heading=False)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(ended, ensure_ascii=False) + "\n")
        return lines, True


def read_lines(results: Path) -> list[dict[str, Any]]:
    if not results.exists():
        return []
    text = results.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def interrupt(*_: object) -> None:
    """For a signal that asks the process to end: what was measured is written first."""
    raise KeyboardInterrupt


def show(results: dict[str, Any]) -> None:
    """Earlier results, as they were printed when they were measured."""
    print(f"{results['machine']}, {results['date']}")
    for threads, limits in results["limits"].items():
        print_limits(limits, int(threads))
    heading = None
    for row in results["rows"]:
        key = Row(row).group, Row(row).threads
        print_row(row, with_heading=key != heading)
        heading = key
    print_summary(results)


def finish(options: argparse.Namespace, results: dict[str, Any]) -> None:
    if options.compare:
        old = load(options.compare)
        print_comparison(compare(old, results), old["date"])
    if options.markdown:
        from report import markdown

        options.markdown.write_text(markdown(results), encoding="utf-8")
    if options.plots:
        import plots

        print("\n".join(f"written: {path}" for path in plots.draw(results, options.plots)))


def list_workloads() -> None:
    groups: dict[str, list[str]] = {}
    for workload in all_workloads():
        groups.setdefault(workload.group, []).append(workload.name)
    for group, names in groups.items():
        print(f"{group}: {'; '.join(names)}")
    print(f"and what te costs: {', '.join(costs.GROUPS)}")


if __name__ == "__main__":
    main()
