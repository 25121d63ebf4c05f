"""NumPy. Its BLAS takes the number of threads from the environment."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from workload import Array, Prepared, Workload


def version() -> str | None:
    return np.__version__


def prepare(workload: Workload, arrays: Mapping[str, Array], threads: int) -> Prepared:
    program = workload.numpy or workload.reference
    values = tuple(arrays.values())
    return Prepared(lambda: program(*values))
