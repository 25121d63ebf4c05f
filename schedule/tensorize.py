"""The rewrite `tensorize`: a nest that computes what an instruction does is run by it.

The loops stay, in one form: the reduction loop, of kind `tensorized` and with the
instruction's name, around the vector loop, around the step of the sum.

    tensorized for ki < 4 (vpdpbusd):
      vector for ji < 16:
        C[i, 16*jo + ji] sum= i32(A[i, 4*ko + ki]) * i32(B[ko, 16*jo + ji, ki])

So the loops say what is computed, to the interpreter, the verifier and every pass, as they
did before; only a backend sees one instruction. One that multiplies matrices has three loops, all of them
tensorized: terms, rows, columns (`te.schedule.matrices`). A step of a sum may run in any order with
the others, and the trips of the data loop write different elements, so the two loops may
change places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from te.diagnostics import Diagnostic, ScheduleError, Span, error
from te.ir.expr import Const, Expr, Load, integer
from te.ir.loop import (
    TENSORIZED,
    VECTOR,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Let,
    Stmt,
    direct_exprs,
    walk_stmt,
)
from te.ir.print import print_expr, print_swizzle
from te.ir.simplify import simplify
from te.ir.visit import loads, rewrite, variables
from te.schedule.context import facts_at
from te.schedule.directives import Tensorize
from te.schedule.finalize.guards import guarded, hull
from te.schedule.finalize.tensorized import stride
from te.schedule.forms import Directive, span_of
from te.schedule.intrinsics import DEVIATIONS, Meaning, diff, find_intrinsic, match_term, shown_step
from te.schedule.loops import find_chain, replace_loop
from te.schedule.matrices import (
    Guard,
    MatrixProduct,
    is_matrix_nest,
    matrix_product,
    misplaced,
    nest_below,
    tensorized_products,
    unmet_guard,
)
from te.schedule.names import Path, TooLate, all_loops, find_loops, index_of, require_serial
from te.target import Target


def tensorize(kernel: Kernel, d: Tensorize) -> Kernel:
    meaning = find_intrinsic(d.as_, span_of(d, "as_"))
    nest = _find_nest(kernel, d, meaning)
    if meaning.is_matrix:
        return _tensorize_matrices(kernel, nest, d, meaning)
    _check_extents(nest, d, meaning)
    _check_step(nest, d, meaning)
    _check_addresses(kernel, nest, d, meaning)
    _check_guards(kernel, nest, d)
    step: Stmt = guarded([guard.condition for guard in nest.guards], nest.step)
    lanes = replace(nest.lanes, kind=VECTOR, body=step)
    terms = replace(nest.terms, kind=TENSORIZED, intrinsic=meaning.name, body=lanes)
    return replace_loop(kernel, nest.outer.var, terms)


def _tensorize_matrices(kernel: Kernel, nest: Nest, d: Tensorize, meaning: Meaning) -> Kernel:
    _check_step(nest, d, meaning)
    product = _product_of(kernel, nest, d, meaning)
    for axis, loop in product.loops.items():
        if loop.extent != integer(meaning.tile[axis]):
            rows, columns, terms = meaning.tile.values()
            wanted = f"{rows} rows, {columns} columns and {terms} terms"
            _refuse_extent(loop, d, meaning, wanted, meaning.tile[axis])
    astray = misplaced(product, kernel)
    if astray is not None:
        _refuse_operand(astray, product, d, kernel)
    unmet = unmet_guard(product, kernel)
    if unmet is not None:
        _refuse_guard(unmet[0].condition, unmet[1], d)
    body: Stmt = product.step
    for guard in reversed(product.guards):
        body = If(guard.condition, body, of_terms=guard.of_terms)
    for loop in reversed([*product.order()]):
        body = replace(loop, kind=TENSORIZED, intrinsic=meaning.name, body=body)
    return replace_loop(kernel, nest.outer.var, body)


def _product_of(kernel: Kernel, nest: Nest, d: Tensorize, meaning: Meaning) -> MatrixProduct:
    facts = facts_at((*nest.path, *nest.data, nest.terms), kernel.program)

    def plain(
        e: Expr,
    ) -> Expr:  # without what is the same for a whole tile, as the number of a group of channels
        return replace(e, index=tuple(simplify(i, facts) for i in e.index)) if isinstance(e, Load) else e

    step = replace(nest.step, value=rewrite(nest.step.value, plain))
    product = matrix_product(meaning, nest.path, (*nest.data, nest.terms), step, nest.guards)
    if product is None:
        raise ScheduleError(_no_product(nest, d, meaning))
    return product


@dataclass(frozen=True, slots=True)
class Nest:
    """Data loops and a reduction loop, directly in each other, around one step of a sum."""

    path: Path
    outer: For
    data: tuple[For, ...]
    terms: For
    guards: tuple[Guard, ...]
    step: Accumulate

    @property
    def lanes(self) -> For:
        """The one data loop of an instruction on vectors."""
        (lanes,) = self.data
        return lanes


# ---------------------------------------------------------------- the nest


def _find_nest(kernel: Kernel, d: Tensorize, meaning: Meaning) -> Nest:
    spans = [span_of(d, "loops", position) for position in range(len(d.loops))]
    found = find_loops(kernel, d.loops, spans)
    for (loop, path), span in zip(found, spans, strict=True):
        require_serial(loop, "tensorize", span)
        _refuse_lanes_around(loop, path, span)
    chain = find_chain([loop for loop, _ in found], [path for _, path in found], spans)
    between = [loop for loop in chain.loops if loop.var not in {named.var for named, _ in found}]
    inner: Stmt = chain.body
    around: list[If | Let] = list(chain.between)
    while isinstance(inner, Let | If) and not (isinstance(inner, If) and inner.otherwise is not None):
        around.append(inner)
        inner = inner.body
    if between or not isinstance(inner, Accumulate):
        raise ScheduleError(_not_innermost(d, between, inner, spans[-1]))
    data = [loop for loop, _ in found if loop.var not in inner.over]
    terms = [loop for loop, _ in found if loop.var in inner.over]
    if len(data) != len(meaning.data) or len(terms) != 1:
        raise ScheduleError(_other_loops(d, meaning, data, terms, spans[1]))
    _, step, guards = nest_below(chain.loops[0])
    assert isinstance(step, Accumulate)
    return Nest(chain.path, chain.loops[0], tuple(data), terms[0], guards, step)


def _other_loops(
    d: Tensorize, meaning: Meaning, data: Sequence[For], terms: Sequence[For], span: Span | None
) -> Diagnostic:
    found = [*data, *terms]
    if meaning.is_matrix or len(found) != 2:
        kinds = [
            f"{len(loops)} {kind} loop{'s' * (len(loops) != 1)}"
            for loops, kind in ((data, "data"), (terms, "reduction"))
        ]
        label = f"these are {' and '.join(kinds)}"
    else:
        both = "data loops" if data else "reduction loops"
        label = f"`{found[0].var}` and `{found[1].var}` are both {both}"
    if meaning.is_matrix:
        rows, columns, k = meaning.tile.values()
        wanted = "two data loops and one reduction loop"
        help = f"name the loops of {rows} rows, {columns} columns and {k} terms"
    else:
        wanted = "one data loop and one reduction loop"
        help = f"name the loop of the lanes, then that of the {meaning.terms} terms in each lane"
    return error("tensorize-loops", f"`{meaning.name}` runs {wanted}", span, label, help=help)


def _refuse_lanes_around(loop: For, path: Path, span: Span | None) -> None:
    outer = next((s for s in path if isinstance(s, For) and s.kind == VECTOR), None)
    if outer is not None:
        raise ScheduleError(
            error(
                "kind-nesting",
                f"`{loop.var}` cannot be run by an instruction: it is inside the vector loop `{outer.var}`",
                span,
                f"is inside `{outer.var}`",
                help="an instruction makes its own lanes: leave that loop as it is, or unroll it",
            )
        )


def _not_innermost(d: Tensorize, between: Sequence[For], inner: Stmt, span: Span | None) -> Diagnostic:
    loops = [loop.var for loop in between] + ([inner.var] if isinstance(inner, For) else [])
    if loops:
        return error(
            "not-nested",
            f"the loop `{loops[0]}` stands inside those that `{d.as_}` is to run",
            span,
            "not the innermost loops",
            help=f"`reorder` can move `{index_of(loops[0])}` outside",
        )
    return error(
        "tensorize-loops",
        f"these loops hold no single step of a sum, which `{d.as_}` is",
        span,
        "no reduction, or several statements",
        help="the two loops hold one `sum` and nothing else; an epilogue stands outside them",
    )


# ---------------------------------------------------------------- what must hold


def _check_extents(nest: Nest, d: Tensorize, meaning: Meaning) -> None:
    lanes, terms = nest.lanes.extent, nest.terms.extent
    if not isinstance(lanes, Const) or meaning.width(int(lanes.value)) is None:
        _refuse_extent(nest.lanes, d, meaning, f"{meaning.lanes_text}, or several times as many", 16)
    if terms != meaning.k.extent:
        _refuse_extent(nest.terms, d, meaning, f"{meaning.terms} terms in each lane", meaning.terms)


def _refuse_extent(loop: For, d: Tensorize, meaning: Meaning, wanted: str, by: int) -> None:
    index = index_of(loop.var)
    raise ScheduleError(
        error(
            "tensorize-extent",
            f"`{meaning.name}` has {wanted}; the extent of `{loop.var}` is {print_expr(loop.extent, index_of)}",
            _span_of_loop(d, loop),
            "another extent",
            help=f"`split {index} by {by}` first",
        )
    )


def _check_step(nest: Nest, d: Tensorize, meaning: Meaning) -> None:
    """The step is that of the meaning: reducer, dtypes, casts, operators."""
    step, expected = nest.step, meaning.accumulator.dtype
    difference: str | None
    if step.reducer != "sum":
        difference = f"the reducer is `{step.reducer}`, that of the instruction `sum`"
    elif step.value.dtype != expected:
        difference = f"`{step.buffer}` is {step.value.dtype}, and the instruction accumulates in {expected}"
    else:
        difference = match_term(meaning.term, step.value, {})
    if difference is not None:
        target = Load(step.buffer, step.index, step.value.dtype)
        found = shown_step(target, step.value).replace(" sum= ", f" {step.reducer}= ", 1)
        raise ScheduleError(
            error(
                "tensorize-mismatch",
                f"these loops do not compute what `{meaning.name}` does: {difference}",
                span_of(d, "as_"),
                "computes something else",
                help=diff(meaning, found),
            )
        )


def _check_addresses(kernel: Kernel, nest: Nest, d: Tensorize, meaning: Meaning) -> None:
    """Registers can be filled from neighbouring elements, or one group of them given to all lanes."""
    buffers = _buffers_at(kernel, nest.path)
    facts = facts_at((*nest.path, nest.lanes, nest.terms), kernel.program)
    operands: dict[str, Load] = {}
    match_term(meaning.term, nest.step.value, operands)
    for load in operands.values():
        buffer = buffers[load.buffer]
        lane, k = (stride(load, buffer, loop.var, facts) for loop in (nest.lanes, nest.terms))
        reason = None
        if load.buffer == nest.step.buffer:
            reason = "it is what the sum writes"
        elif buffer.scope == "register":
            reason = "it is in registers already"
        elif k != 1:
            reason = f"the {meaning.terms} terms of a lane (`{index_of(nest.terms.var)}`) are no neighbours in memory"
        elif lane not in (0, meaning.terms):
            reason = f"the lanes (`{index_of(nest.lanes.var)}`) do not follow each other in memory"
        if reason is not None:
            _refuse_address(load, buffer, reason, d, meaning)
    target = Load(nest.step.buffer, nest.step.index, nest.step.value.dtype)
    if stride(target, buffers[target.buffer], nest.lanes.var, facts) != 1:
        reason = f"the lanes (`{index_of(nest.lanes.var)}`) are no neighbours in memory"
        _refuse_address(target, buffers[target.buffer], reason, d, meaning)


def _no_product(nest: Nest, d: Tensorize, meaning: Meaning) -> Diagnostic:
    """The factors do not depend on rows and terms, and on terms and columns."""
    target = Load(nest.step.buffer, nest.step.index, nest.step.value.dtype)
    return error(
        "tensorize-mismatch",
        f"these loops do not compute what `{meaning.name}` does: the loops are not those of rows, columns and terms",
        span_of(d, "as_"),
        "computes something else",
        help=diff(meaning, shown_step(target, nest.step.value)),
    )


def _refuse_operand(astray: tuple[Load, str], p: MatrixProduct, d: Tensorize, kernel: Kernel) -> None:
    load, reason = astray
    buffer = _buffers_at(kernel, p.path)[load.buffer]
    raise ScheduleError(
        error(
            "tensorize-address",
            f"`{p.meaning.name}` cannot take `{print_expr(load, index_of)}`, of {_stored(buffer)}: {reason}",
            span_of(d, "as_"),
            "not addressed so",
            help="operands and the result are whole tiles in registers: `cache_read A at k as Af in register`, "
            "`cache_write C at i as acc in register`",
        )
    )


def _stored(buffer: Buffer) -> str:
    """A buffer with its layout, as messages show it."""
    stored = f"{buffer.name}[{', '.join(print_expr(extent) for extent in buffer.shape)}]"
    if buffer.layout is not None:
        stored += f" layout [{', '.join(map(print_expr, buffer.layout.dims))}]"
        stored += f" align {', '.join(map(str, buffer.layout.align))}" if buffer.layout.align else ""
        stored += f" {print_swizzle(buffer.layout.swizzle)}" if buffer.layout.swizzle else ""
    return stored


def _refuse_address(load: Load, buffer: Buffer, reason: str, d: Tensorize, meaning: Meaning) -> None:
    raise ScheduleError(
        error(
            "tensorize-address",
            f"`{meaning.name}` cannot take `{print_expr(load, index_of)}`, of {_stored(buffer)}: {reason}",
            span_of(d, "as_"),
            "not addressed so",
            help=f"operands lie as [..., lane, {meaning.terms} terms], or as [..., {meaning.terms} terms] "
            "for all lanes; the result as [..., lane]",
        )
    )


def _buffers_at(kernel: Kernel, path: Path) -> Mapping[str, Buffer]:
    inside = [s.buffer for s in path if isinstance(s, Alloc)]
    return {b.name: b for b in (*kernel.arguments, *inside)}


def keep_operands(kernel: Kernel, d: Directive) -> None:
    """Refuse a line after which the operands of an instruction lie otherwise than it needs them."""
    for loop, path in all_loops(kernel):
        if loop.kind != TENSORIZED or is_matrix_nest(loop):
            continue
        name = next((load.buffer for load in _operands_astray(kernel, loop, path)), None)
        if name is not None:
            raise _too_late(d, loop, f"`{name}`")
    for product in tensorized_products(kernel):
        loop = next(product.order())
        astray = misplaced(product, kernel)
        if astray is not None:
            raise _too_late(d, loop, f"`{astray[0].buffer}`")
        if unmet_guard(product, kernel) is not None:
            raise _too_late(d, loop, "its operands")


def _too_late(d: Directive, loop: For, what: str) -> TooLate:
    return TooLate(
        error(
            "tensorize-operands",
            f"`{loop.var}` is run by `{loop.intrinsic}`, which could not take {what} after this line",
            span_of(d),
            "too late: it changes how an operand lies",
            help="write it before `tensorize`",
        ),
        _has_instruction(loop.var),
    )


def _has_instruction(loop: str) -> Callable[[Kernel], bool]:
    return lambda kernel: any(x.var == loop and x.kind == TENSORIZED for x, _ in all_loops(kernel))


def _operands_astray(kernel: Kernel, loop: For, path: Path) -> Iterator[Load]:
    """What a tensorized loop reads and its instruction cannot."""
    lanes, step = loop.body, loop.body
    while isinstance(step, For | If | Let):
        step = step.body
    if not isinstance(lanes, For) or not isinstance(step, Accumulate):
        yield from (load for s, _ in walk_stmt(loop.body) for e in direct_exprs(s) for load in loads(e))
        return  # something else stands inside now
    assert loop.intrinsic is not None
    meaning = find_intrinsic(loop.intrinsic, None)
    facts = facts_at((*path, loop, lanes), kernel.program)
    buffers = _buffers_at(kernel, path)
    operands: dict[str, Load] = {}
    match_term(meaning.term, step.value, operands)
    for load in operands.values():
        buffer = buffers[load.buffer]
        strides = tuple(stride(load, buffer, x.var, facts) for x in (lanes, loop))
        if buffer.scope == "register" or strides not in ((0, 1), (meaning.terms, 1)):
            yield load


def _check_guards(kernel: Kernel, nest: Nest, d: Tensorize) -> None:
    """Guards can be moved off the full trips: those of tails can, and others that are linear in the loops."""
    facts = facts_at(nest.path, kernel.program)
    own = {nest.lanes.var, nest.terms.var}
    for guard in (g.condition for g in nest.guards):
        if any(loads(guard)):
            _refuse_guard(guard, "it reads data", d)
        if own & variables(guard) and hull(guard, [nest.terms, nest.lanes], facts, every=True) is None:
            _refuse_guard(guard, "where it holds for all lanes is not known", d)


def _refuse_guard(guard: Expr, reason: str, d: Tensorize) -> None:
    raise ScheduleError(
        error(
            "tensorize-guard",
            f"`{d.as_}` runs all its lanes and terms, and here a condition stands inside: "
            f"`{print_expr(guard, index_of)}`; {reason}",
            span_of(d, "as_"),
            "a condition inside",
            help="leave it out of this sum: a stage before it can give 0 where the condition fails",
        )
    )


def _span_of_loop(d: Tensorize, loop: For) -> Span | None:
    position = next((i for i, name in enumerate(d.loops) if name in (loop.var, index_of(loop.var))), 0)
    return span_of(d, "loops", position)


# ---------------------------------------------------------------- targets


def check_instructions(
    kernel: Kernel, directives: Sequence[Directive], target: Target, *, fast_math: bool
) -> None:
    """Refuse a kernel whose instructions the target does not have, or strict arithmetic does not allow."""
    used = {s.intrinsic for s, _ in walk_stmt(kernel.body) if isinstance(s, For) and s.intrinsic}
    for name in sorted(used):
        d = next((d for d in directives if isinstance(d, Tensorize) and d.as_ == name), None)
        span = span_of(d, "as_") if d else None
        meaning = find_intrinsic(name, span)
        if not target.satisfies(meaning.target):
            raise ScheduleError(
                error(
                    "intrinsic-missing",
                    f"`{name}` is an instruction of {meaning.target}, and the build is for {target.name} "
                    f"({target.cpu})",
                    span,
                    "not on this target",
                    help=f"head the schedule with `on {meaning.target}`, so that other targets take another one",
                )
            )
        if name in DEVIATIONS and not fast_math:
            raise ScheduleError(
                error(
                    "intrinsic-math",
                    f"`{name}` {DEVIATIONS[name]}, which strict arithmetic does not allow",
                    span,
                    'needs math="fast"',
                    help='build with `te.build(..., math="fast")` where such numbers do not matter',
                )
            )
