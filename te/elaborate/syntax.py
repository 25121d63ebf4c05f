"""Walking the syntax tree's expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from te.grammar import tree


def sub_expressions(e: tree.Expr | tree.Axis) -> tuple[tree.Expr | tree.Axis, ...]:
    """What stands directly inside an expression, in reading order."""
    match e:
        case tree.Number() | tree.Name() | tree.Pack():
            return ()
        case tree.Unary(operand=operand):
            return (operand,)
        case tree.Binary(left=left, right=right):
            return (left, right)
        case tree.Compare(operands=operands):
            return operands
        case tree.Read(index=index, outside=outside):
            return index if outside is None else (*index, outside)
        case tree.Call(args=args):
            return tuple(a.value for a in args)
        case tree.Reduce(axes=axes, where=where, args=args):
            return (*axes, *(() if where is None else (where,)), *(a.value for a in args))
        case tree.Table(items=items):
            return items
        case tree.Range(extent=extent):
            return (extent,)


def walk_syntax(e: tree.Expr | tree.Axis) -> Iterator[tree.Expr | tree.Axis]:
    yield e
    for part in sub_expressions(e):
        yield from walk_syntax(part)


def names_read(e: tree.Expr | tree.Axis) -> Iterator[tuple[str, tree.Expr]]:
    """Every name that an expression mentions as a value, with the node that does."""
    for node in walk_syntax(e):
        match node:
            case tree.Name(name=name):
                yield name, node
            case tree.Read(name=tree.Name(name=name)):
                yield name, node


def index_names(op: tree.Op) -> set[str]:
    """Every name that an op's body uses as an axis, left of `=` or of a reduction."""
    axes: list[tree.Axis] = []
    for statement in op.body:
        if isinstance(statement, tree.Equation):
            axes += [i for t in statement.targets for i in t.index or ()]
            axes += [i for n in walk_syntax(statement.value) if isinstance(n, tree.Reduce) for i in n.axes]
    return {a.name for a in axes if isinstance(a, tree.Name | tree.Range)}


def map_expression(
    e: tree.Expr, index: Callable[[tuple[tree.Axis, ...]], tuple[tree.Axis, ...]]
) -> tree.Expr:
    """The same expression with `index` applied to what stands in each `[...]`."""

    def axes(items: tuple[tree.Axis, ...]) -> tuple[tree.Axis, ...]:
        return tuple(axis(i) for i in index(items))

    def axis(item: tree.Axis) -> tree.Axis:
        match item:
            case tree.Pack():
                return item
            case tree.Range():
                return replace(item, extent=go(item.extent))
            case _:
                return go(item)

    def arguments(args: tuple[tree.Argument, ...]) -> tuple[tree.Argument, ...]:
        return tuple(replace(a, value=go(a.value)) for a in args)

    def go(e: tree.Expr) -> tree.Expr:
        match e:
            case tree.Number() | tree.Name():
                return e
            case tree.Unary():
                return replace(e, operand=go(e.operand))
            case tree.Binary():
                return replace(e, left=go(e.left), right=go(e.right))
            case tree.Compare():
                return replace(e, operands=tuple(go(o) for o in e.operands))
            case tree.Read():
                outside = None if e.outside is None else go(e.outside)
                return replace(e, index=axes(e.index), outside=outside)
            case tree.Call():
                return replace(e, args=arguments(e.args))
            case tree.Reduce():
                where = None if e.where is None else go(e.where)
                return replace(e, axes=axes(e.axes), where=where, args=arguments(e.args))
            case tree.Table():
                return replace(e, items=tuple(go(i) for i in e.items))

    return go(e)


def names_of_op(op: tree.Op) -> set[str]:
    """Every name that stands anywhere in an op."""
    names = {g.name for g in op.generics} | {p.name for p in op.params} | {r.name for r in op.results}
    types = [p.type for p in op.params] + [r.type for r in op.results]
    nodes: list[tree.Expr | tree.Axis] = [n for t in types for d in t.dims or () for n in walk_syntax(d)]
    for statement in op.body:
        if isinstance(statement, tree.Require):
            nodes += walk_syntax(statement.condition)
        else:
            names |= {t.name for t in statement.targets}
            nodes += [n for t in statement.targets for i in t.index or () for n in walk_syntax(i)]
            nodes += walk_syntax(statement.value)
    for node in nodes:
        match node:
            case tree.Name(name=name) | tree.Range(name=name) | tree.Pack(name=name):
                names.add(name)
            case tree.Read(name=tree.Name(name=name)):
                names.add(name)
    return names
