"""Programs built by hand, for tests that must not depend on the parser and the elaborator.

Expressions are given as text and read by Python's own parser, whose precedences are the
language's; literals take their type from the other operand.
"""

import ast

from te.ir.expr import (
    FUNCTIONS,
    PREDICATES,
    TRUE,
    Cast,
    Const,
    Expr,
    Load,
    Op,
    Select,
    Var,
)
from te.ir.tensor import Axis, Program, Reduction, Requirement, Stage, Tensor
from te.ir.types import BOOL, DTYPES, I64, DType, numpy_dtype
from te.ir.visit import variables

BINARY = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "pow",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
}
COMPARE = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
NAMED = {"inf": float("inf"), "nan": float("nan"), "true": True, "false": False}


def read(text: str, tensors: dict[str, DType] | None = None, literals: DType | None = None) -> Expr:
    """The expression that a text says; `literals` is the type of literals without a typed neighbour."""
    return _Reader(tensors or {}).build(ast.parse(text.strip(), mode="eval").body, literals)


class _Reader:
    def __init__(self, tensors: dict[str, DType]):
        self.tensors = tensors

    def type_of(self, node: ast.expr) -> DType | None:
        """The type a node has of itself; None for literals and what consists of them."""
        match node:
            case ast.Name(id=name):
                return (
                    BOOL
                    if name in ("true", "false")
                    else None
                    if name in NAMED
                    else self.tensors.get(name, I64)
                )
            case ast.Subscript(value=ast.Name(id=name)):
                return self.tensors[name]
            case ast.BinOp():
                return self.type_of(node.left) or self.type_of(node.right)
            case ast.UnaryOp(op=ast.Not()) | ast.BoolOp() | ast.Compare():
                return BOOL
            case ast.UnaryOp():
                return self.type_of(node.operand)
            case ast.Call(func=ast.Name(id=name), args=args):
                if name in DTYPES:
                    return DTYPES[name]
                types = [self.type_of(a) for a in (args[1:] if name == "where" else args)]
                return BOOL if name in PREDICATES else next((t for t in types if t), None)
        return None

    def build(self, node: ast.expr, literals: DType | None) -> Expr:
        own = self.type_of(node) or literals
        match node:
            case ast.Constant(value=value):
                return self.literal(value, own or I64)
            case ast.Name(id=name) if name in NAMED:
                return Const(NAMED[name], own)
            case ast.Name(id=name):
                return Load(name, (), self.tensors[name]) if name in self.tensors else Var(name)
            case ast.Subscript(value=ast.Name(id=name), slice=index):
                indices = index.elts if isinstance(index, ast.Tuple) else [index]
                return Load(name, tuple(self.build(i, I64) for i in indices), self.tensors[name])
            case ast.BinOp():
                return Op(
                    BINARY[type(node.op)], (self.build(node.left, own), self.build(node.right, own)), own
                )
            case ast.UnaryOp(op=ast.Not()):
                return Op("not", (self.build(node.operand, None),), BOOL)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
                return self.literal(-value, own or I64)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id="inf")):
                return Const(float("-inf"), own)
            case ast.UnaryOp():
                return Op(
                    "~" if isinstance(node.op, ast.Invert) else "neg", (self.build(node.operand, own),), own
                )
            case ast.BoolOp():
                parts = [self.build(v, None) for v in node.values]
                whole = parts[0]
                for part in parts[1:]:
                    whole = Op("and" if isinstance(node.op, ast.And) else "or", (whole, part), BOOL)
                return whole
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                sides = self.type_of(left) or self.type_of(right) or literals
                return Op(COMPARE[type(op)], (self.build(left, sides), self.build(right, sides)), BOOL)
            case ast.Call(func=ast.Name(id=name), args=args):
                return self.call(name, args, own)
        raise ValueError(ast.dump(node))

    def literal(self, value: object, dtype: DType) -> Const:
        if dtype.is_float:
            return Const(float(numpy_dtype(dtype).type(value)), dtype)
        return Const(value, dtype)

    def call(self, name: str, args: list[ast.expr], own: DType | None) -> Expr:
        if name in DTYPES:
            inner = self.build(args[0], self.type_of(args[0]) or (DTYPES[name] if name == "bool" else None))
            # A cast of a literal is the literal.
            return (
                self.literal(inner.value, DTYPES[name])
                if isinstance(inner, Const)
                else Cast(inner, DTYPES[name])
            )
        if name == "where":
            return Select(self.build(args[0], None), self.build(args[1], own), self.build(args[2], own))
        assert name in FUNCTIONS or name in PREDICATES or name == "popcount", name
        inner_type = next((t for t in map(self.type_of, args) if t), own)
        return Op(name, tuple(self.build(a, inner_type) for a in args), own)


def tensor(name: str, dtype: DType, *shape: str) -> Tensor:
    return Tensor(name, dtype, tuple(read(d) for d in shape))


class Builder:
    """Collects a program's inputs and stages.

    >>> from te.ir.types import F32
    >>> b = Builder("double").input("X", F32, "N").define("Y", F32, "i < N", "X[i] * 2")
    >>> b.program().sizes
    ('N',)
    """

    def __init__(self, name: str):
        self.name = name
        self.inputs: list[Tensor] = []
        self.stages: list[Stage] = []
        self.requirements: list[Requirement] = []

    @property
    def tensors(self) -> dict[str, DType]:
        return {t.name: t.dtype for t in (*self.inputs, *(s.tensor for s in self.stages))}

    def input(self, name: str, dtype: DType, *shape: str) -> "Builder":
        self.inputs.append(tensor(name, dtype, *shape))
        return self

    def require(self, condition: str) -> "Builder":
        self.requirements.append(Requirement(read(condition), condition))
        return self

    def define(
        self,
        name: str,
        dtype: DType,
        axes: str,
        value: str,
        reducer: str = "",
        over: str = "",
        where: str = "",
    ) -> "Builder":
        """`axes` and `over` are ranges, `i < M, j < N`; a `reducer` reduces `value` over the latter."""
        expr = read(value, self.tensors, dtype)
        reduction = None
        if reducer:
            condition = read(where, self.tensors) if where else TRUE
            reduction = Reduction(reducer, ranges(over), condition)
        box = ranges(axes)
        shape = tuple(a.extent for a in box)
        self.stages.append(Stage(Tensor(name, dtype, shape), box, expr, reduction))
        return self

    def program(self, *results: str) -> Program:
        sizes: dict[str, None] = {}
        for t in self.inputs:
            for d in t.shape:
                sizes.update(dict.fromkeys(sorted(variables(d))))
        return Program(
            name=self.name,
            doc="",
            sizes=tuple(sizes),
            fixed=(),
            consts=(),
            inputs=tuple(self.inputs),
            results=results or (self.stages[-1].name,),
            stages=tuple(self.stages),
            requirements=tuple(self.requirements),
        )


def ranges(text: str) -> tuple[Axis, ...]:
    parts = [part.split("<", 1) for part in _split(text)]
    return tuple(Axis(name.strip(), read(extent)) for name, extent in parts)


def _split(text: str) -> list[str]:
    """At the commas outside parentheses."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [p for p in parts if p.strip()]
