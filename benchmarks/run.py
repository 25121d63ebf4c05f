"""All benchmarks: `make bench`, or `python benchmarks/run.py kernels calls` for some of them.

They print ratios of medians, measured in turns within one run, and decide no test.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

# One thread each; the libraries read these when they are loaded.
for _name in ("TE_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import calls  # noqa: E402  (after the settings above)
import compile_time  # noqa: E402
import import_time  # noqa: E402
import kernels  # noqa: E402
import tails  # noqa: E402
from measure import print_table  # noqa: E402

GROUPS = {
    "compile": ("Compile time", compile_time.run),
    "calls": ("Call overhead", calls.run),
    "import": ("Import time, in new processes", import_time.run),
    "kernels": ("Kernels, one thread", kernels.run),
    "tails": ("Sizes that no vector or tile divides, beside the next that they do", tails.run),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "group", nargs="*", help=f"which to run, of {', '.join(GROUPS)}; all if none is named"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    unknown = set(options.group) - set(GROUPS)
    if unknown:
        parser.error(f"there is no group `{sorted(unknown)[0]}`; there are {', '.join(GROUPS)}")

    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    results = {}
    for name in options.group or GROUPS:
        heading, run = GROUPS[name]
        rows = run()
        print(f"\n{heading}\n{'-' * len(heading)}")
        print_table(rows)
        results[name] = [{**asdict(row), "ratio": row.ratio} for row in rows]
    if options.json:
        options.json.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def processor() -> str:
    """The CPU's type, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU"
    )


if __name__ == "__main__":
    main()
