"""The formatter on any program, however it is spelled: same tree, same comments, and once is enough.

Programs come from three places: those written in this repository, Lark's grammar run backwards, and
deep expressions with long names. Each is respelled first: other blanks, line ends and `;`, comments
wherever one may stand.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from functools import cache
from pathlib import Path

import hypothesis.extra.lark
import lark
from hypothesis import given
from hypothesis import strategies as st

from te.diagnostics import CompileError, Diagnostics, Source
from te.grammar import table
from te.grammar.brackets import pair_brackets
from te.grammar.format import format_source
from te.grammar.lexer import Lexer, Token
from te.grammar.lines import CONTINUES_AFTER, CONTINUES_BEFORE, join_lines
from te.grammar.parser import parse_file

ROOT = Path(__file__).parents[2]
COMMENT = re.compile(r"#[^\n]*")


def check(text: str) -> str:
    formatted = format_source(Source("before.te", text))
    assert parse_file(Source("after.te", formatted)) == parse_file(Source("before.te", text))
    assert comments(formatted) == comments(text)
    assert tokens(formatted) == tokens(text)
    assert format_source(Source("again.te", formatted)) == formatted
    lines = formatted.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    assert lines.pop() == ""
    assert all(line == line.rstrip() and "\t" not in line.partition("#")[0] for line in lines)
    assert "\n\n\n" not in formatted
    assert not lines or (lines[0] and lines[-1])
    return formatted


def comments(text: str) -> Counter[str]:
    return Counter(comment.rstrip() for comment in COMMENT.findall(text))


def tokens(text: str) -> list[str]:
    return [token.text for token in lexer().tokens(Source("", text)) if token.kind != table.NEWLINE]


@cache
def lexer() -> Lexer:
    return Lexer(table.load_table())


# ---------------------------------------------------------------- other spellings

SOMETIMES_A_COMMENT = ["  # c\n", " #\n\n", "\n\t# c # d\n", "\n## d\n\n\n# c  \n", " ## c\r\n  ## d \r\n"]
BLANKS = ["", " ", "   ", "\t", "\n", "\n\n   ", "\r\n"]
ENDS = ["\n", ";", " ; ", ";;\n", "\n;\n", "\n\n\n", "\r\n", "  ## c\n", "; # c\n", "\n; ## c\n"]


def respell(text: str, choose: random.Random) -> str:
    """The same program with other blanks, line ends and comments."""
    source = Source("", text)
    words = join_lines(pair_brackets(source, lexer().tokens(source), Diagnostics()))
    pieces = [choose.choice(["", "", "\n", " # c\n", "## d\n", "\ufeff"])]
    depth = 0
    for number, word in enumerate(words[:-1]):
        following = words[number + 1]
        if word.kind == table.NEWLINE:
            pieces.append(choose.choice(ENDS + SOMETIMES_A_COMMENT))
            continue
        pieces.append(word.text)
        depth += (word.kind in ("(", "[")) - (word.kind in (")", "]"))
        if following.kind != table.NEWLINE:
            pieces.append(between(word, following, depth > 0, choose))
    pieces.append(choose.choice(["", "\n", " # c", "\n\n# c\n# d", "\r\n"]))
    return "".join(pieces)


def between(word: Token, following: Token, is_bracketed: bool, choose: random.Random) -> str:
    may_break = is_bracketed or word.kind in CONTINUES_AFTER or following.kind in CONTINUES_BEFORE
    choices = [" ", "\t  "]
    if may_break:
        choices = SOMETIMES_A_COMMENT if choose.random() < 0.1 else BLANKS
    chosen = choose.choice(choices)
    return chosen or ("" if tokens(word.text + following.text) == [word.text, following.text, ""] else " ")


@cache
def written() -> list[str]:
    """The programs in this repository that can be parsed."""
    texts = [path.read_bytes().decode(errors="replace") for path in sorted(ROOT.glob("**/*.te"))]
    for path in sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("docs/*.md"), ROOT / "README.md"]):
        found = re.findall(r'"""\\?\n?(.*?)"""|```te\n(.*?)```', path.read_text(encoding="utf-8"), re.S)
        texts += [first or second for first, second in found]
    return [text for text in dict.fromkeys(texts) if is_program(text)]


def is_program(text: str) -> bool:
    try:
        return bool(parse_file(Source("", text)).items)
    except CompileError:
        return False


def test_written_programs() -> None:
    assert len(written()) > 150
    for text in written():
        check(text)


@given(st.data(), st.randoms())
def test_written_programs_respelled(data: st.DataObject, choose: random.Random) -> None:
    check(respell(data.draw(st.sampled_from(written())), choose))


# ---------------------------------------------------------------- programs from the grammar

NAMES = ["x", "Y", "when", "by", "where", "sum", "a_tensor_with_a_name_that_is_long"]


@cache
def from_grammar() -> st.SearchStrategy[str]:
    grammar = Path(table.GRAMMAR_PATH).read_text(encoding="utf-8")
    parser = lark.Lark(grammar, parser="lalr", lexer=table._no_lexer(), start="file")
    explicit = {t.name: st.just(t.pattern.value + " ") for t in parser.terminals if t.pattern.type == "str"}
    explicit["NAME"] = st.sampled_from(NAMES).map(lambda name: name + " ")
    explicit["NUMBER"] = st.sampled_from(["1 ", "0xff ", "1e-3 ", "0.5 ", "1_000 "])
    explicit["_NL"] = st.just("\n")
    return hypothesis.extra.lark.from_lark(parser, start="file", explicit=explicit)


@given(st.data(), st.randoms())
def test_programs_from_the_grammar(data: st.DataObject, choose: random.Random) -> None:
    text = data.draw(from_grammar())
    if is_program(text):  # `where(x=1)` is none, and a name may be a keyword where it stands
        check(text)
        check(respell(text, choose))


# ---------------------------------------------------------------- long lines

LEAVES = ["x", "42", "1e-3", "a_longer_name", "T[i, j]", "X[2*i + 1, j - k] else 0", "nn.weight[i * 8 + j]"]
OPERATORS = "+ - * / // % ** << >> & | ^ == < >= and or".split()


@cache
def expressions() -> st.SearchStrategy[str]:
    def larger(smaller: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        two = st.tuples(smaller, smaller)
        return st.one_of(
            st.tuples(smaller, st.sampled_from(OPERATORS), smaller).map(
                lambda t: f"({t[0]}) {t[1]} ({t[2]})"
            ),
            st.tuples(smaller, st.sampled_from("+ * -".split()), smaller).map(" ".join),
            st.tuples(smaller, smaller, smaller).map(lambda t: f"where({t[0]}, {t[1]}, {t[2]})"),
            st.lists(smaller, min_size=1, max_size=9).map(lambda parts: f"max({', '.join(parts)})"),
            two.map(lambda t: f"sum[k, r < 3 where ({t[0]}) > 0]({t[1]})"),
            two.map(lambda t: f"Input[({t[0]}), j * ({t[1]})] else -1"),
            smaller.map(lambda t: f"-({t})"),
            smaller.map(lambda t: f"(not {t})"),
        )

    return st.recursive(st.sampled_from(LEAVES), larger, max_leaves=40)


LEFT_SIDES = st.sampled_from(
    "s Y[i,j] a_longer_name[i,j] y[n,c,y<H+2*pad,x<W+2*pad] a[i],b[i] require".split()
)


@st.composite
def long_programs(draw: st.DrawFn) -> str:
    lines = ["op f(" + ", ".join(draw(st.lists(parameters(), max_size=6))) + ")-> Y: f32[M], z: f32 {"]
    for left in draw(st.lists(LEFT_SIDES, min_size=1, max_size=6)):
        right = draw(expressions())
        lines.append(f"{left} {right}" if left == "require" else f"{left} = {right}")
    lines += [
        "}",
        f"schedule f on llvm (K in {{{draw(expressions())}, 2}} = 3) when {draw(expressions())} {{",
    ]
    lines += [f"tile {draw(expressions())}, j by {draw(expressions())} layout [{draw(expressions())}]", "}"]
    return "\n".join(lines)


@cache
def parameters() -> st.SearchStrategy[str]:
    plain = st.sampled_from(
        ["X: f32[N]", "param weights: f32[N, 2*K + 1]", "const stride_of_rows: int = 1", "b: f32"]
    )
    return plain | expressions().map(lambda size: f"long_name: f32[({size})]")


@given(long_programs(), st.randoms())
def test_long_lines(text: str, choose: random.Random) -> None:
    for line in check(text).split("\n"):
        # What is longer goes so far in that there is no room left.
        assert len(line) <= 100 or not line[:60].strip()
    check(respell(text, choose))
