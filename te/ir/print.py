"""Both IRs as text.

The tensor IR prints as `.te` that reads back to an equal program: ranges are written
out, lifted reductions stand as equations of their own, fixed sizes and `const`s are
literals (a comment says which they were). The loop IR prints for people only, one
statement a line. A loop's line gives its full name, `stage.index`, which directives
take; in expressions the stage is left out where no other variable in scope has that
index.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator

from te.ir.expr import PREDICATES, Cast, Const, Expr, Load, Op, Select, Var
from te.ir.floats import is_value_of, nearest
from te.ir.loop import (
    FINAL,
    SCHEDULED,
    SERIAL,
    Accumulate,
    Alloc,
    Barrier,
    Buffer,
    Combine,
    Commit,
    Completed,
    For,
    If,
    Kernel,
    Let,
    Seq,
    Stmt,
    Store,
    Swizzle,
    Wait,
)
from te.ir.tensor import Axis, Program, Requirement, Stage, Table, Tensor
from te.ir.types import BOOL, F32, I64, DType

__all__ = ["loop_flags", "print_expr", "print_kernel", "print_program", "print_stmt"]

# Binding strength of each operator (language.md 3.1), loosest first.
LOOSEST, COMPARISON, ARITH, UNARY, ATOM = 0, 4, 5, 11, 13
PRECEDENCE = {
    "or": 1,
    "and": 2,
    "not": 3,
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), COMPARISON),
    "|": ARITH,
    "^": 6,
    "&": 7,
    "<<": 8,
    ">>": 8,
    "+": 9,
    "-": 9,
    **dict.fromkeys(("*", "/", "//", "%"), 10),
    "neg": UNARY,
    "~": UNARY,
    "pow": 12,
}

Naming = Callable[[str], str]


# ---------------------------------------------------------------- expressions


def print_expr(e: Expr, name: Naming = str) -> str:
    """An expression with as few parentheses as its operators need; `name` renames variables.

    >>> from te.ir.expr import Var, add, integer, mul
    >>> print_expr(mul(add(Var("i"), integer(1)), Var("N")))
    '(i + 1) * N'
    """
    return _expr(e, LOOSEST, True, name)


def _expr(e: Expr, level: int, typed: bool, name: Naming) -> str:
    """`e` where an operator of strength `level` may stand.

    `typed`: whether the place gives a literal its type. Where it does not, a literal
    is written with a cast, so that the text reads back.
    """
    text, strength = _expr_and_strength(e, typed, name)
    return text if strength >= level else f"({text})"


def _expr_and_strength(e: Expr, typed: bool, name: Naming) -> tuple[str, int]:
    match e:
        case Const():
            text = _literal(e)
            if not typed and not _has_own_type(e):
                return f"{e.dtype}({text})", ATOM
            return text, UNARY if text.startswith("-") else ATOM
        case Var():
            return name(e.name), ATOM
        case Load():
            index = ", ".join(_expr(i, ARITH, False, name) for i in e.index)
            return (f"{e.buffer}[{index}]" if e.index else e.buffer), ATOM
        case Cast():
            return f"{e.dtype}({_expr(e.value, LOOSEST, False, name)})", ATOM
        case Select():
            typed = typed or _has_own_type(e)
            sides = ", ".join(_expr(side, LOOSEST, typed, name) for side in (e.then, e.otherwise))
            return f"where({_expr(e.condition, LOOSEST, True, name)}, {sides})", ATOM
        case Op():
            return _operator(e, typed, name)


def _operator(e: Op, typed: bool, name: Naming) -> tuple[str, int]:
    # A comparison's or predicate's own type, bool, says nothing about its operands.
    typed = (typed and e.dtype != BOOL) or any(_has_own_type(a) for a in e.args)
    strength = PRECEDENCE.get(e.op, ATOM)
    if strength == ATOM:
        return f"{e.op}({', '.join(_expr(a, LOOSEST, typed, name) for a in e.args)})", ATOM
    if len(e.args) == 1:
        sign = {"neg": "-", "not": "not "}.get(e.op, e.op)
        operand = _expr(e.args[0], strength, typed, name)
        # `--x` would be legal, and misread.
        return (f"{sign}({operand})" if operand[0] == sign else sign + operand), strength
    left, right = strength, strength + 1
    if strength == COMPARISON:  # `a < b < c` is a chain
        left += 1
    if e.op == "pow":  # to the right; its exponent may have a sign
        left, right = ATOM, UNARY
    symbol = "**" if e.op == "pow" else e.op
    first, second = _expr(e.args[0], left, typed, name), _expr(e.args[1], right, typed, name)
    return f"{first} {symbol} {second}", strength


def _has_own_type(e: Expr) -> bool:
    """Whether the text of `e` says its dtype without help from its context."""
    match e:
        case Const():
            return e.dtype in (I64, BOOL)
        case Op():
            return e.dtype == BOOL or e.op in PREDICATES or any(_has_own_type(a) for a in e.args)
        case Select():
            return _has_own_type(e.then) or _has_own_type(e.otherwise)
        case Var() | Load() | Cast():
            return True


def _literal(c: Const) -> str:
    if isinstance(c.value, float) and c.dtype.is_float and c.dtype.bits <= 32:
        return _shortest(c.value, c.dtype)
    return _plain_value(c.value)


def _plain_value(value: int | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _shortest(value: float, dtype: DType) -> str:
    """The shortest text that rounds to the same value of its type; `repr` where `value` is none."""
    if not is_value_of(value, dtype) or not math.isfinite(value):
        return repr(value)
    if value.is_integer() and abs(value) < 2**53:  # 65954152 is not to become 65954150
        return repr(value)
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        # The literals of narrow floats are rounded to f32 first, those of tables are not.
        if nearest(short, dtype) == value == nearest(nearest(short, F32), dtype):
            return repr(short)
    return repr(value)


# ---------------------------------------------------------------- tensor IR


def print_program(p: Program) -> str:
    """The program as an op in the language, ended by a newline."""
    results = ", ".join(_declared(p.tensor(name)) for name in p.results)
    given = [f"{name} = {_plain_value(value)}" for name, value in (*p.fixed, *p.consts)]
    lines = [f"# built with {', '.join(given)}"] if given else []
    lines += [_table(t) for t in p.tables]
    lines += [f"## {line}".rstrip() for line in p.doc.split("\n")] if p.doc else []
    lines.append(f"op {p.name}({', '.join(_declared(t) for t in p.inputs)}) -> {results} {{")
    substituted = {name for name, _ in (*p.fixed, *p.consts)}
    lines += [f"    require {_requirement(r, substituted)}" for r in p.requirements]
    lines += [f"    {_equation(s, s.name in p.results)}" for s in p.stages]
    lines.append("}")
    return "\n".join(lines) + "\n"


def _table(table: Table) -> str:
    shape = [int(d.value) for d in table.tensor.shape if isinstance(d, Const)]
    values = iter(table.values)

    def nested(extents: list[int]) -> str:
        if not extents:
            return _literal(Const(next(values), table.tensor.dtype))
        return f"[{', '.join(nested(extents[1:]) for _ in range(extents[0]))}]"

    return f"const {_declared(table.tensor)} = {nested(shape)}"


def _declared(t: Tensor | Buffer) -> str:
    return f"{t.name}: {_type(t.dtype, t.shape)}"


def _type(dtype: DType, shape: tuple[Expr, ...], name: Naming = str) -> str:
    return f"{dtype}[{', '.join(_expr(d, ARITH, True, name) for d in shape)}]" if shape else str(dtype)


def _requirement(r: Requirement, substituted: set[str]) -> str:
    """The words of the source, unless they use a name that is now a literal."""
    words = set(re.findall(r"\w+", r.text))
    if r.text and not words & substituted and not set(r.text) & set("#\n"):
        return r.text
    return print_expr(r.condition)


def _equation(s: Stage, is_result: bool) -> str:
    plain = is_result and tuple(a.extent for a in s.axes) == s.tensor.shape
    axes = ", ".join(a.name if plain else _range(a) for a in s.axes)
    target = f"{s.name}[{axes}]" if s.axes else s.name
    if s.reduction is None:
        return f"{target} = {_expr(s.value, LOOSEST, is_result, str)}"
    r = s.reduction
    domain = ", ".join(map(_range, r.axes))
    if r.where != Const(True, BOOL):
        domain += f" where {print_expr(r.where)}"
    return f"{target} = {r.reducer}[{domain}]({_expr(s.value, LOOSEST, False, str)})"


def _range(a: Axis) -> str:
    return f"{a.name} < {_expr(a.extent, ARITH, True, str)}"


# ---------------------------------------------------------------- loop IR


def print_kernel(k: Kernel) -> str:
    """The kernel's loops, one statement a line, ended by a newline."""
    first = len(k.program.inputs)
    results = k.arguments[first : first + len(k.program.results)]
    inputs = ", ".join(map(_declared, k.arguments[: len(k.program.inputs)]))
    head = "final kernel" if k.level == FINAL else "kernel"
    lines = [f"{head} {k.name}({inputs}) -> {', '.join(map(_declared, results))}:"]
    lines += (
        [f"  # computed where the `param`s are bound: {', '.join(k.precomputed)}"] if k.precomputed else []
    )
    lines += _stmt(k.body, (), set(k.program.sizes), k.level)
    return "\n".join(lines) + "\n"


def print_stmt(s: Stmt, scope: Iterable[str] = (), level: str = SCHEDULED) -> str:
    """One statement of the loop IR; `scope` holds the variables around it."""
    return "\n".join(line[2:] for line in _stmt(s, tuple(scope), set(), level))


def _stmt(s: Stmt, scope: tuple[str, ...], sizes: set[str], level: str) -> Iterator[str]:
    def expr(e: Expr) -> str:
        return print_expr(e, naming)

    def block(body: Stmt, *new: str) -> Iterator[str]:
        return ("  " + line for line in _stmt(body, (*scope, *new), sizes, level))

    naming = _short_names(scope, sizes)
    match s:
        case Seq():
            if not s.items:
                yield "  pass"
            for item in s.items:
                yield from _stmt(item, scope, sizes, level)
        case For():
            kind = "" if s.kind == SERIAL else s.kind + " "
            flags = loop_flags(s, _short_names((*scope, s.var), sizes))
            suffix = f" ({', '.join(flags)})" if flags else ""
            yield f"  {kind}for {s.var} < {_expr(s.extent, ARITH, True, naming)}{suffix}:"
            yield from block(s.body, s.var)
        case Let():
            yield f"  let {s.var} < {_expr(s.extent, ARITH, True, naming)} = {expr(s.value)}:"
            yield from block(s.body, s.var)
        case If():
            yield f"  if {expr(s.condition)}:"
            yield from block(s.body)
            if s.otherwise is not None:
                yield "  else:"
                yield from block(s.otherwise)
        case Alloc():
            b = s.buffer
            yield f"  alloc {b.name}: {_type(b.dtype, b.shape, naming)} in {b.scope}{_storage(b, expr)}:"
            yield from block(s.body)
        case Completed():
            yield f"  complete over {', '.join(v for v in scope if v in s.over)}:"
            yield from block(s.body)
        case Barrier():
            yield "  barrier"
        case Commit():
            yield "  commit"
        case Wait():
            yield f"  wait for all but {s.pending}" if s.pending else "  wait for all"
        case Combine():
            threads = f"{s.width} of {s.level}" if s.width else s.level
            yield f"  combine {s.buffer} by {s.reducer} over {threads}{_remarks(s, [])}"
        case Store():
            yield f"  {_target(s, naming)} = {expr(s.value)}{_remarks(s, _hints(s))}"
        case Accumulate():
            over = [v for v in scope if v in s.over] + sorted(s.over - set(scope))
            remarks = []
            if s.start is not None:
                remarks.append(f"from {expr(s.start)}" + (f" before {', '.join(over)}" if over else ""))
            elif over and level != FINAL:
                remarks.append(f"over {', '.join(over)}")
            if s.kept:
                remarks.append(f"where {', '.join(map(expr, s.kept))}")
            yield f"  {_target(s, naming)} {s.reducer}= {expr(s.value)}{_remarks(s, remarks)}"


def _storage(b: Buffer, expr: Callable[[Expr], str]) -> str:
    """Where a buffer begins and how it lies, where that is not plain."""
    text = f" from [{', '.join(map(expr, b.origin))}]" if b.origin else ""
    text += f" like {b.like}" if b.like else ""
    text += f" of each {', '.join(b.private)}" if b.private else ""
    if b.fold:
        text += f" fold axis {b.fold[0]} by {b.fold[1]}"
    if b.layout:
        text += f" layout [{', '.join(b.layout.axes)}] as [{', '.join(map(print_expr, b.layout.dims))}]"
        text += f" align {', '.join(map(str, b.layout.align))}" if b.layout.align else ""
        text += f" {print_swizzle(b.layout.swizzle)}" if b.layout.swizzle else ""
    return text


def print_swizzle(s: Swizzle) -> str:
    """By how many units a row is permuted, of how many elements, and how many rows are permuted alike."""
    return f"swizzle by {s.by} of {s.unit}" + (f" rows {s.rows}" if s.rows > 1 else "")


def loop_flags(s: For, name: Naming = str) -> list[str]:
    """What is said of a loop besides its kind; `name` renames the variables in its body."""
    said = ("reduce", s.is_reduction), ("overlaps", s.overlaps), ("peel", s.peel)
    flags = [flag for flag, holds in said if holds]
    flags += [f"order {s.order}"] if s.order else []
    flags += [f"pipeline depth {s.pipeline.depth}"] if s.pipeline else []
    flags += [f"prefetch {print_expr(Load(p.buffer, p.index, I64), name)}" for p in s.prefetches]
    return flags + ([s.intrinsic] if s.intrinsic else [])


def _hints(s: Store) -> list[str]:
    """How a target may store, where that is not plain."""
    above = f" of {s.stream_above}" if s.stream_above else ""
    return ([f"stream{above}"] if s.stream else []) + ([f"by {s.method}"] if s.method else [])


def _target(s: Store | Accumulate, name: Naming) -> str:
    index = ", ".join(_expr(i, ARITH, True, name) for i in s.index)
    return f"{s.buffer}[{index}]" if s.index else s.buffer


def _remarks(s: Store | Accumulate | Combine, remarks: list[str]) -> str:
    if s.stage != s.buffer:
        remarks = [*remarks, f"stage {s.stage}"]
    return f"  # {'; '.join(remarks)}" if remarks else ""


def _short_names(scope: tuple[str, ...], sizes: set[str]) -> Naming:
    """Leaves the stage out of a variable's name where the index alone says which one it is."""
    short = [v.rsplit(".", 1)[-1] for v in scope]
    ambiguous = {n for n in short if short.count(n) > 1} | sizes

    def name(variable: str) -> str:
        index = variable.rsplit(".", 1)[-1]
        return variable if index in ambiguous or variable not in scope else index

    return name
