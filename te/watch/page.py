"""One page that shows a schedule at work: `te show FILE OP --html OUT.html`.

The page needs nothing but itself: style, script and data stand in it, and its security policy lets it
fetch nothing. What is shown is data (`page_data`), which the script writes as text, never as HTML. Costs
are formulas of the sizes, so that a reader can try other sizes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from te.diagnostics import printable
from te.ir.expr import Const, Expr, Op, Var
from te.ir.loop import Alloc, Buffer, For, Kernel, Seq, Stmt, bodies, with_bodies
from te.ir.print import loop_flags, print_expr, print_kernel, print_program, print_stmt
from te.ir.tensor import Program, Stage
from te.ir.visit import loads
from te.schedule.apply import Step
from te.watch.diff import SAME, Line, compare
from te.watch.footprint import Touch, Work, works
from te.watch.graph import Drawing, Edge, Node, draw
from te.watch.history import History

__all__ = ["page", "page_data"]

Json = Any  # what `json.dumps` takes


def page(history: History) -> str:
    """The page as HTML text."""
    here = files("te.watch")
    parts = {name: (here / f"page.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    data = json.dumps(page_data(history), ensure_ascii=False, separators=(",", ":"))
    # In a script element, HTML knows no escapes; JSON does.
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Template(parts["html"]).substitute(
        title=escape(f"{history.program.name} — te"), style=parts["css"], script=parts["js"], data=data
    )


def page_data(history: History) -> dict[str, Json]:
    """All that the page shows. A formula is a number, the name of a size, or `[operator, formulas ...]`."""
    program = history.program
    programs = [step.kernel.program for step in history.steps]
    return {
        "op": program.name,
        "signature": _signature(history.steps[0].kernel),
        "doc": _text(program.doc),
        "heading": _text(history.heading),
        "others": history.others,
        "sizes": {name: history.sizes.get(name) for name in program.sizes},
        "fixed": dict(program.fixed),
        "unit": "flop" if _has_floats(program) else "op",
        "graph": _graph(programs),
        "steps": list(_steps(history)),
    }


def _text(text: str) -> str:
    """Without what would disturb the reading of it, such as marks that turn the direction of writing."""
    return "\n".join(map(printable, text.split("\n")))


def _signature(kernel: Kernel) -> str:
    return print_kernel(kernel).split("\n", 1)[0].removeprefix("kernel ").removesuffix(":")


def _has_floats(program: Program) -> bool:
    return any(stage.tensor.dtype.is_float for stage in program.stages)


# ---------------------------------------------------------------- steps


def _steps(history: History) -> Iterator[dict[str, Json]]:
    before: list[str] | None = None
    for step in history.steps:
        after = print_kernel(step.kernel).splitlines()
        lines = [Line(SAME, line) for line in after] if before is None else compare(before, after)
        yield {
            "line": _line(step),
            "diff": [[line.mark, _text(line.text)] for line in lines],
            **_state(step.kernel),
        }
        before = after
    if history.refusal is not None:
        yield {
            "line": str(history.refused),
            "refusal": "\n\n".join(_text(str(d)) for d in history.refusal.diagnostics),
            "diff": [[SAME, _text(line)] for line in before or ()],
            **_state(history.steps[-1].kernel),
        }


def _line(step: Step) -> str:
    return "the plain nest" if step.directive is None else _text(str(step.directive))


def _state(kernel: Kernel) -> dict[str, Json]:
    program = kernel.program
    return {
        "tensors": [tensor.name for tensor in program.inputs] + [stage.name for stage in program.stages],
        "edges": [f"{edge.source}>{edge.target}" for edge in _edges(program)],
        "nest": _nest(kernel),
    }


# ---------------------------------------------------------------- loops


def _nest(kernel: Kernel) -> Json:
    """The statements as nested boxes."""
    costs = iter(works(kernel))

    def box(s: Stmt, scope: tuple[str, ...]) -> dict[str, Json]:
        work = next(costs)
        found: dict[str, Json] = {"text": _head(s, scope, kernel), **_own(s), "work": _work(work)}
        variable = getattr(s, "var", None)
        inner = scope if variable is None else (*scope, variable)
        found["inside"] = [box(body, inner) for body in bodies(s)]
        return found

    return box(kernel.body, ())


def _head(s: Stmt, scope: tuple[str, ...], kernel: Kernel) -> str:
    """The line of a statement, without what stands inside it."""
    inside = tuple(Seq(()) for _ in bodies(s))
    text = print_stmt(with_bodies(s, inside) if inside else s, scope, kernel.level).split("\n", 1)[0]
    return _text(text.removesuffix(":"))


def _own(s: Stmt) -> dict[str, Json]:
    match s:
        case For():
            return {
                "is": "for",
                "kind": s.kind,
                "name": s.var,
                "stage": s.stage,
                "extent": formula(s.extent),
                "flags": [_text(flag) for flag in loop_flags(s, lambda name: name.rsplit(".", 1)[-1])],
            }
        case Alloc():
            return {"is": "alloc", "buffer": _buffer(s.buffer)}
        case Seq():
            return {"is": "seq"}
    return {"is": type(s).__name__.lower()}


def _buffer(buffer: Buffer) -> dict[str, Json]:
    return {
        "name": buffer.name,
        "dtype": buffer.dtype.name,
        "scope": buffer.scope,
        "shape": [formula(extent) for extent in buffer.shape],
        "item": buffer.dtype.bytes,
    }


def _work(work: Work) -> dict[str, Json]:
    return {
        "runs": formula(work.runs),
        "operations": formula(work.operations),
        "bytes": formula(work.bytes),
        "moved": formula(work.moved),
        "exact": work.is_exact,
        "touches": [_touch(touch) for touch in work.touches],
    }


def _touch(touch: Touch) -> dict[str, Json]:
    return {
        "name": touch.buffer.name,
        "scope": touch.buffer.scope,
        "dtype": touch.buffer.dtype.name,
        "region": [formula(extent) for extent in touch.region],
        "bytes": formula(touch.bytes),
        "way": "r" * touch.is_read + "w" * touch.is_written,
    }


def formula(e: Expr) -> Json:
    """An expression of sizes for the page's script.

    >>> from te.ir.expr import add, integer
    >>> formula(add(Var("M"), integer(7)))
    ['+', 'M', 7]
    """
    match e:
        case Const(value=value):
            return int(value)
        case Var(name=name):
            return name
        case Op(op=op, args=args):
            return [op, *map(formula, args)]
    return ["text", _text(print_expr(e))]


# ---------------------------------------------------------------- stages


def _graph(programs: Sequence[Program]) -> dict[str, Json]:
    """Every tensor that there is at some step, in one drawing, so that nothing jumps from step to step."""
    nodes: dict[str, dict[str, Json]] = {}
    edges: dict[Edge, None] = {}
    for program in programs:
        for name, node in _nodes(program).items():
            nodes.setdefault(name, node)
        edges |= dict.fromkeys(_edges(program))
    names = _in_order(list(nodes), list(edges))
    drawing = draw(
        [Node(n, max(nodes[n]["name"], nodes[n]["type"], nodes[n]["how"], key=len)) for n in names],
        list(edges),
    )
    for name, place in drawing.places.items():
        nodes[name] |= {"x": place.x, "y": place.y, "w": place.width, "h": place.height}
    return {
        "width": drawing.width,
        "height": drawing.height,
        "nodes": [nodes[name] for name in names],
        "edges": [_path(edge, drawing) for edge in edges],
    }


def _path(edge: Edge, drawing: Drawing) -> dict[str, Json]:
    return {
        "key": f"{edge.source}>{edge.target}",
        "points": [list(point) for point in drawing.paths[edge]],
        "turns": edge in drawing.turning,
    }


def _nodes(program: Program) -> dict[str, dict[str, Json]]:
    equations = _equations(program)
    found: dict[str, dict[str, Json]] = {}
    for tensor in program.inputs:
        found[tensor.name] = {
            "name": tensor.name,
            "is": "input",
            "type": _type(tensor),
            "how": "",
            "text": "an input",
        }
    for stage in program.stages:
        is_result = stage.name in program.outputs
        found[stage.name] = {
            "name": stage.name,
            "is": "result" if is_result else "stage",
            "type": _type(stage.tensor),
            "how": _how(stage),
            "text": equations.get(stage.name, ""),
        }
    return found


def _type(tensor: Any) -> str:
    dims = ", ".join(print_expr(d) for d in tensor.shape)
    return f"{tensor.dtype}[{dims}]" if dims else str(tensor.dtype)


def _how(stage: Stage) -> str:
    if stage.reduction is None:
        return ""
    return f"{stage.reduction.reducer} over {', '.join(axis.name for axis in stage.reduction.axes)}"


def _equations(program: Program) -> dict[str, str]:
    """The definition of each stage as the tensor IR prints it."""
    lines = [line.strip() for line in print_program(program).splitlines()]
    found = {}
    for stage in program.stages:
        starts = (f"{stage.name}[", f"{stage.name} =")
        found[stage.name] = next((_text(line) for line in lines if line.startswith(starts)), "")
    return found


def _edges(program: Program) -> list[Edge]:
    """Who reads whom; a stage that reads itself recurs, which is no edge."""
    known = {tensor.name for tensor in program.inputs} | {stage.name for stage in program.stages}
    found: dict[Edge, None] = {}
    for stage in program.stages:
        read = [load.buffer for load in loads(stage.value)]
        if stage.reduction is not None:
            read += [load.buffer for load in loads(stage.reduction.where)]
        for name in read:
            if name in known and name != stage.name:
                found[Edge(name, stage.name)] = None
    return list(found)


def _in_order(names: Sequence[str], edges: Sequence[Edge]) -> list[str]:
    """Each after those it reads, as far as that goes: stages that recur together read each other."""
    ordered: dict[str, None] = {}
    active: set[str] = set()
    for name in names:
        _append(name, edges, ordered, active)
    return list(ordered)


def _append(name: str, edges: Sequence[Edge], ordered: dict[str, None], active: set[str]) -> None:
    if name in ordered or name in active:
        return
    active.add(name)
    for edge in edges:
        if edge.target == name:
            _append(edge.source, edges, ordered, active)
    ordered[name] = None
