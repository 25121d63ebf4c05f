"""The elementary functions by name: their code is written once for each type and number of lanes that is used."""

from __future__ import annotations

from collections.abc import Callable

from te.backends.llvm.emitter import Emitter
from te.backends.llvm.math import (
    emulated,
    error_function,
    exponential,
    hyperbolic,
    inverse_trigonometric,
    logarithm,
    power,
    trigonometric,
)
from te.backends.llvm.math.code import Code, Number, square_root
from te.backends.llvm.math.fast import FAST
from te.backends.llvm.values import Value
from te.ir.types import F32, F64, DType

# Functions of at most so many instructions go where they are called: their constants leave the loops, and
# no register is saved around them. Measured for exp, log and tanh of f32: 1.10 times the speed of a call;
# for those of 60 instructions and more no difference.
INLINED = 48


def rsqrt(x: Number) -> Number:
    return 1.0 / square_root(x)


# One function serves both types, or one each.
ELEMENTARY: dict[str, dict[DType, Callable[..., Number]]] = {
    "rsqrt": dict.fromkeys((F32, F64), rsqrt),
    "exp": dict.fromkeys((F32, F64), exponential.exp),
    "exp2": dict.fromkeys((F32, F64), exponential.exp2),
    "expm1": dict.fromkeys((F32, F64), exponential.expm1),
    "sigmoid": dict.fromkeys((F32, F64), exponential.sigmoid),
    "log": dict.fromkeys((F32, F64), logarithm.log),
    "log2": dict.fromkeys((F32, F64), logarithm.log2),
    "log1p": dict.fromkeys((F32, F64), logarithm.log1p),
    "sin": dict.fromkeys((F32, F64), trigonometric.sin),
    "cos": dict.fromkeys((F32, F64), trigonometric.cos),
    "tan": dict.fromkeys((F32, F64), trigonometric.tan),
    "asin": dict.fromkeys((F32, F64), inverse_trigonometric.asin),
    "acos": dict.fromkeys((F32, F64), inverse_trigonometric.acos),
    "atan": dict.fromkeys((F32, F64), inverse_trigonometric.atan),
    "atan2": dict.fromkeys((F32, F64), inverse_trigonometric.atan2),
    "sinh": dict.fromkeys((F32, F64), hyperbolic.sinh),
    "cosh": dict.fromkeys((F32, F64), hyperbolic.cosh),
    "tanh": dict.fromkeys((F32, F64), hyperbolic.tanh),
    "asinh": dict.fromkeys((F32, F64), hyperbolic.asinh),
    "acosh": dict.fromkeys((F32, F64), hyperbolic.acosh),
    "atanh": dict.fromkeys((F32, F64), hyperbolic.atanh),
    "erf": dict.fromkeys((F32, F64), error_function.erf),
    "erfc": dict.fromkeys((F32, F64), error_function.erfc),
    "pow": dict.fromkeys((F32, F64), power.pow),
}

# What some CPUs have no instruction for; f64 multiply-adds are left to the C library there.
EMULATED: dict[str, dict[DType, Callable[..., Number]]] = {
    "fma": {F32: emulated.fused_multiply_add},
    "round": dict.fromkeys((F32, F64), emulated.round_to_even),
    "trunc": dict.fromkeys((F32, F64), emulated.truncate),
    "floor": dict.fromkeys((F32, F64), emulated.floor),
    "ceil": dict.fromkeys((F32, F64), emulated.ceil),
}


def is_emulated(emit: Emitter, name: str, dtype: DType) -> bool:
    """Whether the target has no instruction for a function of `EMULATED`."""
    has_it = emit.module.has_fma if name == "fma" else emit.module.has_rounding
    return not has_it and dtype in EMULATED.get(name, ())


def call(emit: Emitter, name: str, args: list[Value]) -> Value:
    """A call of the function's code in this module."""
    first = args[0]
    symbol = _define(emit, name, first.dtype, first.lanes)
    text = f"call {first.type} @{symbol}({', '.join(a.typed for a in args)})"
    return emit.pure(text, first.dtype, args, first.lanes, costly=True)


def _define(emit: Emitter, name: str, dtype: DType, lanes: int) -> str:
    module = emit.module
    symbol = f"te.{name}.{dtype}" + (f".v{lanes}" if lanes > 1 else "")
    if not module.is_new(symbol):
        return symbol
    code = Code(module, lanes)
    letters = {"pow": "xy", "atan2": "xy", "fma": "xyz"}.get(name, "x")
    parameters = [Number(code, dtype, f"%{letter}") for letter in letters]
    is_fast = module.has_fast_math and module.has_fma and dtype == F32 and name in FAST
    function = FAST[name] if is_fast else (ELEMENTARY | EMULATED)[name][dtype]
    result = function(*parameters)
    attributes = "#0 alwaysinline" if len(code.lines) <= INLINED and code.block == "entry" else "#0"
    head = (
        f"define internal {result.type} @{symbol}({', '.join(p.typed for p in parameters)}) {attributes} {{"
    )
    module.functions.append("\n".join([head, "entry:", *code.lines, f"  ret {result.typed}", "}", ""]))
    return symbol
