"""The functions of the language on floats, as code of our own: the C library is not asked.

    basic.py                    what takes an instruction or two
    emulated.py                 the same where the CPU lacks them
    table.py                    the others by name; each is written into a module once for a type and a width
    code.py                     the notation in which they are written
    exponential.py ...          one family a file, with its method, sources and coefficients

docs/accuracy.md says how far each is from the exact value.
"""

from __future__ import annotations

from math import inf, sqrt

from te.backends.llvm.arithmetic import extreme
from te.backends.llvm.emitter import Emitter
from te.backends.llvm.math.basic import COMPOSED, INTRINSICS, constant_power
from te.backends.llvm.math.table import ELEMENTARY, call, is_emulated
from te.backends.llvm.values import Value, constant
from te.ir.floats import nearest

__all__ = ["function", "is_call"]


def is_call(op: str) -> bool:
    """Whether an operator is a function of many instructions."""
    return op in ELEMENTARY and op != "rsqrt"


def function(emit: Emitter, name: str, args: list[Value]) -> Value:
    """A function or predicate by its name in the language."""
    if name in ("min", "max"):
        return extreme(emit, name, *args)
    number = args[0].constant
    if name == "sqrt" and isinstance(number, float) and 0 <= number < inf:
        return constant(nearest(sqrt(number), args[0].dtype), args[0].dtype, args[0].lanes)
    if name in INTRINSICS and not is_emulated(emit, name, args[0].dtype):
        return emit.intrinsic(INTRINSICS[name], args, costly=name == "sqrt")
    if name in COMPOSED:
        return COMPOSED[name](emit, args[0])
    if name == "pow" and args[1].constant is not None:
        power = constant_power(emit, args[0], float(args[1].constant))
        if power is not None:
            return power
    return call(emit, name, args)
