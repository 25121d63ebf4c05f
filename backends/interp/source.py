"""Scalar expressions as Python text.

Index arithmetic runs on Python's integers, everything else on NumPy scalars, whose
operators wrap and round as the language says. Where only Python's own operator is
lazy (`and`, `or`, a selection), it is used.
"""

from __future__ import annotations

from te.backends.interp.arithmetic import FUNCTIONS, REDUCERS, Value, cast, constant, fma
from te.ir.expr import COMPARISONS, Cast, Const, Expr, Load, Op, Select, Var
from te.ir.types import I64, numpy_dtype, wrap_integer

INFIX = {"+", "-", "*", "/", "&", "|", "^", *COMPARISONS, "and", "or"}
PREFIX = {"neg": "-", "~": "~", "not": "not "}
INDEX_OPERATORS = {"+", "-", "*", "//", "%", "min", "max", "neg"}


def is_index(e: Expr) -> bool:
    """Index arithmetic: it cannot overflow, so Python's integers compute it."""
    match e:
        case Var():
            return True
        case Const():
            return e.dtype == I64
        case Op():
            return e.op in INDEX_OPERATORS and e.dtype == I64 and all(map(is_index, e.args))
        case Load() | Cast() | Select():
            return False


class ExpressionWriter:
    """Writes expressions; `namespace` holds what their text refers to."""

    def __init__(self) -> None:
        self.namespace: dict[str, Value] = {
            "cast": cast,
            "fma": fma,
            "to_i64": lambda value: numpy_dtype(I64).type(wrap_integer(value, I64)),
            "floor_div": lambda a, b: a // b if b else 0,
            "floor_mod": lambda a, b: a % b if b else 0,
        }
        self._names: dict[tuple[str, object], str] = {}

    def variable(self, name: str) -> str:
        return self._name("v", name)

    def buffer(self, name: str) -> str:
        return self._name("b", name)

    def _name(self, prefix: str, key: object) -> str:
        return self._names.setdefault((prefix, key), f"{prefix}{len(self._names)}")

    def hold(self, prefix: str, key: object, value: Value) -> str:
        """The name under which the text finds a value."""
        name = self._name(prefix, key)
        self.namespace[name] = value
        return name

    def value(self, e: Expr) -> str:
        """Text whose value is a NumPy scalar, or a Python bool."""
        match e:
            case Const():
                return self.hold("c", e, constant(e))
            case Var():
                return f"to_i64({self.variable(e.name)})"
            case Load():
                return f"load_{self.buffer(e.buffer)}({', '.join(map(self.integer, e.index))})"
            case Cast():
                return f"cast({self.value(e.value)}, {self.hold('t', e.dtype, e.dtype)})"
            case Select():
                return f"({self.value(e.then)} if {self.value(e.condition)} else {self.value(e.otherwise)})"
            case Op() if is_index(e):
                return f"to_i64({self.integer(e)})"
            case Op() if e.op in COMPARISONS and all(map(is_index, e.args)):
                return self.operation(e.op, *map(self.integer, e.args))
            case Op():
                return self.operation(e.op, *map(self.value, e.args))

    def operation(self, op: str, *args: str) -> str:
        """The text of an operator on texts."""
        if op in INFIX:
            return f"({args[0]} {op} {args[1]})"
        if op in PREFIX:
            return f"({PREFIX[op]}{args[0]})"
        return f"{self.hold('f', op, FUNCTIONS[op])}({', '.join(args)})"

    def step(self, reducer: str, total: str, terms: list[str]) -> str:
        """The text of one step of a reduction; two terms are the factors of a fused one."""
        if len(terms) == 2:
            return f"fma({terms[0]}, {terms[1]}, {total})"
        return self.operation(REDUCERS[reducer], total, terms[0])

    def integer(self, e: Expr) -> str:
        """Text whose value is a Python integer."""
        match e:
            case Const():
                return f"({e.value!r})"
            case Var():
                return self.variable(e.name)
            case Op() if is_index(e):
                return self._index_operation(e)
            case _:
                return f"int({self.value(e)})"

    def _index_operation(self, e: Op) -> str:
        args = [self.integer(a) for a in e.args]
        match e.op:
            case "//" | "%" if not (isinstance(e.args[1], Const) and e.args[1].value):
                return f"{'floor_div' if e.op == '//' else 'floor_mod'}({args[0]}, {args[1]})"
            case "min" | "max":
                return f"{e.op}({args[0]}, {args[1]})"
            case "neg":
                return f"(-{args[0]})"
            case _:
                return f"({args[0]} {e.op} {args[1]})"
