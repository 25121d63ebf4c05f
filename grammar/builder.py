"""Makes the syntax tree: one method for each rule or alias of `te.lark`.

`children` are what the grammar hands over, in its order; quoted tokens are not among them, an
absent optional part is None. `start` and `end` are the extent of the whole rule in the text.
Children that are None inside lists are units that were dropped after an error: no tree that has
one is ever returned.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from te.diagnostics import Diagnostic, Diagnostics, Source, Span, error
from te.grammar import tree
from te.grammar.lexer import Token
from te.grammar.literals import read_number

Children = list[Any]


class TreeBuilder:
    """Builds the tree of one source; mistakes that only a finished node shows go to `errors`."""

    def __init__(self, source: Source, errors: Diagnostics) -> None:
        self.source = source
        self.errors = errors

    def span(self, start: int, end: int) -> Span:
        return Span(self.source, start, end)

    def token_span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    # ------------------------------------------------------------ items

    def file(self, items: Children, start: int, end: int) -> tree.File:
        return tree.File(tuple(items), self.source)

    def use_module(self, children: Children, start: int, end: int) -> tree.Use:
        return tree.Use(children[0].text, None, self.span(start, end))

    def use_names(self, children: Children, start: int, end: int) -> tree.Use:
        module, names = children
        return tree.Use(module.text, names, self.span(start, end))

    def names(self, names: Children, start: int, end: int) -> tuple[str, ...]:
        return tuple(name.text for name in names)

    def op(self, children: Children, start: int, end: int) -> tree.Op:
        name, generics, params, results, body = children
        return tree.Op(
            name=name.text,
            generics=generics or (),
            params=params or (),
            results=results,
            body=body,
            doc=doc_above(self.source, start),
            span=self.span(start, end),
            name_span=self.token_span(name),
        )

    def reducer(self, children: Children, start: int, end: int) -> tree.Reducer:
        name, generics, state, other, body = children
        return tree.Reducer(
            name=name.text,
            generics=generics or (),
            state=state,
            other=other,
            body=body,
            doc=doc_above(self.source, start),
            span=self.span(start, end),
            name_span=self.token_span(name),
        )

    def generics(self, children: Children, start: int, end: int) -> tuple[tree.Generic, ...]:
        return tuple(children)

    def generic(self, children: Children, start: int, end: int) -> tree.Generic:
        name, *choices = children
        return tree.Generic(name.text, tuple(choice.text for choice in choices), self.span(start, end))

    def params(self, children: Children, start: int, end: int) -> tuple[tree.Param, ...]:
        return tuple(children)

    def param(self, children: Children, start: int, end: int) -> tree.Param:
        kind, name, type_, default = children
        span = self.span(start, end)
        return tree.Param(kind or "", name.text, type_, default, span, self.token_span(name))

    def param_kind(self, children: Children, start: int, end: int) -> str:
        kind: str = children[0].text
        return kind

    def param_name(self, children: Children, start: int, end: int) -> Token:
        name: Token = children[0]
        return name

    def results(self, children: Children, start: int, end: int) -> tuple[tree.Result, ...]:
        return tuple(children)

    def result(self, children: Children, start: int, end: int) -> tree.Result:
        name, type_ = children
        return tree.Result(name.text, type_, self.span(start, end))

    def type(self, children: Children, start: int, end: int) -> tree.Type:
        name, dims = children
        return tree.Type(name.text, dims, self.span(start, end))

    def dims(self, children: Children, start: int, end: int) -> tuple[tree.Axis, ...]:
        return tuple(children)

    def pack(self, children: Children, start: int, end: int) -> tree.Pack:
        return tree.Pack(children[0].text, self.span(start, end))

    def const_table(self, children: Children, start: int, end: int) -> tree.ConstTable:
        name, type_, value = children
        return tree.ConstTable(name.text, type_, value, doc_above(self.source, start), self.span(start, end))

    def table(self, children: Children, start: int, end: int) -> tree.Table:
        return tree.Table(tuple(children), self.span(start, end))

    def intrinsic(self, children: Children, start: int, end: int) -> tree.Intrinsic:
        name, target, op = children
        doc = doc_above(self.source, start)
        return tree.Intrinsic(name.text, target.name, op.name, doc, self.span(start, end))

    # ------------------------------------------------------------ equations

    def body(self, statements: Children, start: int, end: int) -> tuple[tree.Statement, ...]:
        return tuple(statements)

    def require(self, children: Children, start: int, end: int) -> tree.Require:
        return tree.Require(children[0], self.span(start, end))

    def equation(self, children: Children, start: int, end: int) -> tree.Equation:
        targets, value = children
        return tree.Equation(targets, value, self.span(start, end))

    def targets(self, children: Children, start: int, end: int) -> tuple[tree.Target, ...]:
        return tuple(children)

    def target(self, children: Children, start: int, end: int) -> tree.Target:
        name, index = children
        return tree.Target(name.text, index, self.span(start, end))

    def index(self, axes: Children, start: int, end: int) -> tuple[tree.Axis, ...]:
        return tuple(axes)

    def range(self, children: Children, start: int, end: int) -> tree.Range:
        name, extent = children
        return tree.Range(name.text, extent, self.span(start, end))

    # ------------------------------------------------------------ expressions

    def expression(self, children: Children, start: int, end: int) -> Any:
        return children[0]

    def binary(self, children: Children, start: int, end: int) -> tree.Binary:
        left, op, right = children
        return tree.Binary(op.text, left, right, self.span(start, end), self.token_span(op))

    def unary(self, children: Children, start: int, end: int) -> tree.Unary:
        op, operand = children
        return tree.Unary(op.text, operand, self.span(start, end))

    def compared(self, children: Children, start: int, end: int) -> tree.Compare:
        ops = tuple(op.text for op in children[1::2])
        return tree.Compare(ops, tuple(children[0::2]), self.span(start, end))

    def number(self, children: Children, start: int, end: int) -> tree.Number:
        span = self.span(start, end)
        value = read_number(children[0].text, span)
        if isinstance(value, Diagnostic):
            self.errors.add(value)
            value = 0
        return tree.Number(value, span)

    def dotted(self, names: Children, start: int, end: int) -> tree.Name:
        return tree.Name(".".join([name.text for name in names]), self.span(start, end))

    def read(self, children: Children, start: int, end: int) -> tree.Read:
        name, index = children
        return tree.Read(name, index, None, self.span(start, end))

    def guarded_read(self, children: Children, start: int, end: int) -> tree.Read:
        read, outside = children
        return replace(read, outside=outside, span=self.span(start, end))

    def call(self, children: Children, start: int, end: int) -> tree.Call:
        name, args = children
        if name.name == "where":
            self._refuse_names(args or ())
        return tree.Call(name, args or (), self.span(start, end))

    def _refuse_names(self, args: tuple[tree.Argument, ...]) -> None:
        """`where(i = 0, a, b)` reads as an argument called `i`: say what is meant."""
        for arg in args:
            if arg.name is not None:
                self.errors.add(
                    error(
                        "assignment-in-condition",
                        "`=` does not compare",
                        arg.span,
                        "`where` has no named arguments",
                        help=f"write `{arg.name} == {arg.value.span.text}`",
                    )
                )

    def reduce(self, children: Children, start: int, end: int) -> tree.Reduce:
        name, (axes, where), args = children
        return tree.Reduce(name, axes, where, args or (), self.span(start, end))

    def domain(self, children: Children, start: int, end: int) -> tuple[tuple[tree.Axis, ...], None]:
        return children[0], None

    def trimmed_domain(
        self, children: Children, start: int, end: int
    ) -> tuple[tuple[tree.Axis, ...], tree.Expr]:
        *axes, where = children
        return tuple(axes), where

    def args(self, children: Children, start: int, end: int) -> tuple[tree.Argument, ...]:
        return tuple(children)

    def positional(self, children: Children, start: int, end: int) -> tree.Argument:
        return tree.Argument(None, children[0], self.span(start, end))

    def named(self, children: Children, start: int, end: int) -> tree.Argument:
        name, value = children
        return tree.Argument(name.text, value, self.span(start, end))

    # ------------------------------------------------------------ schedules

    def schedule(self, children: Children, start: int, end: int) -> tree.Schedule:
        op, target, knobs, when, directives = children
        return tree.Schedule(
            op=op.name,
            target=target.name,
            knobs=knobs or (),
            when=when,
            directives=directives,
            doc=doc_above(self.source, start),
            span=self.span(start, end),
        )

    def knobs(self, children: Children, start: int, end: int) -> tuple[tree.Knob, ...]:
        return tuple(children)

    def knob(self, children: Children, start: int, end: int) -> tree.Knob:
        name, choices, default = children
        return tree.Knob(name.text, choices or (), default, self.span(start, end))

    def choices(self, children: Children, start: int, end: int) -> tuple[tree.Expr, ...]:
        return tuple(children)

    def directives(self, children: Children, start: int, end: int) -> tuple[tree.Directive, ...]:
        return tuple(children)

    def directive(self, children: Children, start: int, end: int) -> tree.Directive:
        verb, operands, *clauses, block = children
        return tree.Directive(
            verb.text, operands, tuple(clauses), block, self.span(start, end), self.token_span(verb)
        )

    def clause(self, children: Children, start: int, end: int) -> tree.Clause:
        preposition, values = children
        return tree.Clause(preposition, values, self.span(start, end))

    def values(self, children: Children, start: int, end: int) -> tuple[tree.Expr, ...]:
        return tuple(children)

    def preposition(self, children: Children, start: int, end: int) -> str:
        word: str = children[0].text
        return word


def doc_above(source: Source, start: int) -> str:
    """The `##` lines right above the item at `start`, without their marks.

    A line of more than two `#` is a rule or a banner, and no documentation.
    """
    line = source.line_of(start)
    lead = source.text[source.line_starts[line - 1] : start]
    if lead.strip(" \t\ufeff"):
        return ""
    lines: list[str] = []
    while line > 1:
        line -= 1
        text = source.line_text(line).strip(" \t\ufeff")
        if not text.startswith("##") or text.startswith("###"):
            break
        lines.append(text[2:].removeprefix(" ").rstrip())
    return "\n".join(reversed(lines))
