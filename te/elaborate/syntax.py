"""Walking the syntax tree's expressions."""

from __future__ import annotations

from collections.abc import Iterator

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
