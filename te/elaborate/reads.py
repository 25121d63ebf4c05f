"""Reads: every one lies provably inside its tensor, or says what lies outside.

For each axis of a read two conditions must hold, `0 <= index` and `index <=
extent - 1`. What guards the read is a fact for them. Where a proof fails, the
message gives the span of the index and, where one is found, sizes and indices for
which the read goes wrong.
"""

from __future__ import annotations

from te.diagnostics import Diagnostic, counted, did_you_mean, error
from te.elaborate.checks import check_at_run_time
from te.elaborate.dtypes import depends_on_data, unify, zero
from te.elaborate.expressions import Env, lower, lower_index
from te.elaborate.limits import limited
from te.elaborate.scope import Failed, Scope
from te.elaborate.tables import find_table
from te.grammar import tree
from te.ir.bounds import bounds, counterexample, prove
from te.ir.expr import TRUE, Const, Expr, Load, Select, both, compare, integer, negation, sub
from te.ir.print import print_expr
from te.ir.simplify import simplify
from te.ir.tensor import Tensor
from te.ir.visit import substitute, variables


def lower_read(scope: Scope, env: Env, e: tree.Read) -> Expr:
    tensor = _tensor(scope, e)
    if len(e.index) != len(tensor.shape):
        scope.fail(
            error(
                "wrong-rank",
                f"`{tensor.name}` has {counted(len(tensor.shape), 'axis')}, found {len(e.index)} in this read",
                e.span,
                help=f"its shape is [{', '.join(print_expr(d) for d in tensor.shape)}]",
            )
        )
    index = tuple(lower_index(scope, env, i) for i in e.index)
    load = Load(tensor.name, index, tensor.dtype)
    if e.outside is None:
        return _read_inside(scope, env, e, tensor, load)
    return _read_or_else(scope, env, e, tensor, load)


def _read_inside(scope: Scope, env: Env, e: tree.Read, tensor: Tensor, load: Load) -> Expr:
    """A read that is proved in range, or (where the index depends on data) checked at run time."""
    unproved = [(axis, c) for axis, c in _conditions(load.index, tensor) if not env.proves(c)]
    inside: Expr = TRUE
    for axis in dict.fromkeys(axis for axis, _ in unproved):
        conditions = [c for a, c in unproved if a == axis]
        if not depends_on_data(load.index[axis]):
            if all(scope.waits_for_consts(c, env.knowledge) for c in conditions):
                continue
            scope.fail(_out_of_range(env, e, tensor, load.index, axis, conditions[0]))
        here = conditions[0] if len(conditions) == 1 else both(*conditions)
        check_at_run_time(scope, env, e, tensor, axis, here)
        inside = both(inside, here)
    if inside == TRUE:
        return load
    return limited(scope, Select(inside, load, zero(tensor.dtype)), e.span)


def _tensor(scope: Scope, e: tree.Read) -> Tensor:
    name = e.name.name
    if name not in scope.places:
        find_table(scope, name)
    if name in scope.tensors:
        return scope.tensors[name]
    if name in scope.sizes or name in scope.consts:
        scope.fail(
            error("read-of-size", f"`{name}` is not a tensor", e.name.span, help=f"write `{name}` alone")
        )
    defined = scope.defined_names()
    if name in defined:
        raise Failed  # its own equation was given up, with a diagnostic
    scope.fail(
        error(
            "unknown-tensor",
            f"there is no tensor `{name}`",
            e.name.span,
            help=did_you_mean(name, [*scope.tensors, *defined]),
        )
    )


def _conditions(index: tuple[Expr, ...], tensor: Tensor) -> list[tuple[int, Expr]]:
    """(axis, condition) pairs that together say that an index lies inside a tensor."""
    conditions = []
    for axis, (i, extent) in enumerate(zip(index, tensor.shape, strict=True)):
        conditions.append((axis, compare("<=", integer(0), i)))
        conditions.append((axis, compare("<", i, extent)))
    return conditions


def _read_or_else(scope: Scope, env: Env, e: tree.Read, tensor: Tensor, load: Load) -> Expr:
    """`X[i] else v`: tests only what cannot be proved, and evaluates `v` only outside."""
    assert e.outside is not None
    tests = [c for _, c in _conditions(load.index, tensor) if not env.knowledge.proves(c)]
    if not tests and not scope.callers:
        every = [c for _, c in _conditions(load.index, tensor)]
        if all(env.knowledge.proves_generically(c) for c in every):
            scope.fail(
                error(
                    "unreachable-else",
                    "this read never lies outside, so its `else` value is never used",
                    e.outside.span,
                    help="leave `else` out; or an inferred extent is too small: write it, as in `Y[i < N + 1] = ...`",
                )
            )
    inside: Expr = TRUE
    for test in tests:
        inside = both(inside, simplify(test))
    outside = lower(scope, env.guarded_by(negation(inside)) if tests else env, e.outside)
    inner, outside = unify(scope, load, e.span, outside, e.outside.span)
    return limited(scope, Select(inside, inner, outside) if tests else inner, e.span)


def _out_of_range(
    env: Env, e: tree.Read, tensor: Tensor, index: tuple[Expr, ...], axis: int, condition: Expr
) -> Diagnostic:
    i, extent = index[axis], tensor.shape[axis]
    literal = e.index[axis]
    if isinstance(i, Const) and isinstance(literal, tree.Unary | tree.Number):
        return _constant_index(e, tensor, axis, i)
    facts = env.knowledge.bound
    bound_index = substitute(i, env.knowledge.bindings)
    names = [name for name, _, _ in facts.ranges]
    low, high = bounds(bound_index, facts, names)
    spans = (
        f"index spans {_end(low)} .. {_end(high)}" if low is not None or high is not None else "this index"
    )
    label = f"{spans}, axis {axis} of {tensor.name} spans 0 .. {_last(substitute(extent, env.knowledge.bindings))}"
    example = counterexample(substitute(condition, env.knowledge.bindings), facts)
    return error(
        "read-out-of-range",
        "read out of range",
        e.span,
        label,
        help=_help(env, e, tensor, index, axis, example, low, high),
    )


def _constant_index(e: tree.Read, tensor: Tensor, axis: int, i: Const) -> Diagnostic:
    extent = tensor.shape[axis]
    if i.value < 0:
        instead = simplify(sub(extent, integer(-int(i.value))))
        advice = f"indices do not count from the end: write `{print_expr(instead)}`"
    else:
        advice = f"add `require {print_expr(extent)} > {i.value}`, or say what lies outside: `{e.span.text} else 0`"
    return error(
        "constant-index",
        f"index {i.value} may lie outside axis {axis} of `{tensor.name}`",
        e.span,
        f"axis {axis} of {tensor.name} spans 0 .. {_last(extent)}",
        help=advice,
    )


def _help(
    env: Env,
    e: tree.Read,
    tensor: Tensor,
    index: tuple[Expr, ...],
    axis: int,
    example: dict[str, int] | None,
    low: Expr | None,
    high: Expr | None,
) -> str:
    lines = []
    relation = _missing_relation(env, tensor, axis, low, high)
    otherwise = f"give the value outside, `{e.span.text} else 0`"
    if relation is not None:
        lines.append(f"if it always holds, add `require {relation}`; or {otherwise}")
    else:
        lines.append(f"{otherwise}, or shrink `{env.owner}`" if env.owner else otherwise)
    if example is not None:
        values = {name: integer(value) for name, value in example.items()}
        position = ", ".join(
            print_expr(simplify(substitute(substitute(i, env.knowledge.bindings), values))) for i in index
        )
        lines.append(f"with {_assignment(example)} it reads {tensor.name}[{position}]")
    return "\n".join(lines)


def _assignment(example: dict[str, int]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in example.items())


def _missing_relation(env: Env, tensor: Tensor, axis: int, low: Expr | None, high: Expr | None) -> str | None:
    """The condition between sizes that would make the read right, if one is missing and can hold."""
    facts = env.knowledge.bound
    extent = substitute(tensor.shape[axis], env.knowledge.bindings)
    if low is None or high is None:
        return None
    needed = [
        compare("<=", integer(0), low),
        compare("<=", simplify(high), simplify(sub(extent, integer(1)))),
    ]
    missing = [c for c in needed if not prove(c, facts)]
    if len(missing) != 1 or not variables(missing[0]):
        return None
    condition = missing[0]
    if prove(negation(condition), facts) or _never_with_any_sizes(condition):
        return None
    from te.ir.expr import Op, add

    assert isinstance(condition, Op)
    left, right = condition.args
    one_more = simplify(add(left, integer(1))), simplify(add(right, integer(1)))
    if len(print_expr(one_more[0])) + len(print_expr(one_more[1])) <= len(print_expr(left)) + len(
        print_expr(right)
    ):
        left, right = one_more
    return f"{print_expr(left)} <= {print_expr(right)}"


def _never_with_any_sizes(condition: Expr) -> bool:
    """Whether no sizes satisfy the condition, such as `N <= N - 1`."""
    simple = simplify(condition)
    return isinstance(simple, Const) and not simple.value


def _last(extent: Expr) -> str:
    return print_expr(simplify(sub(extent, integer(1))))


def _end(e: Expr | None) -> str:
    return "?" if e is None else print_expr(e)
