"""The functions of the language on floats: the one place that says how each is computed.

LLVM computes the first group itself, as instructions where the machine has them and otherwise by a
call of the C library for each lane. The second group is called in the C library by name.
"""

from __future__ import annotations

from collections.abc import Callable

from te.backends.llvm.arithmetic import compare, extreme
from te.backends.llvm.emitter import Emitter
from te.backends.llvm.values import Value, constant, scalar_type
from te.ir.types import BOOL, F32

# The name in the language, and LLVM's.
INTRINSICS = {
    "floor": "floor",
    "ceil": "ceil",
    "trunc": "trunc",
    "round": "roundeven",
    "sqrt": "sqrt",
    "exp": "exp",
    "exp2": "exp2",
    "log": "log",
    "log2": "log2",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "asin",
    "acos": "acos",
    "atan": "atan",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "pow": "pow",
    "atan2": "atan2",
    "fma": "fma",
}
CHEAP = {"floor", "ceil", "trunc", "round", "fma"}
LIBRARY = {"expm1", "log1p", "asinh", "acosh", "atanh", "erf", "erfc"}


def is_call(op: str) -> bool:
    """Whether an operator is computed by calls of the C library."""
    return op in LIBRARY or op == "sigmoid" or (op in INTRINSICS and op not in CHEAP and op != "sqrt")


def function(emit: Emitter, name: str, args: list[Value]) -> Value:
    """A function or predicate by its name in the language."""
    first = args[0]
    if name in ("min", "max"):
        return extreme(emit, name, *args)
    if name in INTRINSICS:
        return emit.intrinsic(INTRINSICS[name], args, costly=name not in CHEAP)
    if name in LIBRARY:
        return _library_call(emit, name, args)
    return COMPOSED[name](emit, first)


def _library_call(emit: Emitter, name: str, args: list[Value]) -> Value:
    """A call of the C library; for vectors through a function of this module with one call a lane."""
    first = args[0]
    scalar = name + ("f" if first.dtype == F32 else "")
    if first.lanes == 1:
        return emit.call(scalar, first.dtype, args)
    element, vector = scalar_type(first.dtype), first.type
    parameters = [f"%{'abc'[i]}" for i in range(len(args))]
    wide = f"te.{scalar}.v{first.lanes}"
    if emit.module.is_new(wide):
        emit.module.declare(f"declare {element} @{scalar}({', '.join([element] * len(args))})")
        lines = [f"define internal {vector} @{wide}({', '.join(f'{vector} {p}' for p in parameters)}) #0 {{"]
        total = "poison"
        for lane in range(first.lanes):
            operands = []
            for p in parameters:
                lines.append(f"  {p}{lane} = extractelement {vector} {p}, i64 {lane}")
                operands.append(f"{element} {p}{lane}")
            lines.append(f"  %r{lane} = call {element} @{scalar}({', '.join(operands)})")
            lines.append(f"  %t{lane} = insertelement {vector} {total}, {element} %r{lane}, i64 {lane}")
            total = f"%t{lane}"
        lines += [f"  ret {vector} {total}", "}", ""]
        emit.module.functions.append("\n".join(lines))
    text = f"call {vector} @{wide}({', '.join(v.typed for v in args)})"
    return emit.pure(text, first.dtype, args, first.lanes, costly=True)


# ---------------------------------------------------------------- composed of other operations


def _absolute(emit: Emitter, a: Value) -> Value:
    if a.dtype.is_float:
        return emit.intrinsic("fabs", [a])
    if not a.dtype.is_signed:
        return a
    name = f"llvm.abs.{'' if a.lanes == 1 else f'v{a.lanes}'}i{a.dtype.bits}"
    emit.module.declare(f"declare {a.type} @{name}({a.type}, i1)")
    # `i1 false`: the smallest integer is its own absolute value, not undefined.
    return emit.pure(f"call {a.type} @{name}({a.typed}, i1 false)", a.dtype, [a], a.lanes)


def _sign(emit: Emitter, a: Value) -> Value:
    """-1, 0 or 1; of floats NaN stays, and zeros keep their sign."""
    zero, one = constant(0, a.dtype, a.lanes), constant(1, a.dtype, a.lanes)
    other = a
    if a.dtype.is_signed:
        other = emit.select(compare(emit, "<", a, zero), constant(-1, a.dtype, a.lanes), a)
    return emit.select(compare(emit, ">", a, zero), one, other)


def _popcount(emit: Emitter, a: Value) -> Value:
    return emit.intrinsic("ctpop", [a])


def _reciprocal_root(emit: Emitter, a: Value) -> Value:
    return _quotient(emit, constant(1.0, a.dtype, a.lanes), emit.intrinsic("sqrt", [a], costly=True))


def _sigmoid(emit: Emitter, a: Value) -> Value:
    one = constant(1.0, a.dtype, a.lanes)
    negative = emit.pure(f"fneg {a.typed}", a.dtype, [a], a.lanes)
    power = emit.intrinsic("exp", [negative], costly=True)
    return _quotient(emit, one, emit.pure(f"fadd {one.typed}, {power.text}", a.dtype, [power], a.lanes))


def _quotient(emit: Emitter, a: Value, b: Value) -> Value:
    return emit.pure(f"fdiv {a.typed}, {b.text}", a.dtype, [a, b], a.lanes)


def _is_nan(emit: Emitter, a: Value) -> Value:
    return emit.pure(f"fcmp uno {a.typed}, {a.text}", BOOL, [a], a.lanes)


def _is_infinite(emit: Emitter, a: Value) -> Value:
    return _against_infinity(emit, "oeq", a)


def _is_finite(emit: Emitter, a: Value) -> Value:
    return _against_infinity(emit, "olt", a)  # not for NaN: the comparison is ordered


def _against_infinity(emit: Emitter, comparison: str, a: Value) -> Value:
    size = emit.intrinsic("fabs", [a])
    infinity = constant(float("inf"), a.dtype, a.lanes)
    return emit.pure(f"fcmp {comparison} {size.typed}, {infinity.text}", BOOL, [size], a.lanes)


COMPOSED: dict[str, Callable[[Emitter, Value], Value]] = {
    "abs": _absolute,
    "sign": _sign,
    "popcount": _popcount,
    "rsqrt": _reciprocal_root,
    "sigmoid": _sigmoid,
    "isnan": _is_nan,
    "isinf": _is_infinite,
    "isfinite": _is_finite,
}
