"""What tests of the emulator share: CUDA texts, run on arrays."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np
import pytest

from te.backends.cuda.emulator.findings import Finding
from te.backends.cuda.emulator.run import Array, Call, Settings, compile_source, run

needs_gxx = [
    pytest.mark.gxx,
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, which compiles what is emulated"),
]

ORDERS = (0, 1, 2, 3, 4)
Dim = int | tuple[int, ...]


def launch(
    source: str,
    symbol: str,
    grid: Dim,
    block: Dim,
    arrays: dict[str, np.ndarray],
    *scalars: int,
    results: Sequence[str] = (),
    states: Sequence[str] = (),
    shared: int = 0,
    is_checked: bool = True,
    settings: Settings | None = None,
) -> list[Finding]:
    """Run one kernel, which takes all arrays, then the scalars. `results` are undefined before, `states` are not."""
    library = compile_source(source, is_checked=is_checked)
    given = [
        Array.of(name, a, "output" if name in results else "state" if name in states else "input")
        for name, a in arrays.items()
    ]
    call = Call(symbol, dim(grid), dim(block), shared, (*arrays, *scalars))
    return run(library, given, [call], settings)


def dim(extents: Dim) -> tuple[int, int, int]:
    x, y, z = (*((extents,) if isinstance(extents, int) else extents), 1, 1)[:3]
    return x, y, z


def marked_line(source: str, mark: str) -> int:
    """The line that has `// mark`."""
    (line,) = [n for n, text in enumerate(source.splitlines(), 1) if text.rstrip().endswith(f"// {mark}")]
    return line
