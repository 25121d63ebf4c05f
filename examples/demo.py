"""What te does, on real input: `make demo`.

Edges of a photograph, a convolutional network that reads digits, and small ops. Every result is held against
NumPy and SciPy, every kernel is timed beside NumPy, and the exit status says whether all agreed. It needs no
network.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

# One thread for NumPy and for te, so that the times compare the code and not the number of cores.
# The libraries read these when they are loaded, which is why they stand before the imports.
THREADS = "1"
for _name in ("TE_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = THREADS

import digits  # noqa: E402  (after the settings above)
import edges  # noqa: E402
import small_ops  # noqa: E402
from report import Report  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description="te on real input, held against NumPy and SciPy")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for the pictures")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(folder)
    start = time.perf_counter()

    report.heading("Small ops: text to machine code")
    small_ops.run(report)

    report.heading("Edges of a photograph (edges.te)")
    edges.run(report)

    report.heading("A convolutional network reads digits (digits.te)")
    digits.run(report)

    report.heading("Times: medians over rounds in which te and NumPy or SciPy took turns, one thread each")
    report.print_timings()

    status = report.close()
    print(f"  {time.perf_counter() - start:.0f} seconds in all")
    return status


if __name__ == "__main__":
    sys.exit(main())
