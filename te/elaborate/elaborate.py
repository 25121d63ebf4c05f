"""An op's syntax tree to a `Program`: the elaborator's entry points.

Statements may stand in any order; they are elaborated in dependence order, and a
mistake in one does not hide those in others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from te.diagnostics import CompileError, Diagnostic, Diagnostics, Note, error
from te.elaborate.arguments import is_op_call
from te.elaborate.calls import elaborate_call
from te.elaborate.definitions import Definition, define, find_types, is_start
from te.elaborate.expressions import refuse_unknown_function
from te.elaborate.modules import Library, Module
from te.elaborate.narrow import compute_in_f32
from te.elaborate.order import components
from te.elaborate.packs import expand_packs, pack_names
from te.elaborate.recurrences import order_stages
from te.elaborate.reducers import check_reducer, combination, define_states, find_reducer
from te.elaborate.scope import Failed, Scope
from te.elaborate.signature import read_signature
from te.elaborate.tables import read_table
from te.elaborate.unsupported import unsupported
from te.elaborate.unused import unused
from te.grammar import tree
from te.ir.expr import TRUE, Expr, Load, Op, integer
from te.ir.facts import Facts
from te.ir.overflow import facts_of, wrap_values
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Check, Program, Recurrence, Reduction, Requirement, Stage, Tensor
from te.ir.types import DTYPES, DType
from te.ir.visit import rewrite, substitute, walk

MAX_STAGES = 200  # later passes nest once for each intermediate tensor
CHECKED_RANK = 2  # where a file is checked and no call decides, a pack stands for two axes


def elaborate(
    file: tree.File,
    op: str,
    *,
    consts: Mapping[str, int | float | bool] | None = None,
    sizes: Mapping[str, int] | None = None,
    dtypes: Mapping[str, str] | None = None,
    ranks: Mapping[str, int] | None = None,
    library: Library | None = None,
) -> Program:
    """The meaning of the op named `op` in `file`, with `const`s, sizes and dtype variables fixed as given.

    `ranks` says how many axes each pack stands for; the names in `consts`, `sizes`,
    `dtypes` and `ranks` are the op's. `library` takes up the files that it uses. Raises
    `CompileError` with everything that is wrong with the op.
    """
    diagnostics = Diagnostics()
    module = Module(file, diagnostics, library)
    diagnostics.raise_if_errors()
    if op not in module.ops:
        raise KeyError(op)
    written = module.ops[op]
    chosen = {name: DTYPES[dtype] for name, dtype in (dtypes or {}).items()}
    _refuse_missing_consts(written, consts or {})
    expanded = expand_packs(written, ranks or {}, diagnostics)
    diagnostics.raise_if_errors()
    scope = Scope(expanded, module, diagnostics)
    try:
        elaborate_op(scope, consts or {}, chosen, {name: integer(v) for name, v in (sizes or {}).items()})
    except Failed as failed:
        diagnostics.raise_if_errors()
        raise AssertionError("an op failed, and no diagnostic says why") from failed
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
            case tree.ConstTable():
                _read_table_for_check(item, diagnostics)
            case tree.Op() | tree.Schedule() | tree.Use() | tree.Intrinsic():
                continue
            case tree.Reducer():
                _elaborate_reducer(item, module, diagnostics)
    return diagnostics.items


def _elaborate_reducer(item: tree.Reducer, module: Module, diagnostics: Diagnostics) -> None:
    scope = Scope(combination(item), module, diagnostics)
    try:
        check_reducer(scope, item)
        elaborate_op(scope, {}, {}, {})
    except Failed:
        return  # recorded in `diagnostics`


def _read_table_for_check(item: tree.ConstTable, diagnostics: Diagnostics) -> None:
    try:
        read_table(item)
    except CompileError as wrong:
        for diagnostic in wrong.diagnostics:
            diagnostics.add(diagnostic)


def _elaborate_for_check(op: tree.Op, module: Module, diagnostics: Diagnostics) -> None:
    module.library.calls = 0
    try:
        expanded = expand_packs(op, dict.fromkeys(pack_names(op), CHECKED_RANK), diagnostics)
        before = len(diagnostics.errors)
        elaborate_op(Scope(expanded, module, diagnostics), {}, {}, {})
    except Failed:
        return  # recorded in `diagnostics`
    if len(diagnostics.errors) == before:
        for found in unused(op):
            diagnostics.add(found)


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
    definitions = _definitions(scope)
    by_name = {name: d for d in definitions for name in d.names}
    needs = {d: [by_name[n] for n in d.reads() if n in by_name] for d in definitions}
    for group in components(definitions, needs):
        try:
            _elaborate_group(scope, group, recurs=len(group) > 1 or group[0] in needs[group[0]])
        except Failed:
            continue  # recorded in `diagnostics`
        if len(scope.stages) > MAX_STAGES:
            scope.diagnostics.add(_too_many_stages(group[0]))
            return
    _refuse_undefined_results(scope, by_name)
    compute_in_f32(scope)


def _too_many_stages(definition: Definition) -> Diagnostic:
    return error(
        "too-many-stages",
        f"the op expands to more than {MAX_STAGES} stages",
        definition.equations[0].span,
        help="build parts of it as ops of their own",
    )


def _refuse_undefined_results(scope: Scope, defined: Mapping[str, Definition]) -> None:
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


# ------------------------------------------------------------- definitions


def _definitions(scope: Scope) -> list[Definition]:
    """The equations, those of one tensor together. Each tensor has one equation that is no start."""
    found: dict[str, Definition] = {}
    for equation in scope.op.body:
        if not isinstance(equation, tree.Equation):
            continue
        try:
            if is_start(equation):
                _add_start(scope, equation, found)
            else:
                _add_general(scope, equation, found)
        except Failed:
            continue  # recorded in `diagnostics`
    return list(dict.fromkeys(found.values()))


def _add_start(scope: Scope, equation: tree.Equation, found: dict[str, Definition]) -> None:
    target = equation.targets[0]
    if target.name not in found:
        _declare_target(scope, target)
        found[target.name] = Definition((target.name,))
    found[target.name].starts.append(equation)


def _add_general(scope: Scope, equation: tree.Equation, found: dict[str, Definition]) -> None:
    names = tuple(t.name for t in equation.targets if t.name != "_")
    if len(names) == 1 and names[0] in found and found[names[0]].general is None:
        found[names[0]].general = equation
        return
    for target in equation.targets:
        if target.name != "_":
            _declare_target(scope, target)
    definition = Definition(names, equation)
    found.update(dict.fromkeys(names or (f"_{equation.span.start}",), definition))


def _declare_target(scope: Scope, target: tree.Target) -> None:
    """Enter a defined tensor into the namespace."""
    if target.name in scope.results and scope.results[target.name].span == scope.places.get(target.name):
        scope.places[target.name] = target.span  # declared after `->`, defined here
    elif target.name in scope.results or target.name in scope.places:
        _refuse_second_definition(scope, target)
    else:
        scope.declare(target.name, target.span)


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


def _elaborate_group(scope: Scope, group: list[Definition], *, recurs: bool) -> None:
    """Definitions that need each other, or (mostly) a single one."""
    if not recurs:
        _elaborate_definition(scope, group[0])
        return
    first = len(scope.stages)
    for definition in group:
        general = definition.general
        if general is not None and isinstance(general.value, tree.Call) and is_op_call(scope, general.value):
            unsupported(scope, "recurrences through calls of ops on whole tensors", general.span)
        if general is not None and len(general.targets) > 1:
            unsupported(scope, "recurrences through equations of several targets", general.span)
        for name in definition.names:
            if name in scope.results:
                scope.tensors[name] = scope.results[name]
    pending = list(group)
    while pending:
        definition = _next_with_known_types(scope, pending)
        pending.remove(definition)
        _elaborate_definition(scope, definition)
    order_stages(scope, first)


def _next_with_known_types(scope: Scope, pending: list[Definition]) -> Definition:
    """A definition that reads only tensors whose types are known; if need be, they are found first."""
    unknown = {n for d in pending for n in d.names if n not in scope.tensors}
    for definition in pending:
        if unknown.isdisjoint(definition.reads()):
            return definition
    find_types(scope, [d for d in pending if unknown & {*d.names}])
    return pending[0]


def _elaborate_definition(scope: Scope, definition: Definition) -> None:
    equation = definition.general
    if equation is None or definition.starts:
        define(scope, definition)
    elif isinstance(equation.value, tree.Call) and is_op_call(scope, equation.value):
        elaborate_call(scope, equation)
    elif isinstance(equation.value, tree.Reduce) and (own := find_reducer(scope, equation.value.name.name)):
        if len(equation.targets) > 1:
            define_states(scope, equation, equation.value, own)
        else:
            define(scope, definition)
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
        if isinstance(equation.value, tree.Call) and equation.targets[0].index is None:
            refuse_unknown_function(scope, equation.value)
        define(scope, definition)


def _with_plain_indices(value: Expr, facts: Facts) -> Expr:
    """Without the quotients and remainders that are known in the range of the axes.

    With one group, the channel `k // K * CG + c` is `c`: schedules and code depend on seeing that.
    """

    def plain(e: Expr) -> Expr:
        if not isinstance(e, Load) or not any(_is_divided(i) for i in e.index):
            return e
        return replace(e, index=tuple(simplify(i, facts) if _is_divided(i) else i for i in e.index))

    return rewrite(value, plain)


def _is_divided(e: Expr) -> bool:
    return any(isinstance(node, Op) and node.op in ("//", "%") for node in walk(e))


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
        fixed = Stage(
            fix_tensor(s.tensor), fix_axes(s.axes), substitute(s.value, bindings), reduction, s.span
        )
        facts = facts_of(fixed)
        value = simplify(
            _with_plain_indices(wrap_values(fixed.value, facts), facts)
        )  # as exact arithmetic, so what wraps is marked before
        return replace(fixed, value=wrap_values(value, facts))  # and after: a cast may have become a constant

    def fix_check(c: Check) -> Check:
        return replace(c, extent=fix(c.extent), axes=fix_axes(c.axes))

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
        recurrences=tuple(Recurrence(fix_axes(r.axes), r.stages) for r in scope.recurrences),
        tables=tuple(t for t in scope.tables.values() if t.tensor.shape),
        checks=tuple(fix_check(c) for c in scope.checks),
        params=tuple(p.name for p in op.params if p.kind == "param"),
        dtypes=tuple(scope.dtypes.items()),
        calls=tuple(
            replace(c, sizes=tuple((name, fix(size)) for name, size in c.sizes)) for c in scope.calls
        ),
        requirements=tuple(r for r in map(fix_requirement, scope.requirements) if r.condition != TRUE),
        span=op.name_span,
    )
