"""Convolutions of 3 × 3 by Winograd's F(4×4, 3×3), where `math="fast"` allows it.

`with_winograd` puts the stages of `te/std/winograd.te` in the place of a convolution's, before anything is scheduled:
the program then says what is computed, and prints and is interpreted as any other. `lines_for` schedules
such stages, which it knows by what they compute: two sums with constant tables on each side of a
contraction.

The filters are transformed where they are bound. Tiles have their channels last, so that all three
steps run along them in vectors; the image is turned as it is padded, and the result as it is written.
Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from te.diagnostics import Source
from te.elaborate.elaborate import elaborate
from te.elaborate.modules import STANDARD_LIBRARY, Library
from te.grammar.parser import parse_file
from te.ir.expr import Const, Expr, Load, Op, Var, add, floor_div, floor_mod, integer, sub
from te.ir.simplify import simplify
from te.ir.tensor import Program, Stage
from te.ir.types import F32
from te.ir.visit import loads, rewrite
from te.schedule.auto.contraction import contraction_of
from te.schedule.auto.convolution import Convolution, convolution_of
from te.schedule.auto.loops import lanes_of
from te.schedule.auto.tiles import Plan, even_part, size_of
from te.schedule.directives import (
    CacheRead,
    ComputeAt,
    Fuse,
    Parallel,
    Precompute,
    Reorder,
    SetLayout,
    SetScope,
    Split,
    Unroll,
    Vectorize,
)
from te.schedule.forms import Directive, Layout, Scope, TensorAxes
from te.schedule.nest import loop_name
from te.schedule.placement import readers_of
from te.target import Target

LEAST_CHANNELS = 32  # below, transforming tiles costs what multiplying them saves
LEAST_USED = 0.5  # of the elements of all tiles
SIDE = 4  # of a tile of results


# ---------------------------------------------------------------- programs


def with_winograd(program: Program, library: Library) -> Program:
    """The program with fewer multiplications in its convolutions, where sizes are known and make it pay."""
    recurring = {name for r in program.recurrences for name in r.stages}
    for stage in program.stages:
        found = None if stage.name in recurring else convolution_of(stage)
        padding = found and _padding(found, program)
        if found and padding and _pays(found):
            program = _replaced(program, found, padding, library)
    return program


def _padding(c: Convolution, program: Program) -> tuple[int, int] | None:
    """The padding of a convolution that `te/std/winograd.te` knows; None for any other."""
    axes = [Var(axis.name) for axis in (*c.stage.axes, *c.terms)]
    if len(axes) != 7 or len(c.image.index) != 4 or c.filters.buffer not in program.params:
        return None
    n, k, y, x, channel, r, s = axes
    if c.filters.index != (k, channel, r, s) or c.image.index[:2] != (n, channel):
        return None
    paddings = [
        simplify(sub(add(place, step), i))
        for place, step, i in ((y, r, c.image.index[2]), (x, s, c.image.index[3]))
    ]
    shape = _sizes(program.tensor(c.image.buffer).shape)
    filters = _sizes(program.tensor(c.filters.buffer).shape)
    results = [size_of(axis) for axis in c.stage.axes]
    if not all(isinstance(p, Const) for p in paddings) or None in (*shape, *filters, *results):
        return None
    high, wide = (int(p.value) for p in paddings if isinstance(p, Const))
    of_image = [shape[0], filters[0], (shape[2] or 0) + 2 * high - 2, (shape[3] or 0) + 2 * wide - 2]
    is_plain = c.stage.tensor.dtype == c.image.dtype == c.filters.dtype == F32
    if not is_plain or min(high, wide) < 0 or filters[1:] != [shape[1], 3, 3] or results != of_image:
        return None
    return high, wide


def _sizes(shape: tuple[Expr, ...]) -> list[int | None]:
    return [int(e.value) if isinstance(e, Const) else None for e in shape]


def _pays(c: Convolution) -> bool:
    _, k, y, x = (size_of(axis) or 0 for axis in c.stage.axes)
    channels = size_of(c.terms[0]) or 0
    used = y * x / (-(-y // SIDE) * -(-x // SIDE) * SIDE * SIDE)
    return min(k, channels) >= LEAST_CHANNELS and used >= LEAST_USED


def _replaced(program: Program, c: Convolution, padding: tuple[int, int], library: Library) -> Program:
    n, channels, high, wide = _sizes(program.tensor(c.image.buffer).shape)
    path = STANDARD_LIBRARY / "winograd.te"
    made = elaborate(
        parse_file(Source(str(path), path.read_text(encoding="utf-8"))),
        "windows",
        sizes={"N": n or 0, "C": channels or 0, "H": high or 0, "W": wide or 0, "K": size_of(c.channel) or 0},
        consts={"padding_h": padding[0], "padding_w": padding[1]},
        dtypes={"T": F32.name},
        library=library,
    )
    names = {stage.name: f"{c.stage.name}_{stage.name}" for stage in made.stages}
    names |= {"Y": c.stage.name, "X": c.image.buffer, "weight": c.filters.buffer}
    known = {t.tensor.name for t in program.tables}
    tables = [t for t in made.tables if t.tensor.name not in known]
    stages: list[Stage] = []
    for stage in program.stages:
        stages += [_renamed(s, names) for s in made.stages] if stage is c.stage else [stage]
    return replace(program, stages=tuple(stages), tables=(*program.tables, *tables))


def _renamed(stage: Stage, names: Mapping[str, str]) -> Stage:
    def rename(e: Expr) -> Expr:
        return replace(e, buffer=names.get(e.buffer, e.buffer)) if isinstance(e, Load) else e

    return replace(
        stage,
        tensor=replace(stage.tensor, name=names[stage.name]),
        value=rewrite(stage.value, rename),
    )


# ---------------------------------------------------------------- schedules


@dataclass(frozen=True, slots=True)
class Steps:
    """The stages of a convolution by transforms, in order. The axes of each are known by their places."""

    image: Load
    columns: Stage  # n, v, i, x, c; sum over a
    tiles: Stage  # n, i, j, v, u, c; sum over b
    filters: Stage  # i, j, c, k
    products: Stage  # n, i, j, v, u, k; sum over c
    rows: Stage  # n, v, p, j, u, k; sum over i
    results: Stage  # n, v, p, u, q, k; sum over j
    written: Stage  # n, k, y, x


def steps_of(written: Stage, program: Program) -> Steps | None:
    """The steps before a stage, if it takes its elements from transformed tiles."""
    tables = {t.tensor.name for t in program.tables}
    stages = {stage.name: stage for stage in program.stages}

    def transformed(stage: Stage | None) -> Load | None:
        """What a stage is the sum of, with a table."""
        value = stage.value if stage and stage.reduction and stage.reduction.reducer == "sum" else None
        if not isinstance(value, Op) or value.op != "*":
            return None
        found = list(loads(value))
        of = [load for load in found if load.buffer not in tables]
        return of[0] if len(found) == 2 and len(of) == 1 else None

    if written.reduction is not None or len(written.axes) != 4:
        return None
    reads = [stages[load.buffer] for load in loads(written.value) if load.buffer in stages]
    results = next((s for s in reads if transformed(s)), None)
    rows = stages.get(_buffer(transformed(results)))
    products = stages.get(_buffer(transformed(rows)))
    if results is None or rows is None or products is None or contraction_of(products) is None:
        return None
    operands = [stages.get(load.buffer) for load in loads(products.value)]
    tiles = next((s for s in operands if transformed(s)), None)
    filters = next((s for s in operands if s is not tiles), None)
    columns = stages.get(_buffer(transformed(tiles)))
    image = transformed(columns)
    if not (tiles and filters and columns and image):
        return None
    chain = (columns, tiles, filters, products, rows, results)
    if any(len(readers_of(program, s.name)) != 1 for s in chain) or [len(s.axes) for s in chain] != [
        5,
        6,
        4,
        6,
        6,
        6,
    ]:
        return None
    return Steps(image, *chain, written)


def _buffer(load: Load | None) -> str:
    return load.buffer if load else ""


def lines_for(s: Steps, target: Target) -> Plan:
    """The lines for all steps of a convolution."""
    lanes = lanes_of(s.products, target)
    width = 2 * lanes if (size_of(s.filters.axes[3]) or 0) > lanes else lanes
    axes = tuple(axis.name for axis in s.filters.axes)
    i, j, c, k = map(Var, axes)
    panels = Layout((i, j, floor_div(k, integer(width)), c, floor_mod(k, integer(width))))
    lines: list[Directive] = [
        SetLayout(TensorAxes(s.filters.name, axes), panels),
        Precompute((s.filters.name,)),
        *_of_tiles(s, lanes),
        *_of_products(s, width, target),
        *_of_results(s, lanes),
    ]
    stages = (s.columns, s.tiles, s.filters, s.products, s.rows, s.results, s.written)
    return Plan(tuple(lines), tuple(stage.name for stage in stages))


def _of_tiles(s: Steps, lanes: int) -> list[Directive]:
    """A row of tiles after the other, from an image with its channels last."""
    _, _, i, x, c = _loops(s.columns)
    (a,) = _terms(s.columns)
    n_, i_, j_, v_, u_, c_ = _loops(s.tiles)
    (b_,) = _terms(s.tiles)
    axes = ("x0", "x1", "x2", "x3")
    copy = f"{s.columns.name}_image"
    channel, row, column = (f"{copy}.{axis}" for axis in axes[1:])
    last = Layout(tuple(Var(axes[at]) for at in (0, 2, 3, 1)))
    return [
        Split(c_, by=lanes),
        Reorder((n_, v_, u_, f"{c_}o", i_, b_, j_, f"{c_}i")),
        ComputeAt((s.columns.name,), v_),
        Split(c, by=lanes),
        Reorder((x, f"{c}o", a, i, f"{c}i")),
        Unroll((a,)),
        Unroll((i,)),
        Vectorize((f"{c}i",)),
        CacheRead(TensorAxes(s.image.buffer, axes), n_, copy, layout=last, fill=0),
        Split(channel, by=lanes),
        Split(column, by=lanes),
        Reorder((row, f"{channel}o", f"{column}o", f"{channel}i", f"{column}i")),
        Unroll((f"{channel}i",)),
        Vectorize((f"{column}i",)),
        Parallel((row,)),
        Unroll((b_,)),
        Unroll((j_,)),
        Vectorize((f"{c_}i",)),
    ]


def _of_products(s: Steps, width: int, target: Target) -> list[Directive]:
    """For each of the 36 places in a tile a product of matrices, whose rows are tiles: some of them in registers."""
    n, i, j, v, u, k = _loops(s.products)
    (c,) = _terms(s.products)
    most = target.vector_registers * lanes_of(s.products, target) // width - 2
    across = even_part(size_of(s.products.axes[4]) or most, most)
    # Only whole tiles of several rows: a row that overhangs costs more than it brings.
    high = size_of(s.products.axes[3]) or 1
    down = next(rows for rows in range(max(1, most // across), 0, -1) if high % rows == 0)
    return [
        Split(k, by=width),
        Split(u, by=across),
        Split(v, by=down),
        Reorder((n, i, j, f"{k}o", f"{v}o", f"{u}o", c, f"{v}i", f"{u}i", f"{k}i")),
        Fuse((i, j), "place"),
        Fuse((loop_name(s.products.name, "place"), f"{k}o"), "panel"),
        Unroll((f"{v}i",)),
        Unroll((f"{u}i",)),
        Vectorize((f"{k}i",)),
        Parallel((loop_name(s.products.name, "panel"),)),
    ]


def _of_results(s: Steps, lanes: int) -> list[Directive]:
    """Each tile's results at once, and the whole turned as it is written."""
    _, _, p, j, _, k = _loops(s.rows)
    (i,) = _terms(s.rows)
    n_, v_, p_, u_, q_, k_ = _loops(s.results)
    (j_,) = _terms(s.results)
    n, channel, y, x = _loops(s.written)
    return [
        Split(k_, by=lanes),
        Reorder((n_, v_, u_, f"{k_}o", p_, j_, q_, f"{k_}i")),
        ComputeAt((s.rows.name,), f"{k_}o"),
        SetScope(s.rows.name, Scope.STACK),
        Reorder((j, i, p, k)),
        Unroll((i,)),
        Unroll((p,)),
        Vectorize((k,)),
        Unroll((j_,)),
        Unroll((q_,)),
        Vectorize((f"{k_}i",)),
        Fuse((n_, v_), "line"),
        Parallel((loop_name(s.results.name, "line"),)),
        Split(x, by=SIDE),
        Split(y, by=SIDE),
        Split(channel, by=lanes),
        Reorder((n, f"{y}o", f"{y}i", f"{channel}o", f"{x}o", f"{x}i", f"{channel}i")),
        Unroll((f"{x}i",)),
        Vectorize((f"{channel}i",)),
        Parallel((f"{y}o",)),
    ]


def _loops(stage: Stage) -> list[str]:
    return [loop_name(stage.name, axis.name) for axis in stage.axes]


def _terms(stage: Stage) -> list[str]:
    return [loop_name(stage.name, axis.name) for axis in stage.reduction.axes] if stage.reduction else []
