"""What is measured: a workload says what te computes, what its peers compute, and how fast te should be.

A workload is data. Its peers' programs are functions that the adapters in `peers/` call: `torch`
serves PyTorch and torch.compile, `onnx` builds one graph for onnxruntime, OpenVINO and TVM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Floor:
    """What is asked of te: at least `ratio` times as fast as the fastest peer; `aim` is hoped for.

    `share` is the part of the machine's limit that is hoped for beside it.
    """

    ratio: float
    aim: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    `op` is an op of the standard library (`nn.softmax`), text, or `file.te:op` with a path from the
    root of the repository. `inputs` makes the arrays by their names in the op, in its order; those in
    `bound` are given once, as weights are. `reference` computes the result in NumPy, and is also NumPy's
    entry in the race unless `numpy` has a better one. All other programs take the arrays in the same order:

    - `numpy(*arrays)`
    - `torch(torch, *tensors)`
    - `onnx(graph, *names)`, which gives the name of the result: see `peers/onnx_graph.py`
    - `jax(jax, *arrays)`
    - `halide(hl, threads, *buffers)`, which gives the scheduled `Func`
    - `versus(*arrays)`, which gives a function to be timed: of te itself, in another way

    `strongest` are the peers without which a verdict would be worth nothing. `compiles` tells that
    torch.compile is worth its 20 seconds here.

    `flops` counts arithmetic in `kind`; `bytes_read` and `bytes_written` are what must be moved, by
    default each array once.
    """

    name: str
    group: str
    op: str
    inputs: Callable[[np.random.Generator], dict[str, Array]]
    reference: Callable[..., Array]
    floor: Floor
    strongest: tuple[str, ...]
    flops: float = 0
    kind: str = "f32"
    bytes_read: int | None = None
    bytes_written: int | None = None
    bound: tuple[str, ...] = ()
    consts: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-4
    compiles: bool = False
    quick: bool = False
    numpy: Callable[..., Array] | None = None
    torch: Callable[..., Any] | None = None
    onnx: Callable[..., str] | None = None
    jax: Callable[..., Any] | None = None
    halide: Callable[..., Any] | None = None
    versus: Mapping[str, Callable[..., Callable[[], Any]]] = field(default_factory=dict)

    def arrays(self) -> dict[str, Array]:
        """The inputs, the same in every run."""
        return self.inputs(np.random.default_rng(0))


@dataclass(frozen=True)
class Prepared:
    """Something to be timed, and how to read what it gives."""

    call: Callable[[], Any]
    read: Callable[[Any], Array] = np.asarray


class Unsupported(Exception):
    """A peer cannot run a workload; the text says why."""


def select(workloads: Sequence[Workload], wanted: Sequence[str], quick: bool) -> list[Workload]:
    """Those of the named groups, or with a name that contains a word that is no group's; all if none is given.

    With `quick` few of each group, and those whose whole name is given.
    """
    groups = {w.group for w in workloads} & {*wanted}
    words = [word for word in wanted if word not in groups]
    chosen = [
        w for w in workloads if not wanted or w.group in groups or any(word in w.name for word in words)
    ]
    return [w for w in chosen if not quick or w.quick or w.name in wanted]


def normal(*shape: int, dtype: str = "f4", scale: float = 1.0) -> Callable[[np.random.Generator], Array]:
    """Normally distributed numbers."""
    return lambda rng: (scale * rng.standard_normal(shape, dtype=np.float32)).astype(dtype)


def arrays(
    **makers: Callable[[np.random.Generator], Array],
) -> Callable[[np.random.Generator], dict[str, Array]]:
    """`arrays(X=normal(3, 4), b=normal(4))`: the inputs of a workload."""
    return lambda rng: {name: make(rng) for name, make in makers.items()}
