"""What a call costs beyond the work that it does: binding arguments, checks, the result's array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from measure import Row, versus

import te

HERE = Path(__file__).parent


def run() -> list[Row]:
    add = te.build(HERE / "rows.te", op="add")
    a, b, c = (np.arange(16, dtype=np.float32) for _ in range(3))
    out = np.empty_like(a)
    return [
        versus("call, three arrays of 16", lambda: add(a, b, c), "A + B + C", lambda: a + b + c, "aim: 3 µs"),
        versus(
            "the same with out=",
            lambda: add(a, b, c, out=out),
            "np.add twice, out=",
            lambda: np.add(np.add(a, b, out=out), c, out=out),
        ),
    ]
