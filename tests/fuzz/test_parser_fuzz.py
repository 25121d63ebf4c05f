"""Whatever the text: a tree, or a CompileError with places inside the text. Never anything else."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import lark
import pytest
from hypothesis import given
from hypothesis import strategies as st

from te.diagnostics import CompileError, Diagnostics, Source
from te.grammar import table, tree
from te.grammar.brackets import pair_brackets
from te.grammar.lexer import Lexer
from te.grammar.lines import join_lines
from te.grammar.parser import is_file, parse_directives, parse_expression, parse_file

PROGRAM = """\
use nn.{softmax, gelu}
## A product.
op matmul<T: f16 | f32>(A: T[M, K], param B: T[K, N], const s: int = 2 ** 3) -> C: T[M, N] {
    require M % 4 == 0 and not K < 0x1f
    C[i, j] = sum[k, r < 3, *t where k <= i](A[i, k] else -1.5e-3 * B[k, j] else 0) + ~x << 2
    a, b = f(X, y=1); z[0, i] = where(0 < i <= N, max(a, b), m.n[i])
}
reducer r(m: f32 = 0) with (n) { m = m
    + n }
const G: f32[2, 2] = [[1, 0], [0.5, -1],]
intrinsic mma on cuda.sm_90 = nn.mma
schedule matmul on llvm.avx512 (MR in {6, 12} = 12, KC = 256)
when K >= 64 {
    tile i, j by MR, 16 into io, jo, ii, ji  # comment
    cache_read B[k, j] at ko layout [k // 4, j] fill 0
    specialize M % 12 == 0 { unroll C.io by 4; parallel jo }
}
"""


def check(text: str) -> tree.File | None:
    """Parse a text in every way; the tree of the whole if it is a program."""
    source = Source("fuzz.te", text)
    results: list[Any] = []
    for parser in (parse_file, parse_expression, parse_directives):
        try:
            results.append(parser(source))
        except CompileError as failure:
            results.append(None)
            for diagnostic in failure.diagnostics:
                assert diagnostic.message
                assert diagnostic.span is not None
                assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text)
                for note in diagnostic.notes:
                    assert 0 <= note.span.start < note.span.end <= len(text)
            str(failure)
    is_file(source)
    if results[0] is not None:
        check_whole(results[0], source)
    return results[0]


def check_whole(value: Any, source: Source) -> None:
    """No unit that was dropped after an error is left, and children lie inside their parents."""
    if isinstance(value, tuple):
        for part in value:
            assert part is not None
            check_whole(part, source)
    elif dataclasses.is_dataclass(value) and not isinstance(value, Source):
        span = getattr(value, "span", None)
        for field in dataclasses.fields(value):
            child = getattr(value, field.name)
            if span is not None and hasattr(child, "span"):
                assert span.start <= child.span.start <= child.span.end <= span.end
            if not field.name.endswith("span"):
                check_whole(child, source)


@given(st.text())
def test_any_text(text: str) -> None:
    check(text)


@given(st.text(alphabet=st.characters(codec=None), max_size=30), st.integers(0, len(PROGRAM)))
def test_any_text_inside_a_program(text: str, position: int) -> None:
    check(PROGRAM[:position] + text + PROGRAM[position:])


PARTS = sorted({*table.load_table().terminals} - {"_NL", "NAME", "NUMBER"}) + (
    "\n ; x sum X[i] 12 0x 1. .5 1e9 9e999 99999999999999999999 #c ##d /* */ ... && || ! ? @ \" ' \\ \0 é "
    "if for lambda return // : = == += \r\n \t [[ ]] (( )) }} {{ op\tf( -> schedule\tf\ton \ufeff"
).split(" ")


@given(st.lists(st.sampled_from(PARTS), max_size=40), st.sampled_from([" ", "", "\n"]))
def test_token_soup(parts: list[str], glue: str) -> None:
    check(glue.join(parts))


@given(
    st.lists(st.sampled_from(PARTS), max_size=8),
    st.sampled_from(["op f(x: f32) -> y: f32 {\n", "schedule f on t {\n"]),
)
def test_token_soup_in_a_block(parts: list[str], head: str) -> None:
    check(head + " ".join(parts) + "\n}\n")


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid program with parts cut out, doubled, swapped or replaced."""
    pieces = list(pieces_of(PROGRAM))
    for _ in range(draw(st.integers(1, 4))):
        i = draw(st.integers(0, len(pieces) - 1))
        j = min(len(pieces), i + draw(st.integers(1, 3)))
        match draw(st.sampled_from(["cut", "double", "swap", "replace"])):
            case "cut":
                del pieces[i:j]
            case "double":
                pieces[i:i] = pieces[i:j]
            case "swap":
                k = draw(st.integers(0, len(pieces) - 1))
                pieces[i], pieces[k] = pieces[k], pieces[i]
            case _:
                pieces[i:j] = [draw(st.sampled_from(PARTS))]
        if not pieces:
            break
    return "".join(pieces)


@cache
def pieces_of(text: str) -> tuple[str, ...]:
    """The text cut at its tokens; the blanks stay with the token before."""
    starts = [token.start for token in lexer().tokens(Source("", text))]
    return tuple(
        text[start:end] for start, end in zip([0, *starts], [*starts, len(text)], strict=True) if end > start
    )


@cache
def lexer() -> Lexer:
    return Lexer(table.load_table())


@given(mutated())
def test_mutated_programs(text: str) -> None:
    check(text)


# ---------------------------------------------------------------- Lark as the oracle


@cache
def lark_parser() -> lark.Lark:
    grammar = Path(table.GRAMMAR_PATH).read_text(encoding="utf-8")
    return lark.Lark(grammar, parser="lalr", lexer=table._no_lexer(), start=list(table.STARTS))


def lark_accepts(text: str) -> bool:
    """Whether Lark's own parser takes the tokens of a text, each word as a keyword where it can."""
    parser = lark_parser()
    names = {t.pattern.value: t.name for t in parser.terminals if t.pattern.type == "str"}
    source, errors = Source("", text), Diagnostics()
    brackets = pair_brackets(source, lexer().tokens(source), errors)
    if errors.items:
        return False
    state = parser.parse_interactive("", start="file")
    for token in join_lines(brackets):
        kind = names.get(token.kind, token.kind)
        if kind == "WORD":
            kind = names[token.text] if names[token.text] in state.accepts() else "NAME"
        try:
            state.feed_token(lark.Token(kind, token.text))
        except lark.UnexpectedToken:
            return False
    return True


@given(mutated())
def test_lark_takes_the_same_programs(text: str) -> None:
    try:
        is_program = parse_file(Source("fuzz.te", text)) is not None
    except CompileError as failure:
        if {d.code for d in failure.diagnostics} & {
            "bad-number",
            "number-too-large",
            "assignment-in-condition",
        }:
            return  # not a matter of the grammar
        is_program = False
    assert is_program == lark_accepts(text)


def test_lark_takes_the_program() -> None:
    assert check(PROGRAM) is not None
    assert lark_accepts(PROGRAM)


@pytest.mark.slow
def test_long_texts() -> None:
    size = 400_000
    for part in (
        "(",
        "[",
        "{",
        "}",
        "- ",
        "a + ",
        "a ** ",
        "X[a] else ",
        "\0",
        "y = 1\n",
        "y = \n",
        "/*\n",
        '"',
        "f(a, ",
    ):
        check("op f() -> y: f32 { y = " + part * (size // len(part)))
