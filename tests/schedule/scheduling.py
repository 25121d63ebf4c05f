"""What the tests of schedules share: programs from text, lines applied to them, kernels compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.diagnostics import Diagnostic, ScheduleError, Source
from te.elaborate.elaborate import elaborate
from te.elaborate.modules import Library, read_module
from te.grammar import tree
from te.grammar.parser import parse_directives, parse_file
from te.ir.loop import Kernel
from te.ir.tensor import Program
from te.ir.types import numpy_dtype
from te.schedule.apply import apply_all
from te.schedule.nest import nest
from te.schedule.schedule import Schedule, read_schedule
from te.schedule.text import names_in, read_directives
from te.schedule.written import Setting, Written
from te.target import parse_target

POINTWISE = "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] * 2.0 + 1.0 }"
PLANE = "op f(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = X[i, j] * 2.0 + 1.0 }"
MATMUL = "op matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }"
ROW_SUM = "op rows(X: f32[M, N]) -> Y: f32[M] { Y[i] = sum[j](X[i, j]) }"
CHAIN = """
op chain(X: f32[N]) -> Y: f32[N] {
    e[i] = X[i] + 1.0
    Y[i] = e[i] * e[i]
}
"""
SOFTMAX = """
op softmax(X: f32[M, N]) -> Y: f32[M, N] {
    m[i]    = max[j](X[i, j])
    e[i, j] = exp(X[i, j] - m[i])
    Y[i, j] = e[i, j] / sum[k](e[i, k])
}
"""


def program(text: str, op: str | None = None, **options: Mapping[str, object]) -> Program:
    """The program of a text's only op, or of the one named."""
    file = parse_file(Source("test.te", text))
    name = op or next(item.name for item in file.items if isinstance(item, tree.Op))
    return elaborate(file, name, **options)  # type: ignore[arg-type]  # sizes, consts, dtypes


def setting_of(text: str, op: str | None = None, **options: Mapping[str, object]) -> Setting:
    """What the schedules in a text are read with, on this machine."""
    file = parse_file(Source("test.te", text))
    name = op or next(item.name for item in file.items if isinstance(item, tree.Op))
    of = elaborate(file, name, **options)  # type: ignore[arg-type]  # sizes, consts, dtypes
    return Setting(of, "llvm", parse_target("llvm").levels, read_module(file, Library()))


def read(setting: Setting) -> Schedule:
    """The one case of the first schedule in the file of a setting."""
    item = next(i for i in setting.own.file.items if isinstance(i, tree.Schedule))
    (case,) = read_schedule(Written(item, setting.own), setting)
    return case.schedule


def scheduled(of: str | Program | Kernel, lines: str, **options: Mapping[str, object]) -> Kernel:
    """A program's kernel after the directives of a text."""
    if isinstance(of, str):
        of = program(of, **options)
    kernel = of if isinstance(of, Kernel) else nest(of)
    directives = read_directives(parse_directives(Source("lines", lines)), names_in(kernel.program))
    return apply_all(kernel, directives)[-1].kernel


def refused(of: str | Program | Kernel, lines: str, **options: Mapping[str, object]) -> Diagnostic:
    """The one diagnostic that the lines are refused with."""
    with pytest.raises(ScheduleError) as caught:
        scheduled(of, lines, **options)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def random_inputs(of: Program, sizes: Mapping[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs for a program; small integers, so that sums of floats are exact in any order."""
    from te.ir.bounds import evaluate

    rng = np.random.default_rng(seed)
    arrays = {}
    for tensor in of.inputs:
        shape = tuple(int(evaluate(extent, sizes)) for extent in tensor.shape)
        low = 0 if tensor.dtype.kind in ("bool", "uint") else -8
        high = 2 if tensor.dtype.kind == "bool" else 9
        arrays[tensor.name] = rng.integers(low, high, shape).astype(numpy_dtype(tensor.dtype))
    return arrays


def assert_same(before: Kernel, after: Kernel, *all_sizes: Mapping[str, int]) -> None:
    """Both kernels give the same results, in every order of parallel loops."""
    for sizes in all_sizes:
        inputs = random_inputs(before.program, sizes)
        expected = run_kernel(before, inputs, sizes)
        for order in ("forward", "reverse", "shuffled"):
            found = run_kernel(after, inputs, sizes, order=order)
            for name, array in expected.items():
                np.testing.assert_array_equal(found[name], array, err_msg=f"{name}, {sizes}, {order}")


def assert_built_same(text: str, *all_sizes: Mapping[str, int], **options: Any) -> None:
    """The automatic schedule gives the results of `schedule="none"`; `options` are those of `te.build`."""
    built = te.build(text, schedule="auto", **options)
    consts = options.get("consts")
    plain = te.build(text, schedule="none", consts=consts)
    of = program(text, consts=consts)
    for sizes in all_sizes:
        inputs = random_inputs(of, sizes)
        np.testing.assert_array_equal(built(**inputs), plain(**inputs), err_msg=str(sizes))


def sizes_around(text: str, extents: Iterable[int], windows: int = 1) -> list[dict[str, int]]:
    """For each extent, sizes of the op that begin with it and all differ; but R and S are `windows`."""
    names = program(text).sizes
    return [
        {name: windows if name in ("R", "S") else extent + i for i, name in enumerate(names)}
        for extent in extents
    ]


def loops(of: str | Program | Kernel, lines: str = "", **options: Mapping[str, object]) -> str:
    """The kernel after the lines, as text without its header."""
    from te.ir.print import print_kernel

    body = print_kernel(scheduled(of, lines, **options)).split("\n", 1)[1]
    return "\n" + "".join(line[2:] + "\n" for line in body.splitlines())
