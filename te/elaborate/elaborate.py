"""An op's syntax tree to a `Program`: the elaborator's entry points.

Statements may stand in any order; they are elaborated in dependence order, and a
mistake in one does not hide those in others.
"""

from __future__ import annotations

from collections.abc import Mapping

from te.diagnostics import CompileError, Diagnostic, Diagnostics, Note, counted, error
from te.elaborate.arguments import is_op_call
from te.elaborate.calls import elaborate_call
from te.elaborate.dtypes import coerce, settle
from te.elaborate.expressions import Env, lower, refuse_unknown_function
from te.elaborate.modules import Module
from te.elaborate.packs import expand_packs, pack_names
from te.elaborate.ranges import axis_name, inferred_extent, written_extent
from te.elaborate.reductions import reduce_term
from te.elaborate.scope import Failed, Scope, nonnegative
from te.elaborate.signature import equal, read_signature
from te.elaborate.syntax import names_read
from te.elaborate.unsupported import unsupported
from te.grammar import tree
from te.ir.expr import TRUE, Expr, integer
from te.ir.print import print_expr
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Program, Reduction, Requirement, Stage, Tensor
from te.ir.types import DTYPES, DType
from te.ir.visit import substitute

CHECKED_RANK = 2  # where a file is checked and no call decides, a pack stands for two axes


def elaborate(
    file: tree.File,
    op: str,
    *,
    consts: Mapping[str, int | float | bool] | None = None,
    sizes: Mapping[str, int] | None = None,
    dtypes: Mapping[str, str] | None = None,
    ranks: Mapping[str, int] | None = None,
) -> Program:
    """The meaning of the op named `op` in `file`, with `const`s, sizes and dtype variables fixed as given.

    `ranks` says how many axes each pack stands for; the names in `consts`, `sizes`,
    `dtypes` and `ranks` are the op's. Raises `CompileError` with everything that is
    wrong with the op.
    """
    diagnostics = Diagnostics()
    module = Module(file, diagnostics)
    diagnostics.raise_if_errors()
    if op not in module.ops:
        raise KeyError(op)
    written = module.ops[op]
    chosen = {name: DTYPES[dtype] for name, dtype in (dtypes or {}).items()}
    _refuse_missing_consts(written, consts or {})
    expanded = expand_packs(written, ranks or {}, diagnostics)
    diagnostics.raise_if_errors()
    scope = Scope(expanded, module, diagnostics)
    elaborate_op(scope, consts or {}, chosen, {name: integer(v) for name, v in (sizes or {}).items()})
    diagnostics.raise_if_errors()
    return _program(scope, sizes or {})


def check(file: tree.File) -> list[Diagnostic]:
    """Every diagnostic that a file gives, its ops elaborated for all sizes and `const`s."""
    diagnostics = Diagnostics()
    module = Module(file, diagnostics)
    module.check_uses(diagnostics)
    for item in file.items:
        match item:
            case tree.Op() if module.ops.get(item.name) is item:
                _elaborate_for_check(item, module, diagnostics)
            case tree.Op() | tree.Schedule() | tree.Use():
                continue
            case _:
                what = {
                    tree.Reducer: "reducers of your own",
                    tree.ConstTable: "`const` tables",
                }
                diagnostics.add(
                    error(
                        "not-supported",
                        f"this version of te does not support {what.get(type(item), 'intrinsics')}",
                        item.span,
                    )
                )
    return diagnostics.items


def _elaborate_for_check(op: tree.Op, module: Module, diagnostics: Diagnostics) -> None:
    module.library.calls = 0
    try:
        expanded = expand_packs(op, dict.fromkeys(pack_names(op), CHECKED_RANK), diagnostics)
        elaborate_op(Scope(expanded, module, diagnostics), {}, {}, {})
    except Failed:
        return  # recorded in `diagnostics`


def _refuse_missing_consts(op: tree.Op, consts: Mapping[str, object]) -> None:
    for param in op.params:
        if param.kind == "const" and param.default is None and param.name not in consts:
            raise CompileError(
                error(
                    "const-missing",
                    f"`{param.name}` has no value",
                    param.span,
                    help=f"give it to the build: `consts={{{param.name!r}: ...}}`, or write a default",
                )
            )


def elaborate_op(
    scope: Scope,
    consts: Mapping[str, int | float | bool],
    dtypes: Mapping[str, DType],
    bindings: Mapping[str, Expr],
    assumptions: tuple[Expr, ...] = (),
) -> None:
    """Fill `scope` with the stages of its op. Mistakes go to `scope.diagnostics`."""
    before = len(scope.diagnostics.errors)
    read_signature(scope, consts, dtypes, bindings, assumptions)
    if len(scope.diagnostics.errors) > before:
        return  # what the header gets wrong would echo through the body
    equations = [s for s in scope.op.body if isinstance(s, tree.Equation)]
    equations = [s for s in equations if _declare_targets(scope, s)]
    for equation in _in_dependence_order(scope, equations):
        try:
            _elaborate_statement(scope, equation)
        except Failed:
            continue  # recorded in `diagnostics`
    defined = {t.name for e in equations for t in e.targets}
    for result in scope.op.results:
        if result.name not in defined and result.name in scope.results:
            scope.diagnostics.add(
                error(
                    "result-undefined",
                    f"the result `{result.name}` is not defined",
                    result.span,
                    help=f"write `{result.name}[...] = ...` in the body",
                )
            )


def _declare_targets(scope: Scope, equation: tree.Equation) -> bool:
    """Enter the defined tensors into the namespace; each is defined once."""
    try:
        for target in equation.targets:
            if target.name == "_":
                continue
            if any(isinstance(i, tree.Number) for i in target.index or ()):
                unsupported(scope, "equations with a constant index (recurrences)", target.span)
            if target.name in scope.results and scope.results[target.name].span == scope.places.get(
                target.name
            ):
                scope.places[target.name] = target.span  # declared after `->`, defined here
            elif target.name in scope.results or target.name in scope.places:
                _refuse_second_definition(scope, target)
            else:
                scope.declare(target.name, target.span)
    except Failed:
        return False
    return True


def _refuse_second_definition(scope: Scope, target: tree.Target) -> None:
    if target.name in scope.tensors:
        scope.fail(
            error(
                "input-assigned",
                f"`{target.name}` is an input",
                target.span,
                help="inputs are only read: choose another name",
            )
        )
    scope.fail(
        error(
            "defined-twice",
            f"`{target.name}` is already defined",
            target.span,
            notes=[Note(scope.places[target.name], "first defined here")],
            help="one equation defines all elements: choose by `where(condition, a, b)`",
        )
    )


def _in_dependence_order(scope: Scope, equations: list[tree.Equation]) -> list[tree.Equation]:
    """Definitions before uses, else in the order of the text. A cycle is a recurrence."""
    definer = {t.name: e for e in equations for t in e.targets}
    done: dict[int, bool] = {}
    order: list[tree.Equation] = []

    def visit(equation: tree.Equation, trail: tuple[str, ...]) -> None:
        if id(equation) in done:
            return
        done[id(equation)] = False
        for name, node in names_read(equation.value):
            needed = definer.get(name)
            if needed is None:
                continue
            if done.get(id(needed)) is False:
                _refuse_recurrence(scope, name, node)
                continue
            visit(needed, (*trail, name))
        done[id(equation)] = True
        order.append(equation)

    for equation in equations:
        visit(equation, ())
    return order


def _refuse_recurrence(scope: Scope, name: str, node: tree.Expr) -> None:
    scope.diagnostics.add(
        error(
            "not-supported",
            f"`{name}` depends on itself, and this version of te does not support recurrences",
            node.span,
        )
    )


def _elaborate_statement(scope: Scope, equation: tree.Equation) -> None:
    if isinstance(equation.value, tree.Call) and is_op_call(scope, equation.value):
        elaborate_call(scope, equation)
    elif isinstance(equation.value, tree.Call) and equation.targets[0].index is None:
        refuse_unknown_function(scope, equation.value)
        _elaborate_equation(scope, equation, equation.targets[0])
    elif len(equation.targets) > 1:
        scope.fail(
            error(
                "several-targets",
                "several results come from a call of an op",
                equation.targets[1].span,
                help="write one equation for each tensor",
            )
        )
    else:
        _elaborate_equation(scope, equation, equation.targets[0])


def _elaborate_equation(scope: Scope, equation: tree.Equation, target: tree.Target) -> None:
    """`Y[i, j] = expr`: one stage for the tensor, others for the reductions inside."""
    declared = scope.results.get(target.name)
    axes = _target_axes(scope, equation, target, declared)
    knowledge = scope.knowledge
    for axis in axes:
        knowledge = knowledge.with_range(axis.name, axis.extent)
    env = Env(knowledge, knowledge, axes, target.name)
    value, reduction = _right_side(scope, env, equation.value)
    span = equation.value.span
    value = coerce(scope, value, declared.dtype, span) if declared else settle(scope, value, span)
    tensor = declared or Tensor(target.name, value.dtype, tuple(a.extent for a in axes), target.span)
    scope.tensors[target.name] = tensor
    scope.stages.append(Stage(tensor, axes, value, reduction, equation.span))


def _right_side(scope: Scope, env: Env, e: tree.Expr) -> tuple[Expr, Reduction | None]:
    """A reduction that is the whole right side makes the tensor's own stage reduce."""
    if isinstance(e, tree.Reduce) and e.name.name != "mean":
        lowered = reduce_term(scope, env, e)
        return lowered.term, lowered.reduction
    return lower(scope, env, e), None


def _target_axes(
    scope: Scope, equation: tree.Equation, target: tree.Target, declared: Tensor | None
) -> tuple[Axis, ...]:
    index = target.index or ()
    if declared is not None and len(index) != len(declared.shape):
        scope.fail(
            error(
                "wrong-rank",
                f"`{target.name}` is declared with {counted(len(declared.shape), 'axis')}, found {len(index)}",
                target.span,
                help=f"its shape is [{', '.join(print_expr(d) for d in declared.shape)}]",
            )
        )
    env = Env.for_sizes(scope)
    axes: list[Axis] = []
    for number, item in enumerate(index):
        name = axis_name(scope, env, item, {a.name for a in axes})
        if isinstance(item, tree.Range):
            extent = written_extent(scope, env, item)
            _check_written(scope, target, item, extent, declared.shape[number] if declared else None)
        elif declared is not None:
            extent = declared.shape[number]
        else:
            extent = inferred_extent(scope, name, item.span, [equation.value])
        axes.append(Axis(name, extent))
    return tuple(axes)


def _check_written(
    scope: Scope, target: tree.Target, item: tree.Range, extent: Expr, declared: Expr | None
) -> None:
    if declared is not None and not equal(scope, extent, declared):
        scope.fail(
            error(
                "extent-not-declared",
                f"`{item.name}` runs to {print_expr(extent)}, "
                f"but `{target.name}` is declared with {print_expr(declared)}",
                item.span,
                help="one equation defines every element: leave the extent out",
            )
        )
    if declared is None and not scope.knowledge.proves(nonnegative(extent)):
        text = f"{print_expr(extent)} >= 0 (axis {item.name} of {target.name})"
        scope.requirements.append(Requirement(nonnegative(extent), text, item.span))
        scope.knowledge = scope.knowledge.assuming(nonnegative(extent))


def _program(scope: Scope, sizes: Mapping[str, int]) -> Program:
    """The finished program: bound sizes and `const`s take the place of their names."""
    bindings = scope.knowledge.bindings

    def fix(e: Expr) -> Expr:
        return simplify(substitute(e, bindings))

    def fix_tensor(t: Tensor) -> Tensor:
        return Tensor(t.name, t.dtype, tuple(fix(d) for d in t.shape), t.span)

    def fix_axes(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(Axis(a.name, fix(a.extent)) for a in axes)

    def fix_stage(s: Stage) -> Stage:
        r = s.reduction
        reduction = None if r is None else Reduction(r.reducer, fix_axes(r.axes), fix(r.where))
        return Stage(fix_tensor(s.tensor), fix_axes(s.axes), fix(s.value), reduction, s.span)

    def fix_requirement(r: Requirement) -> Requirement:
        return Requirement(fix(r.condition), r.text, r.span)

    op = scope.op
    inputs = tuple(fix_tensor(scope.tensors[p.name]) for p in op.params if p.kind != "const")
    return Program(
        name=op.name,
        doc=op.doc,
        sizes=tuple(s for s in scope.sizes if s not in sizes),
        fixed=tuple((s, sizes[s]) for s in scope.sizes if s in sizes),
        consts=tuple((n, c.value) for n, c in scope.consts.items() if c.value is not None),
        inputs=inputs,
        results=tuple(r.name for r in op.results),
        stages=tuple(fix_stage(s) for s in scope.stages),
        requirements=tuple(r for r in map(fix_requirement, scope.requirements) if r.condition != TRUE),
        span=op.name_span,
    )
