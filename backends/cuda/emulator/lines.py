"""Places in machine code to lines of the source, by `addr2line`, which comes with g++."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from te.backends.cuda.emulator.toolchain import SOURCE_NAME

__all__ = ["source_lines"]


def source_lines(library: Path, codes: Sequence[int]) -> list[tuple[int, ...]]:
    """For each return address in a library, the line of the source, and those that it was called from by inlining.

    Empty where nothing is known.
    """
    tool = shutil.which("addr2line")
    if tool is None or not codes:
        return [() for _ in codes]
    # A call returns to the instruction behind it, which may be of another line.
    addresses = [f"{max(code - 1, 0):#x}" for code in codes]
    command = [tool, "-a", "-i", "-e", str(library), *addresses]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: list[list[int]] = []
    for text in output.splitlines():
        if text.startswith("0x"):
            found.append([])
            continue
        path, _, rest = text.rpartition(":")
        number = rest.split()[0]
        if Path(path).name == SOURCE_NAME and number.isdigit():
            found[-1].append(int(number))
    return [tuple(lines) for lines in found]
