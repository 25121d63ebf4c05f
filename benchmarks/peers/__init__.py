"""The libraries beside which te is measured. Each is optional; an adapter here is all that knows its API.

An adapter has `version()`, which gives None where the library is missing, and `prepare(workload, arrays,
threads)`, which gives what is timed. It raises `Unsupported` where the workload has no program for it.
Which libraries run on how many threads is settled before they are loaded: `environment`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from collections.abc import Mapping
from typing import Protocol

from workload import Array, Prepared, Workload

# In the order of the table's columns.
NAMES = ("numpy", "torch", "compile", "onnxruntime", "openvino", "jax", "halide", "tvm")


class Peer(Protocol):
    """A module of this folder."""

    def version(self) -> str | None: ...

    def prepare(self, workload: Workload, arrays: Mapping[str, Array], threads: int) -> Prepared: ...


def peer(name: str) -> Peer:
    """The adapter of that name."""
    return importlib.import_module(f"peers.{name}_peer")


def installed(package: str) -> str | None:
    """The version of a package, without loading it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment(threads: int) -> dict[str, str]:
    """The environment of a process in which every library, and te, uses so many threads.

    Memory that was freed stays with the process and is used again: otherwise every library that
    makes an array for its result would pay for new pages at each call, from 32 MiB on.
    """
    return {
        **os.environ,
        **{f"{name}_NUM_THREADS": str(threads) for name in ("TE", "OMP", "OPENBLAS", "MKL", "HL", "TVM")},
        "OPENBLAS_THREAD_TIMEOUT": "20",  # helpers wait in a loop for 2**20 cycles, not 2**26
        "XLA_FLAGS": "" if threads > 1 else "--xla_cpu_multi_thread_eigen=false",
        "JAX_PLATFORMS": "cpu",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
        "MALLOC_TOP_PAD_": str(2**26),
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }


def bind_to_cores(threads: int) -> None:
    """Run on so many cores: for libraries that ask how many there are. Interrupts prefer the first ones."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[-threads:])
