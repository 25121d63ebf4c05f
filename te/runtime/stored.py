"""What the object cache keeps of a kernel, as JSON and back.

Only plain data is read: names, numbers and expressions. Reading raises one of `UNREADABLE` for
anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from te.backends.base import Entry, ObjectCode
from te.diagnostics import Source, Span
from te.elaborate.files import UsedFiles
from te.ir.expr import Cast, Const, Expr, Op, Select, Var
from te.ir.tensor import Axis, Check, Requirement, Table, Tensor
from te.ir.types import DTYPES
from te.runtime.generic import GenericInput
from te.runtime.interface import Interface, Prepared, Way
from te.target import Target

__all__ = ["UNREADABLE", "Generic", "Stored", "from_plain", "to_plain"]

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
Plain = Any  # what JSON holds
_FIELDS = {
    *"name doc sizes inputs results requirements tables checks written ways".split(),
    *"entries declarations found texts".split(),
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A kernel: how it is called, its code, and the files it was made of beside its own."""

    interface: Interface
    code: ObjectCode
    files: UsedFiles


@dataclass(frozen=True, slots=True)
class Generic:
    """An op of which each call decides dtypes or ranks, and what each input decides."""

    name: str
    inputs: tuple[GenericInput, ...]


def to_plain(value: Stored | Generic) -> Plain:
    """As data for JSON; the object code is left out. Raises ValueError for what has no form there."""
    match value:
        case Generic(name, inputs):
            return {
                "name": name,
                "inputs": [[i.name, i.dtype_variable, i.pack, i.other_axes] for i in inputs],
            }
        case Stored(interface, code, files):
            return {
                "name": interface.name,
                "doc": interface.doc,
                "sizes": list(interface.sizes),
                "inputs": [_tensor(t) for t in interface.inputs],
                "results": [_tensor(t) for t in interface.results],
                "requirements": [[_expr(r.condition), r.text] for r in interface.requirements],
                "tables": [[_tensor(t.tensor), list(t.values)] for t in interface.tables],
                "checks": [_check(c) for c in interface.checks],
                "written": {name: list(words) for name, words in interface.written.items()},
                "ways": [_way(w) for w in interface.ways],
                "entries": [_entry(e) for e in code.entries],
                "declarations": code.declarations,
                "found": files.found,
                "texts": files.texts,
            }


def from_plain(data: Plain, code: bytes, target: Target) -> Stored | Generic:
    """What `to_plain` was given."""
    if set(data) == {"name", "inputs"}:
        return Generic(data["name"], tuple(GenericInput(*fields) for fields in data["inputs"]))
    if set(data) != _FIELDS:
        raise ValueError(set(data))
    entries = tuple(_read_entry(e) for e in data["entries"])
    ahead = list(entries[len(data["ways"]) :])
    ways = zip(data["ways"], entries, strict=False)
    interface = Interface(
        name=data["name"],
        doc=data["doc"],
        sizes=tuple(data["sizes"]),
        inputs=tuple(_read_tensor(t) for t in data["inputs"]),
        results=tuple(_read_tensor(t) for t in data["results"]),
        requirements=tuple(Requirement(_read_expr(e), text) for e, text in data["requirements"]),
        tables=tuple(Table(_read_tensor(t), tuple(values)) for t, values in data["tables"]),
        checks=tuple(_read_check(c) for c in data["checks"]),
        written=data["written"],
        ways=tuple(_read_way(way, entry, ahead) for way, entry in ways),
    )
    return Stored(
        interface,
        ObjectCode(target, entries, code, data["declarations"]),
        UsedFiles(data["found"], data["texts"]),
    )


# ---------------------------------------------------------------- parts


def _expr(e: Expr) -> Plain:
    match e:
        case Const(value, dtype):
            return ["const", value, dtype.name]
        case Var(name):
            return ["var", name]
        case Op(op, args, dtype):
            return ["op", op, [_expr(arg) for arg in args], dtype.name]
        case Cast(value, dtype):
            return ["cast", _expr(value), dtype.name]
        case Select(condition, then, otherwise):
            return ["select", _expr(condition), _expr(then), _expr(otherwise)]
    raise ValueError(e)  # a load: no property of sizes


def _read_expr(data: Plain) -> Expr:
    match data:
        case ["const", value, dtype]:
            return Const(value, DTYPES[dtype])
        case ["var", name]:
            return Var(name)
        case ["op", op, args, dtype]:
            return Op(op, tuple(map(_read_expr, args)), DTYPES[dtype])
        case ["cast", value, dtype]:
            return Cast(_read_expr(value), DTYPES[dtype])
        case ["select", condition, then, otherwise]:
            return Select(_read_expr(condition), _read_expr(then), _read_expr(otherwise))
    raise ValueError(data)


def _way(w: Way) -> Plain:
    prepared = [[p.params, p.sizes, [_tensor(t) for t in p.kept], p.digest] for p in w.prepared]
    return [_expr(w.condition), w.schedule, w.size_limit, prepared]


def _read_way(data: Plain, entry: Entry, ahead: list[Entry]) -> Way:
    """`ahead`: the entries of what is prepared, which stand behind those of all ways."""
    condition, schedule, limit, parts = data
    prepared = tuple(
        Prepared(ahead.pop(0), tuple(params), tuple(sizes), tuple(map(_read_tensor, kept)), str(digest))
        for params, sizes, kept, digest in parts
    )
    return Way(_read_expr(condition), schedule, limit, entry, prepared=prepared)


def _tensor(t: Tensor) -> Plain:
    return [t.name, t.dtype.name, [_expr(extent) for extent in t.shape]]


def _read_tensor(data: Plain) -> Tensor:
    name, dtype, shape = data
    return Tensor(name, DTYPES[dtype], tuple(map(_read_expr, shape)))


def _check(c: Check) -> Plain:
    axes = [[axis.name, _expr(axis.extent)] for axis in c.axes]
    return [c.stage, c.read, c.tensor, c.axis, _expr(c.extent), axes, c.span.line if c.span else 0]


def _read_check(data: Plain) -> Check:
    stage, read, tensor, axis, extent, axes, line = data
    # A message names the line and nothing else of the place.
    span = Span(Source("", "\n" * (line - 1)), line - 1, line - 1) if line else None
    return Check(
        stage, read, tensor, axis, _read_expr(extent), tuple(Axis(n, _read_expr(e)) for n, e in axes), span
    )


def _entry(e: Entry) -> Plain:
    workspaces = [_expr(e.workspace), _expr(e.thread_workspace)]
    return [e.name, e.symbol, list(e.arguments), list(e.sizes), *workspaces, e.is_parallel]


def _read_entry(data: Plain) -> Entry:
    name, symbol, arguments, sizes, workspace, thread_workspace, is_parallel = data
    return Entry(
        name,
        symbol,
        tuple(arguments),
        tuple(sizes),
        _read_expr(workspace),
        _read_expr(thread_workspace),
        is_parallel,
    )
