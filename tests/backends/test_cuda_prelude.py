"""What emitted CUDA code calls, beside the interpreter: all operators and casts of all dtypes, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from te.backends.cuda import prelude
from te.backends.interp.arithmetic import FUNCTIONS as INTERPRETED
from te.backends.interp.arithmetic import quietly
from te.backends.interp.casts import cast
from te.backends.llvm.math import table
from te.backends.llvm.math.fast import FAST
from te.ir.expr import ARITHMETIC, BITWISE, FUNCTIONS, PREDICATES
from te.ir.types import BOOL, DTYPES, F32, F64, DType, integer_limits, numpy_dtype
from te.target import parse_target
from tests.backends.math_reference import Compiled, samples_f32
from tests.backends.prelude_on_cpu import OnCPU, check_syntax, gxx
from tests.machines import NATIVE

Array = np.ndarray[Any, Any]

INTEGERS = [t for t in DTYPES.values() if t.is_integer]
FLOATS = [F32, F64]
PAIRS = list(permutations(DTYPES.values(), 2))
IN_C = {"/", "neg", "&", "|", "^", "~", "+", "-", "*"}  # what C++ computes as the language says it
EXACT = ["min", "max", "abs", "sign", "fma", "floor", "ceil", "round", "trunc", "sqrt", "rsqrt"]


def operators() -> Iterator[tuple[str, DType, int, DType]]:
    """What has a function of its own, and is exact: operator, dtype, arguments and result."""
    for t in INTEGERS:
        yield from ((op, t, 1, t) for op in ("neg", "abs", "sign", "popcount"))
        yield from ((op, t, 2, t) for op in ("+", "-", "*", "//", "%", "<<", ">>", "min", "max"))
    for t in FLOATS:
        yield from ((op, t, FUNCTIONS[op][1], t) for op in EXACT)
        yield from ((op, t, 1, BOOL) for op in PREDICATES)


OPERATORS = list(operators())
ELEMENTARY = [(name, t) for name in table.ELEMENTARY for t in FLOATS]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> OnCPU:
    wanted = {prelude.function_name(op, t): ([t] * arity, r) for op, t, arity, r in OPERATORS}
    wanted |= {prelude.function_name(op, t): ([t] * FUNCTIONS[op][1], t) for op, t in ELEMENTARY}
    wanted |= {prelude.function_name(op, F32, fast=True): ([F32] * FUNCTIONS[op][1], F32) for op in FAST}
    wanted |= {prelude.cast_name(a, b): ([a], b) for a, b in PAIRS}
    return OnCPU(wanted, tmp_path_factory.mktemp("prelude"))


def values(dtype: DType) -> Array:
    """Values of a dtype: all of them where there are few; else special ones and random bits."""
    rng = np.random.default_rng(0)
    if dtype == BOOL:
        return np.array([False, True])
    words = numpy_dtype(DTYPES[f"u{dtype.bits}"])
    if dtype.bits <= 16:
        return np.arange(1 << dtype.bits, dtype=np.uint64).astype(words).view(numpy_dtype(dtype))
    bits = (
        rng.integers(0, 1 << dtype.bits, 4000, dtype=np.uint64, endpoint=False)
        if dtype.bits < 64
        else (rng.integers(0, (1 << 64) - 1, 4000, dtype=np.uint64, endpoint=True))
    )
    return np.concatenate([special(dtype), bits.astype(words).view(numpy_dtype(dtype))])


def special(dtype: DType) -> Array:
    """Limits of all types, their neighbours, and powers of two and theirs."""
    with quietly():
        limits = [limit for t in INTEGERS for limit in integer_limits(t)]
        powers = [sign << exponent for exponent in range(64) for sign in (1, -1)]
        near = [v + step for v in (*limits, *powers) for step in (-1, 0, 1)]
        if dtype.is_integer:
            low, high = integer_limits(dtype)
            return np.array(sorted({v for v in near if low <= v <= high}), numpy_dtype(dtype))
        wide = np.array(near + [v / 2 for v in near] + [2.0**e for e in range(-160, 130)], np.float64)
        rest = [0.0, np.inf, np.nan, 448, 464, 480, 57344, 61440, 65504, 65519.99, 65520, 3.39e38, 1e-45]
        all = np.concatenate([wide, np.array(rest), wide * (1 + 2**-8), wide * (1 + 2**-11 + 2**-30)])
        kind = numpy_dtype(dtype).type
        all = all.astype(kind)
        return np.concatenate([all, -all, np.nextafter(all, kind(0)), np.nextafter(all, kind(np.inf))])


def columns(dtype: DType, arity: int) -> list[Array]:
    rng = np.random.default_rng(1)
    if arity == 1:
        return [values(dtype)]
    few = special(dtype) if dtype.bits > 16 else rng.choice(values(dtype), 200)
    few = np.concatenate([few, np.array([0, 1, 2, 3, 5], few.dtype)])
    if arity == 3:
        few = rng.choice(few, (3, 20000))
        return list(few)
    x, y = np.meshgrid(rng.choice(few, min(300, few.size), replace=False), few)
    return [x.ravel(), y.ravel()]


def assert_same(got: Array, wanted: Array) -> None:
    """The same bits, or both NaN."""
    assert got.dtype == wanted.dtype
    words = f"u{got.dtype.itemsize}"
    with quietly():
        same = (got.view(words) == wanted.view(words)) | ((got != got) & (wanted != wanted))
    assert same.all(), (np.flatnonzero(~same)[:5], got[~same][:5], wanted[~same][:5])


@gxx
@pytest.mark.gxx
@pytest.mark.parametrize(("op", "dtype", "arity", "result"), OPERATORS, ids=lambda v: str(v))
def test_operators(compiled: OnCPU, op: str, dtype: DType, arity: int, result: DType) -> None:
    arguments = columns(dtype, arity)
    with quietly():
        wanted = INTERPRETED[op](*arguments)
    if op == "rsqrt":
        with quietly():
            wanted = 1 / np.sqrt(arguments[0])  # rounded twice, as in the other backends
    got = compiled(prelude.function_name(op, dtype), *arguments)
    assert_same(got, np.asarray(wanted, numpy_dtype(result)))


@gxx
@pytest.mark.gxx
@pytest.mark.parametrize(("source", "to"), PAIRS, ids=lambda t: str(t))
def test_casts(compiled: OnCPU, source: DType, to: DType) -> None:
    x = values(source)
    with quietly():
        wanted = np.asarray(cast(x, to))
    assert_same(compiled(prelude.cast_name(source, to), x), wanted)


# ---------------------------------------------------------------- elementary functions


def arguments_of(name: str, dtype: DType) -> list[Array]:
    rng = np.random.default_rng(0)
    x = samples_f32(rng)
    if dtype == F64:
        words = rng.integers(0, (1 << 64) - 1, 1 << 15, dtype=np.uint64).view(np.float64)
        with quietly():
            near = np.concatenate([x[::8], rng.uniform(-30, 30, 1 << 15)]) * (1 + rng.uniform(0, 1e-7))
        x = np.concatenate([words, near, special(F64)])
    x = x[: x.size // 64 * 64]
    if name not in ("pow", "atan2"):
        return [x]
    y = rng.permutation(x)
    if name == "pow":  # half of them where the result is neither 0 nor infinite
        with quietly():
            ordinary = rng.uniform(-140, 120, x.size) / np.log2(np.abs(x.astype(np.float64)))
        y[::2] = ordinary[::2].astype(y.dtype)
        y[::16], x[::48] = (
            np.rint(rng.uniform(-9, 9, y[::16].size)),
            rng.choice([-0.0, 0.0, -1, 1, np.inf, -np.inf]),
        )
    return [x, y]


@gxx
@pytest.mark.gxx
@pytest.mark.skipif("llvm.avx2" not in NATIVE, reason="needs a CPU with AVX2 and FMA")
@pytest.mark.parametrize(("name", "dtype"), ELEMENTARY, ids=lambda v: str(v))
def test_elementary_functions_have_the_bits_of_the_llvm_backend(
    compiled: OnCPU, name: str, dtype: DType
) -> None:
    arguments = arguments_of(name, dtype)
    lanes = 8 if dtype == F32 else 4
    wanted = Compiled(name, dtype, arguments[0].size, lanes, parse_target("llvm.avx2"))(*arguments)
    assert_same(compiled(prelude.function_name(name, dtype), *arguments), wanted)


@gxx
@pytest.mark.gxx
@pytest.mark.skipif("llvm.avx2" not in NATIVE, reason="needs a CPU with AVX2 and FMA")
@pytest.mark.parametrize("name", sorted(FAST))
def test_fast_functions_have_the_bits_of_the_llvm_backend(compiled: OnCPU, name: str) -> None:
    arguments = arguments_of(name, F32)
    target = parse_target("llvm.avx2")
    wanted = Compiled(name, F32, arguments[0].size, 8, target, fast=True)(*arguments)
    assert_same(compiled(prelude.function_name(name, F32, fast=True), *arguments), wanted)


def test_the_fast_functions_are_those_of_the_llvm_backend() -> None:
    assert set(FAST) == prelude.FAST


def test_every_operator_has_a_function_or_is_c() -> None:
    kinds = {"number": INTEGERS + FLOATS, "integer": INTEGERS, "float": FLOATS}
    wanted = ARITHMETIC | BITWISE | PREDICATES
    wanted |= {op: kind for op, (kind, _) in FUNCTIONS.items()} | {"popcount": "integer"}
    lacking = {
        prelude.function_name(op, t)
        for op, kind in wanted.items()
        for t in kinds[kind]
        if not (op in IN_C and (t.is_float or op in BITWISE or op == "/"))
        and prelude.function_name(op, t) not in prelude.names()
    }
    assert lacking == set()


@gxx
@pytest.mark.gxx
def test_each_function_compiles_with_its_own_definitions_alone(tmp_path: Path) -> None:
    functions = [prelude.function_name(op, t) for op, t, _, _ in OPERATORS]
    functions += [prelude.function_name(op, t) for op, t in ELEMENTARY]
    functions += [prelude.function_name(op, F32, fast=True) for op in FAST]
    functions += [prelude.cast_name(a, b) for a, b in PAIRS]
    used = [f"{prelude.definitions(f)}auto *used = (void *){f};" for f in dict.fromkeys(functions)]
    spaces = [f"namespace n{number} {{\n{text}\n}}" for number, text in enumerate(used)]
    check_syntax("\n".join(spaces), tmp_path)


def test_what_is_for_other_floats_is_left_out() -> None:
    text = prelude.definitions("te_exp_f32(x)")
    assert "double" not in text
    assert "te_exp_tail(float" in text


def test_definitions_stand_before_what_needs_them() -> None:
    text = prelude.definitions("te_cast_i64_f8e5m2")
    places = [
        text.index(name)
        for name in ("typedef unsigned int te_u32", "te_u32 te_narrow(", "te_cast_f32_f8e5m2(")
    ]
    assert places == sorted(places)
    assert "te_exp" not in text
