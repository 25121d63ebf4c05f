"""What the tests of the standard library share: ops against formulas in NumPy, and the examples of doc texts."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pytest

import te
from te.ir.types import DTYPES, numpy_dtype
from tests.fences import fenced_runtime, in_child, note
from tests.machines import HERE

Array: TypeAlias = np.ndarray[Any, Any]
# An input is a shape (normal random numbers), a number, or a function of a random generator that
# gives an array. Numbers and arrays of float64 take the dtype under test.
Input: TypeAlias = tuple[int, ...] | float | Callable[[np.random.Generator], Array]
Formula: TypeAlias = Callable[..., Any]

# Narrow floats are rounded once for each tensor that an op names.
TOLERANCE = {"f64": 1e-11, "f32": 3e-5, "f16": 4e-3, "bf16": 3e-2}


@dataclass(frozen=True)
class Case:
    """An op, a formula that says the same, and the inputs on which both are run."""

    op: str  # "nn.softmax"
    formula: Formula
    calls: Sequence[tuple[Input, ...]]
    consts: dict[str, Any]
    dtypes: tuple[str, ...]

    def __str__(self) -> str:
        return self.op.partition(".")[2] + "".join(f"-{k}={v}" for k, v in self.consts.items())


def case(
    op: str, formula: Formula, calls: Iterable[tuple[Input, ...]], dtypes: str = "f64 f32", **consts: Any
) -> Case:
    return Case(op, formula, tuple(calls), consts, tuple(dtypes.split()))


def comparisons(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """Parametrises a test by `case`, `schedule` and `dtype`: every pair in all, half of them in `make test`."""
    parameters = []
    for each in cases:
        for dtype in each.dtypes:
            for schedule in ("none", "auto"):
                is_quick = (schedule, dtype) in (("none", "f64"), ("auto", "f32")) or (
                    schedule == "auto" and dtype not in ("f64", "f32")
                )
                marks = () if is_quick else (pytest.mark.slow,)
                parameters.append(
                    pytest.param(each, schedule, dtype, marks=marks, id=f"{each}-{schedule}-{dtype}")
                )
    return pytest.mark.parametrize(("case", "schedule", "dtype"), parameters)


def find(op: str) -> te.Op:
    module, _, name = op.partition(".")
    return getattr(te.std, module)[name]


def compare(case: Case, schedule: str, dtype: str, target: str = HERE) -> None:
    """Run an op and its formula on all inputs of a case, between pages that nobody may touch."""
    kernel = build(case, schedule, dtype, target)

    def calls() -> None:
        for number, arrays in enumerate(arguments(case, dtype)):
            at_end = number % 2 == 0
            note(f"{case} on call {number}, {schedule}, {dtype}, {target}, {at_end=}")
            with fenced_runtime(at_end=at_end) as fence:
                check(case, arrays, kernel(*fence.copies(arrays)), dtype)

    in_child(calls)


def build(case: Case, schedule: str, dtype: str, target: str = HERE) -> Any:
    op = find(case.op)
    dtypes = {"T": dtype} if "T" in op.dtype_variables else {}
    return te.build(op, schedule, target, consts=case.consts, dtypes=dtypes)


def arguments(case: Case, dtype: str) -> Iterator[list[Any]]:
    """The inputs of each call of a case."""
    for number, inputs in enumerate(case.calls):
        rng = np.random.default_rng(number)
        yield [_input(i, dtype, rng) for i in inputs]


def check(case: Case, arrays: list[Any], found: Any, dtype: str) -> None:
    """Whether the results are those of the formula."""
    expected = case.formula(*[_exact(a) for a in arrays], **case.consts)
    assert isinstance(found, tuple) == isinstance(expected, tuple)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for have, want in pairs:
        _assert_close(np.asarray(have), np.asarray(want), TOLERANCE.get(dtype, 0))


def _input(given: Input, dtype: str, rng: np.random.Generator) -> Any:
    numpy = numpy_dtype(DTYPES[dtype])
    if isinstance(given, tuple):
        return _rounded(rng.normal(size=given), numpy)
    if isinstance(given, float):
        return numpy.type(given)
    if isinstance(given, int):
        return given
    array = given(rng)
    return _rounded(array, numpy) if array.dtype == np.float64 else array


def _rounded(array: Array, dtype: np.dtype[Any]) -> Array:
    return np.round(array * 3).astype(dtype) if dtype.kind in "iu" else array.astype(dtype)


def _exact(value: Any) -> Any:
    """Floats in double precision, so that the formula's own rounding does not count."""
    is_float = isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "iub"
    return np.asarray(value, np.float64) if is_float else value


def _assert_close(found: Array, expected: Array, tolerance: float) -> None:
    assert found.shape == expected.shape
    if found.dtype.kind not in "iub":
        found = found.astype(np.float64)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    else:
        np.testing.assert_array_equal(found, expected)


# ---------------------------------------------------------------- examples

EXAMPLE = re.compile(r"^    (\w+)\((.*)\)\s+-> (.*)$")
NAMES = {"true": True, "false": False, "inf": np.inf, "nan": np.nan}


@dataclass(frozen=True)
class Example:
    """`op(inputs, const=value) -> results`, a line of a doc text."""

    inputs: tuple[Any, ...]
    consts: dict[str, Any]
    results: tuple[Any, ...]


def example(op: te.Op) -> Example | None:
    """The example in an op's doc text; a line that is indented further goes on with it."""
    text = re.sub(r"\n      +", " ", op.doc)
    for line in text.split("\n"):
        match = EXAMPLE.match(line)
        if match and match[1] == op.name:
            call = ast.parse(f"f({match[2]})", mode="eval").body
            assert isinstance(call, ast.Call)
            inputs = tuple(_value(ast.unparse(a)) for a in call.args)
            consts = {str(k.arg): _value(ast.unparse(k.value)) for k in call.keywords}
            return Example(inputs, consts, _value(f"({match[3]},)"))
    return None


def _value(text: str) -> Any:
    return eval(text, {"__builtins__": {}}, NAMES)


def run_example(op: te.Op, example: Example, schedule: str = "none", target: str = "llvm") -> None:
    kernel = te.build(op, schedule, target, consts=example.consts)
    choices = {g.name: g.choices for g in op.tree.generics}
    arrays = [
        np.array(value, numpy_dtype(DTYPES[_dtype(param.type.name, choices)]))
        for param, value in zip(op.inputs, example.inputs, strict=True)
    ]
    found = kernel(*arrays)
    found = found if isinstance(found, tuple) else (found,)
    for have, want in zip(found, example.results, strict=True):
        assert np.shape(have) == np.shape(want)
        np.testing.assert_allclose(have, np.array(want), rtol=0, atol=6e-5)


def _dtype(written: str, choices: dict[str, tuple[str, ...]]) -> str:
    """The first dtype that the doc texts mean by what is written: f32 where floats are allowed."""
    if written not in choices:
        return written
    allowed = choices[written]
    return "f32" if not allowed or "float" in allowed else "i64" if "int" in allowed else allowed[0]
