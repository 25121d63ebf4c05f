"""Scalar expressions: syntax tree to `te.ir.expr`.

`lower` resolves names, finds dtypes, proves reads in range and lifts reductions
out into stages of their own. It stops at the first mistake of a statement.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from te.diagnostics import Diagnostic, Span, counted, did_you_mean, error
from te.elaborate.builtins import CONSTANTS, FUNCTION_NAMES, REDUCERS
from te.elaborate.dtypes import (
    LITERALS,
    check_operand,
    coerce,
    coerce_index,
    common_type,
    depends_on_data,
    is_literal,
    literal_integer,
    power,
    result_type,
    settle,
    unify,
)
from te.elaborate.limits import exact
from te.elaborate.narrow import refuse_overflow
from te.elaborate.scope import Failed, Knowledge, Scope
from te.grammar import tree
from te.ir.expr import (
    ARITHMETIC,
    BITWISE,
    COMPARISONS,
    FUNCTIONS,
    PREDICATES,
    Cast,
    Const,
    Expr,
    Load,
    Op,
    Select,
    Var,
    conjuncts,
    negation,
)
from te.ir.tensor import Axis
from te.ir.types import BOOL, DTYPES, F32, F64, LITERAL_FLOAT, LITERAL_INT, DType, wrap_integer


@dataclass(frozen=True, slots=True)
class Env:
    """Where an expression stands.

    `base` knows the ranges of the indices in scope; `knowledge` adds the guards that
    hold right here. A reduction inside becomes a stage outside those guards; it may
    adopt the ones that its reads need (`adoptable`), and notes them in `adopted`.
    """

    base: Knowledge
    knowledge: Knowledge
    indices: tuple[Axis, ...] = ()
    owner: str = ""
    guards: tuple[Expr, ...] = ()
    adoptable: tuple[Expr, ...] = ()
    adopted: list[Expr] = field(default_factory=list)
    conditions: tuple[Expr, ...] = ()  # all that decides whether this place is evaluated
    sizes_only: bool = False

    @staticmethod
    def for_sizes(scope: Scope) -> Env:
        """For dimensions, extents and `require`: sizes and `const`s, no indices and no data."""
        return Env(scope.knowledge, scope.knowledge, sizes_only=True)

    def index_names(self) -> set[str]:
        return {axis.name for axis in self.indices}

    def guarded_by(self, condition: Expr) -> Env:
        """The same place where `condition` is known to hold."""
        knowledge, parts = self.knowledge, tuple(conjuncts(condition))
        for part in parts:
            knowledge = knowledge.assuming(part)
        return replace(
            self,
            knowledge=knowledge,
            guards=(*self.guards, *parts),
            conditions=(*self.conditions, *parts),
        )

    def proves(self, condition: Expr) -> bool:
        """Whether a read's condition holds here, adopting outer guards where it needs them."""
        if self.knowledge.proves(condition):
            return True
        for guard in self.adoptable:
            if self.knowledge.assuming(guard).proves(condition):
                self.adopted.append(guard)
                return True
        everything = self.knowledge
        for guard in self.adoptable:
            everything = everything.assuming(guard)
        if len(self.adoptable) > 1 and everything.proves(condition):
            self.adopted.extend(self.adoptable)
            return True
        return False


def lower(scope: Scope, env: Env, e: tree.Expr | tree.Axis) -> Expr:
    """The meaning of an expression; a literal keeps a literal dtype until `coerce` or `settle`."""
    from te.elaborate.reads import lower_read
    from te.elaborate.reductions import lower_reduction

    match e:
        case tree.Number(value=value):
            return Const(value, LITERAL_FLOAT if isinstance(value, float) else LITERAL_INT)
        case tree.Name():
            return _name(scope, env, e)
        case tree.Unary():
            return _unary(scope, env, e)
        case tree.Binary(op="and" | "or"):
            return _logical(scope, env, e)
        case tree.Binary():
            return _binary(scope, env, e)
        case tree.Compare():
            return _compare(scope, env, e)
        case tree.Call():
            return _call(scope, env, e)
        case tree.Read():
            _refuse_data(scope, env, e.span)
            return lower_read(scope, env, e)
        case tree.Reduce():
            _refuse_data(scope, env, e.span)
            return lower_reduction(scope, env, e)
        case tree.Range():
            scope.fail(
                error(
                    "range-in-read",
                    f"`{e.span.text}` gives an extent, which a read does not take",
                    e.span,
                    help=f"write `{e.name}`",
                )
            )
        case tree.Pack():
            from te.elaborate.unsupported import unsupported

            unsupported(scope, "packs (`*S`)", e.span)
        case tree.Table():
            raise AssertionError("the parser lets no list into an expression")


def lower_condition(scope: Scope, env: Env, e: tree.Expr) -> Expr:
    condition = lower(scope, env, e)
    if condition.dtype != BOOL:
        scope.fail(
            error(
                "number-as-bool",
                f"expected a condition, found {condition.dtype}",
                e.span,
                help="compare it: `x != 0`",
            )
        )
    return exact(scope, condition, e.span)


def _refuse_data(scope: Scope, env: Env, span: Span) -> None:
    if env.sizes_only:
        scope.fail(
            error(
                "extent-uses-data",
                "sizes are made of sizes and `const`s only",
                span,
                help="write the condition as `where`, as in `sum[j where j <= i](...)`",
            )
        )


# ------------------------------------------------------------------- names


def _name(scope: Scope, env: Env, e: tree.Name) -> Expr:
    from te.elaborate.tables import find_table, scalar_constant

    name = e.name
    if name in env.index_names() or name in scope.sizes:
        return Var(name)
    if name in scope.consts:
        const = scope.consts[name]
        if const.kind == "bool":
            return Const(bool(const.value), BOOL)
        return Load(name, (), LITERAL_INT if const.kind == "int" else LITERAL_FLOAT)
    if name in CONSTANTS:
        value = CONSTANTS[name]
        return Const(value, BOOL if isinstance(value, bool) else LITERAL_FLOAT)
    table = None if name in scope.places else find_table(scope, name)
    if table is not None and not table.tensor.shape:
        return scalar_constant(table)
    if name in scope.tensors:
        _refuse_data(scope, env, e.span)
        tensor = scope.tensors[name]
        if tensor.shape:
            indices = ", ".join("ijklmn"[: len(tensor.shape)]) if len(tensor.shape) <= 6 else "..."
            scope.fail(
                error(
                    "missing-index",
                    f"`{name}` is a tensor, and an expression is about its elements",
                    e.span,
                    help=f"write `{name}[{indices}]`",
                )
            )
        return Load(name, (), tensor.dtype)
    if name in scope.results or name in scope.defined_names():
        raise Failed  # its own equation was given up, with a diagnostic
    scope.fail(_unknown_name(scope, env, e))


def _unknown_name(scope: Scope, env: Env, e: tree.Name) -> Diagnostic:
    name = e.name
    if env.sizes_only:
        bare = any(
            isinstance(d, tree.Name) and d.name == name for r in scope.op.results for d in r.type.dims or ()
        )
        if bare or any(name in p.type.span.text for p in scope.op.params if p.type.dims):
            return error(
                "size-not-bound",
                f"no input has the size `{name}` bare",
                e.span,
                help=f"give it by an input, as in `X: f32[{name}]`, or write `const {name}: int`",
            )
        return error(
            "unknown-size",
            f"there is no size or `const` named `{name}`",
            e.span,
            help=did_you_mean(name, [*scope.sizes, *scope.consts])
            or "extents use sizes and `const`s only; write a condition as `where`",
        )
    if name in FUNCTION_NAMES or scope.find_op(name) is not None:
        return error("function-as-value", f"`{name}` is a function", e.span, help=f"call it: `{name}(...)`")
    suggestion = did_you_mean(name, [*env.index_names(), *scope.places, *scope.tensors])
    if suggestion is None or len(name) <= 2:
        return error(
            "unbound-index",
            f"nothing binds the index `{name}`",
            e.span,
            help=f"sum over it, `sum[{name}](...)`, or write it on the left, as in `Y[{name}] = ...`",
        )
    return error("unknown-name", f"there is nothing named `{name}` here", e.span, help=suggestion)


# --------------------------------------------------------------- operators


def _unary(scope: Scope, env: Env, e: tree.Unary) -> Expr:
    operand = lower(scope, env, e.operand)
    if e.op == "not":
        check_operand(scope, "not", "bool", operand, e.span)
        return negation(operand)
    check_operand(scope, e.op, "integer" if e.op == "~" else "number", operand, e.span)
    if e.op == "+":
        return operand
    if isinstance(operand, Const) and e.op == "-":
        is_wrapping = operand.dtype.is_integer  # a literal has no type yet
        value = wrap_integer(-int(operand.value), operand.dtype) if is_wrapping else -operand.value
        return Const(value, operand.dtype)
    return Op("neg" if e.op == "-" else "~", (operand,), operand.dtype)


def _logical(scope: Scope, env: Env, e: tree.Binary) -> Expr:
    left = lower(scope, env, e.left)
    check_operand(scope, e.op, "bool", left, e.left.span)
    # The right side is evaluated only where the left one does not decide.
    right = lower(scope, env.guarded_by(left if e.op == "and" else negation(left)), e.right)
    check_operand(scope, e.op, "bool", right, e.right.span)
    return Op(e.op, (left, right), BOOL)


def _binary(scope: Scope, env: Env, e: tree.Binary) -> Expr:
    left, right = lower(scope, env, e.left), lower(scope, env, e.right)
    if e.op == "**":
        return _power(scope, left, right, e)
    kind = ARITHMETIC.get(e.op) or BITWISE[e.op]
    for operand, node in ((left, e.left), (right, e.right)):
        check_operand(scope, e.op, kind, operand, e.span if e.op == "/" else node.span)
    left, right = unify(scope, left, e.left.span, right, e.right.span)
    if kind == "integer" and is_literal(left):
        left, right = settle(scope, left, e.left.span), settle(scope, right, e.right.span)
    return Op(e.op, (left, right), common_type(left, right))


def _power(scope: Scope, left: Expr, right: Expr, e: tree.Binary) -> Expr:
    for operand, node in ((left, e.left), (right, e.right)):
        check_operand(scope, "**", "number", operand, node.span)
    if is_literal(left):
        if is_literal(right):
            return Op("**", (left, right), common_type(left, right))
        left = coerce(scope, left, right.dtype, e.left.span)
    elif left.dtype.is_float:
        left, right = unify(scope, left, e.left.span, right, e.right.span)
    return power(scope, left, right, e.span)


def _compare(scope: Scope, env: Env, e: tree.Compare) -> Expr:
    operands = [lower(scope, env, o) for o in e.operands]
    result: Expr | None = None
    for number, op in enumerate(e.ops):
        a_node, b_node = e.operands[number], e.operands[number + 1]
        a, b = unify(scope, operands[number], a_node.span, operands[number + 1], b_node.span)
        check_operand(scope, op, COMPARISONS[op], a, a_node.span)
        if is_literal(a):
            dtype = F64 if LITERAL_FLOAT in (a.dtype, b.dtype) else DTYPES["i64"]
            a, b = coerce(scope, a, dtype, a_node.span), coerce(scope, b, dtype, b_node.span)
        part = Op(op, (a, b), BOOL)
        result = part if result is None else Op("and", (result, part), BOOL)
    assert result is not None
    return result


# ------------------------------------------------------------------- calls


def _call(scope: Scope, env: Env, e: tree.Call) -> Expr:
    name = e.name.name
    dtype = scope.dtypes.get(name) or DTYPES.get(name)
    if dtype is not None:
        return _cast(scope, env, e, dtype)
    if name == "where":
        return _where(scope, env, e)
    if name == "size":
        return _size(scope, e)
    if name == "wide":
        return _wide(scope, env, e)
    definition = scope.find_op(name)
    if definition is not None:
        from te.elaborate.functions import lower_function

        return lower_function(scope, env, e, definition)
    if name in FUNCTION_NAMES:
        return _function(scope, env, e)
    refuse_unknown_function(scope, e)
    raise AssertionError("every known function was tried")


def refuse_unknown_function(scope: Scope, e: tree.Call) -> None:
    """Give up a statement that calls what nothing defines."""
    name = e.name.name
    if name in scope.module.bare and scope.find_op(name) is None:
        raise Failed  # `use` was told that its file has no such op
    if not (name in FUNCTION_NAMES or name in DTYPES or name in scope.dtypes or scope.find_op(name)):
        scope.fail(_unknown_function(scope, e))


def _unknown_function(scope: Scope, e: tree.Call) -> Diagnostic:
    name = e.name.name
    if name in REDUCERS:
        return error(
            "reducer-without-index",
            f"`{name}` needs the indices that it reduces",
            e.span,
            help=f"write `{name}[i](...)`",
        )
    if name in scope.tensors:
        return error(
            "tensor-called", f"`{name}` is a tensor", e.span, help=f"read it with brackets: `{name}[...]`"
        )
    known = [*FUNCTION_NAMES, *scope.module.callable_names(), *DTYPES]
    return error(
        "unknown-function", f"there is no function `{name}`", e.name.span, help=did_you_mean(name, known)
    )


def positional(scope: Scope, e: tree.Call, count: int | None) -> list[tree.Expr]:
    """The arguments of a built-in function, which have no names."""
    for argument in e.args:
        if argument.name is not None:
            scope.fail(
                error(
                    "named-argument",
                    f"`{e.name.name}` takes no named arguments",
                    argument.span,
                    help=f"leave out `{argument.name}=`",
                )
            )
    if count is not None and len(e.args) != count:
        scope.fail(
            error(
                "argument-count",
                f"`{e.name.name}` takes {counted(count, 'argument')}, found {len(e.args)}",
                e.span,
            )
        )
    return [a.value for a in e.args]


def _cast(scope: Scope, env: Env, e: tree.Call, dtype: DType) -> Expr:
    (argument,) = positional(scope, e, 1)
    value = lower(scope, env, argument)
    if not is_literal(value):
        # An expression of a narrow float type is an f32, which a cast to that type rounds.
        # One of another keeps a `sum` from fusing a product with its addition (`sum[k](f32(a * b))`).
        is_product = isinstance(value, Op) and value.op == "*"
        is_as_it_was = not dtype.is_float or not (dtype.is_narrow or is_product)
        return value if value.dtype == dtype and is_as_it_was else Cast(value, dtype)
    if dtype.is_narrow:
        value = coerce(scope, value, F32, argument.span)
        refuse_overflow(scope, value, dtype, argument.span)
        return Cast(value, dtype)
    number = literal_integer(scope, value)
    fits = dtype.is_integer and number is not None and wrap_integer(number, dtype) == number
    if dtype.is_float or fits or (value.dtype == LITERAL_INT and dtype != BOOL and number is None):
        return coerce(scope, value, dtype, argument.span)
    # A literal out of the type's range is legal under a written cast: it wraps.
    return Cast(
        coerce(scope, value, F64 if value.dtype == LITERAL_FLOAT else DTYPES["i64"], argument.span), dtype
    )


def _wide(scope: Scope, env: Env, e: tree.Call) -> Expr:
    """A value in the type that it is computed in, which is another one for narrow floats alone."""
    (argument,) = positional(scope, e, 1)
    value = lower(scope, env, argument)
    return Cast(value, F32) if value.dtype.is_narrow else value


def _where(scope: Scope, env: Env, e: tree.Call) -> Expr:
    condition_node, then_node, else_node = positional(scope, e, 3)
    condition = lower_condition(scope, env, condition_node)
    _refuse_unreachable(scope, env, condition, condition_node, then_node, else_node)
    then = lower(scope, env.guarded_by(condition), then_node)
    otherwise = lower(scope, env.guarded_by(negation(condition)), else_node)
    then, otherwise = unify(scope, then, then_node.span, otherwise, else_node.span)
    return Select(condition, then, otherwise)


def _refuse_unreachable(
    scope: Scope, env: Env, condition: Expr, node: tree.Expr, then: tree.Expr, otherwise: tree.Expr
) -> None:
    """A side that no index can reach mostly means that an inferred extent is too small."""
    if scope.callers or depends_on_data(condition) or isinstance(condition, Const):
        return
    for proof, side, verb in ((negation(condition), then, "fails"), (condition, otherwise, "holds")):
        if env.knowledge.proves_generically(proof):
            scope.fail(
                error(
                    "unreachable-branch",
                    "no index reaches this side of `where`",
                    side.span,
                    f"`{node.span.text}` always {verb} here",
                    help="an inferred extent may be too small: write it, as in `Y[i < M + N] = ...`",
                )
            )


def _size(scope: Scope, e: tree.Call) -> Expr:
    tensor_node, axis_node = positional(scope, e, 2)
    tensor = scope.tensors.get(tensor_node.name) if isinstance(tensor_node, tree.Name) else None
    if tensor is None:
        scope.fail(
            error(
                "size-argument",
                "`size` takes a tensor and an axis",
                tensor_node.span,
                help="as in `size(X, 0)`",
            )
        )
    axis = axis_node.value if isinstance(axis_node, tree.Number) else None
    if not isinstance(axis, int) or not 0 <= axis < len(tensor.shape):
        scope.fail(
            error(
                "size-axis",
                f"`{tensor.name}` has {counted(len(tensor.shape), 'axis')}",
                axis_node.span,
                help="axes count from 0",
            )
        )
    return tensor.shape[axis]


def _function(scope: Scope, env: Env, e: tree.Call) -> Expr:
    name = e.name.name
    count = {"min": None, "max": None, "clamp": 3, "popcount": 1}.get(name, FUNCTIONS.get(name, ("", 1))[1])
    nodes = positional(scope, e, count)
    if name in ("min", "max") and len(nodes) < 2:
        scope.fail(
            error("argument-count", f"`{name}` takes two or more arguments, found {len(nodes)}", e.span)
        )
    args = [lower(scope, env, n) for n in nodes]
    args = _unify_all(scope, args, nodes)
    kind = (
        "number"
        if name == "clamp"
        else "integer"
        if name == "popcount"
        else (FUNCTIONS.get(name) or (PREDICATES[name],))[0]
    )
    for arg, node in zip(args, nodes, strict=True):
        check_operand(scope, name, kind, arg, node.span)
    dtype = args[0].dtype
    if kind == "float" and dtype in LITERALS:
        dtype = LITERAL_FLOAT  # `exp(1)`: the arguments take the type that the result gets
    match name:
        case "clamp":
            value, low, high = args
            return Op("min", (Op("max", (value, low), dtype), high), dtype)
        case "min" | "max":
            result = args[0]
            for arg in args[1:]:
                result = Op(name, (result, arg), dtype)
            return result
        case _ if name in PREDICATES:
            if dtype in LITERALS:
                args = [coerce(scope, args[0], F64, nodes[0].span)]
            return Op(name, tuple(args), BOOL)
        case _:
            return Op(name, tuple(args), result_type(name, dtype))


def _unify_all(scope: Scope, args: list[Expr], nodes: list[tree.Expr]) -> list[Expr]:
    """Bring all arguments to the type of the first that has one."""
    typed = next((n for n, a in enumerate(args) if not is_literal(a)), None)
    if typed is None:
        return args
    return [
        a if number == typed else unify(scope, args[typed], nodes[typed].span, a, nodes[number].span)[1]
        for number, a in enumerate(args)
    ]


def lower_index(scope: Scope, env: Env, e: tree.Axis) -> Expr:
    return exact(scope, coerce_index(scope, lower(scope, env, e), e.span), e.span)
