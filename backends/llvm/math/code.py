"""A function of floats, written in LLVM IR with Python's operators.

`Code` is one function of the emitted module; a `Number` is a value in it: a scalar or, in the same
words, a vector. A literal takes the type of the other operand. Every operation rounds as IEEE 754
says and none is fused by the compiler, so a scalar and a lane of any vector get the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from te.backends.llvm.module import ModuleText
from te.backends.llvm.values import constant, suffix, type_of
from te.ir.types import BOOL, F32, F64, I32, I64, DType

I128 = DType("i128", "int", 128)


class Code:
    """The lines of one function that are written already. A line that stands there is not written again."""

    def __init__(self, module: ModuleText, lanes: int):
        self.module = module
        self.lanes = lanes
        self.lines: list[str] = []
        self.block = "entry"
        self._known: dict[str, str] = {}
        self._names = 0

    def fresh(self, hint: str = "v") -> str:
        self._names += 1
        return f"{hint}{self._names}"

    def write(self, text: str, dtype: DType) -> Number:
        name = self._known.get(text)
        if name is None:
            name = self._known[text] = f"%{self.fresh()}"
            self.lines.append(f"  {name} = {text}")
            self.module.count(self.lanes, dtype)
        return Number(self, dtype, name)

    def call(self, name: str, dtype: DType, args: Sequence[Number]) -> Number:
        """A call of an intrinsic of LLVM."""
        result = type_of(dtype, self.lanes)
        self.module.declare(f"declare {result} @{name}({', '.join(a.type for a in args)})")
        return self.write(f"call {result} @{name}({', '.join(a.typed for a in args)})", dtype)

    def start_block(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.block = label

    def unlikely(
        self, mask: Number, usual: Sequence[Number], rare: Callable[[], Sequence[Number]]
    ) -> list[Number]:
        """`usual`, or where a lane of the mask is set, what `rare` writes; it stands in a block of its own."""
        any_lane = mask.text
        if self.lanes > 1:
            reduce = f"llvm.vector.reduce.or.v{self.lanes}i1"
            self.module.declare(f"declare i1 @{reduce}({mask.type})")
            any_lane = self.write(f"call i1 @{reduce}({mask.typed})", BOOL).text
        before, yes, end = self.block, self.fresh("rare"), self.fresh("end")
        weights = '!{!"branch_weights", i32 1, i32 1000}'
        self.lines.append(f"  br i1 {any_lane}, label %{yes}, label %{end}, !prof {weights}")
        known = dict(self._known)
        self.start_block(yes)
        others = rare()
        after = self.block
        self._known = known
        self.lines.append(f"  br label %{end}")
        self.start_block(end)
        return [
            self.write(f"phi {a.type} [ {a.text}, %{before} ], [ {b.text}, %{after} ]", a.dtype)
            for a, b in zip(usual, others, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    code: Code
    dtype: DType
    text: str

    @property
    def type(self) -> str:
        return type_of(self.dtype, self.code.lanes)

    @property
    def typed(self) -> str:
        return f"{self.type} {self.text}"

    @property
    def is_f32(self) -> bool:
        return self.dtype == F32

    def like(self, value: Operand) -> Number:
        """The operand as a number of this one's type."""
        if isinstance(value, Number):
            return value
        return Number(self.code, self.dtype, constant(value, self.dtype, self.code.lanes).text)

    def _binary(self, float_name: str, integer_name: str, other: Operand, *, swap: bool = False) -> Number:
        a, b = self, self.like(other)
        if swap:
            a, b = b, a
        name = float_name if self.dtype.is_float else integer_name
        return self.code.write(f"{name} {a.typed}, {b.text}", self.dtype)

    def __add__(self, other: Operand) -> Number:
        return self._binary("fadd", "add", other)

    def __radd__(self, other: Operand) -> Number:
        return self._binary("fadd", "add", other, swap=True)

    def __sub__(self, other: Operand) -> Number:
        return self._binary("fsub", "sub", other)

    def __rsub__(self, other: Operand) -> Number:
        return self._binary("fsub", "sub", other, swap=True)

    def __mul__(self, other: Operand) -> Number:
        return self._binary("fmul", "mul", other)

    def __rmul__(self, other: Operand) -> Number:
        return self._binary("fmul", "mul", other, swap=True)

    def __truediv__(self, other: Operand) -> Number:
        return self._binary("fdiv", "", other)

    def __rtruediv__(self, other: Operand) -> Number:
        return self._binary("fdiv", "", other, swap=True)

    def __neg__(self) -> Number:
        return self.code.write(f"fneg {self.typed}", self.dtype)

    def __and__(self, other: Operand) -> Number:
        return self._binary("", "and", other)

    def __or__(self, other: Operand) -> Number:
        return self._binary("", "or", other)

    def __xor__(self, other: Operand) -> Number:
        return self._binary("", "xor", other)

    def __invert__(self) -> Number:
        """`not`, of truth values."""
        return self._binary("", "xor", True)

    def __lshift__(self, count: Operand) -> Number:
        return self._binary("", "shl", count)

    def __rshift__(self, count: Operand) -> Number:
        """The logical shift: zeros come in."""
        return self._binary("", "lshr", count)

    def _compare(self, float_name: str, integer_name: str, other: Operand) -> Number:
        name = f"fcmp {float_name}" if self.dtype.is_float else f"icmp {integer_name}"
        return self.code.write(f"{name} {self.typed}, {self.like(other).text}", BOOL)

    # Comparisons with a NaN are false, as in Python.
    def __lt__(self, other: Operand) -> Number:
        return self._compare("olt", "slt", other)

    def __le__(self, other: Operand) -> Number:
        return self._compare("ole", "sle", other)

    def __gt__(self, other: Operand) -> Number:
        return self._compare("ogt", "sgt", other)

    def __ge__(self, other: Operand) -> Number:
        return self._compare("oge", "sge", other)

    def equals(self, other: Operand) -> Number:
        return self._compare("oeq", "eq", other)

    def is_unordered(self, other: Number) -> Number:
        """Whether one of the two is NaN."""
        return self._compare("uno", "", other)

    # ---------------------------------------------------------------- bits and conversions

    def bits(self) -> Number:
        """The float's representation as an integer."""
        return self._convert("bitcast", I32 if self.is_f32 else I64)

    def as_float(self) -> Number:
        """The float that the integer represents."""
        return self._convert("bitcast", F32 if self.dtype == I32 else F64)

    def widen(self) -> Number:
        return self._convert("fpext", F64)

    def narrow(self) -> Number:
        return self._convert("fptrunc", F32)

    def to(self, dtype: DType) -> Number:
        """An integer in another width (the sign is kept), or as a float."""
        if dtype.is_float:
            return self._convert("sitofp", dtype)
        return self._convert("trunc" if dtype.bits < self.dtype.bits else "sext", dtype)

    def unsigned_to(self, dtype: DType) -> Number:
        return self._convert("zext", dtype)

    def _convert(self, name: str, dtype: DType) -> Number:
        return self.code.write(f"{name} {self.typed} to {type_of(dtype, self.code.lanes)}", dtype)

    def arithmetic_shift(self, count: int) -> Number:
        return self._binary("", "ashr", count)

    def frozen(self) -> Number:
        """The number, defined in every lane: what a branch may depend on."""
        return self.code.write(f"freeze {self.typed}", self.dtype)


Operand: TypeAlias = "Number | int | float"


def _intrinsic(name: str, *args: Number) -> Number:
    first = args[0]
    return first.code.call(f"llvm.{name}.{suffix(first.dtype, first.code.lanes)}", first.dtype, args)


def absolute(x: Number) -> Number:
    return _intrinsic("fabs", x)


def square_root(x: Number) -> Number:
    return _intrinsic("sqrt", x)


def copy_sign(size: Number, sign: Number) -> Number:
    return _intrinsic("copysign", size, sign)


def truncated(x: Number) -> Number:
    """By the instruction, which a CPU may lack: see `emulated.truncate`."""
    return _intrinsic("trunc", x)


def floored(x: Number) -> Number:
    return _intrinsic("floor", x)


def rounded_to_even(x: Number) -> Number:
    return _intrinsic("roundeven", x)


def select(condition: Number, then: Operand, otherwise: Operand) -> Number:
    kind = then if isinstance(then, Number) else otherwise
    assert isinstance(kind, Number)
    a, b = kind.like(then), kind.like(otherwise)
    return a.code.write(f"select {condition.typed}, {a.typed}, {b.typed}", a.dtype)


def clamp(x: Number, low: float | None, high: float | None) -> Number:
    """The number within bounds; NaN stays. (One `min` or `max` of x86 each: it gives the second of unordered.)"""
    if high is not None:
        x = select(x.like(high) < x, high, x)
    if low is not None:
        x = select(x.like(low) > x, low, x)
    return x


def multiply_add(a: Number, b: Operand, c: Operand) -> Number:
    """`a * b + c`: fused where the machine can, rounded twice elsewhere. Exactness must not rest on it."""
    if a.code.module.has_fma:
        return _intrinsic("fma", a, a.like(b), a.like(c))
    return a * b + c


def horner(x: Number, coefficients: Sequence[float]) -> Number:
    """The polynomial; the constant coefficient comes first."""
    total = x.like(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = multiply_add(total, x, c)
    return total


# ---------------------------------------------------------------- sums and products with their errors


def two_sum(a: Number, b: Number) -> tuple[Number, Number]:
    """The rounded sum and its error, exactly (Knuth)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def fast_two_sum(a: Number, b: Number) -> tuple[Number, Number]:
    """The same where |a| >= |b| or a is 0 (Dekker)."""
    total = a + b
    return total, b - (total - a)


def two_product(a: Number, b: Number) -> tuple[Number, Number]:
    """The rounded product and its error, exactly where nothing over- or underflows."""
    product = a * b
    return product, -product_error(a, b, product)


def product_error(a: Number, b: Number, product: Number) -> Number:
    """`product - a * b`, for a number near to the product. Without FMA by Dekker's way: by halves."""
    if a.code.module.has_fma:
        return _intrinsic("fma", -a, b, product)
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return (((product - a_high * b_high) - a_low * b_high) - a_high * b_low) - a_low * b_low


def _halves(x: Number) -> tuple[Number, Number]:
    scaled = x * (4097.0 if x.is_f32 else 134217729.0)  # 2**12 + 1, 2**27 + 1
    high = scaled - (scaled - x)
    return high, x - high
