"""The shortest way through: read a program, build it, call it.

python examples/quickstart.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import te

matmul = te.build(Path(__file__).parent / "quickstart.te", op="matmul")

A = np.random.default_rng(0).standard_normal((512, 256), dtype=np.float32)
B = np.random.default_rng(1).standard_normal((256, 128), dtype=np.float32)
C = matmul(A, B)

print(matmul.__doc__)
print("largest difference from NumPy:", np.abs(C - A @ B).max())
