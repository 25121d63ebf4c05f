"""The parser: every construct, the precedences, the line rules, places, and messages.

Trees are compared with trees of another spelling (`a + b * c` with `a + (b * c)`): places do not take
part in equality. What the messages say is in `tests/errors`, one file for each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from te.diagnostics import CompileError, Source
from te.grammar import table, tree
from te.grammar.expectation import PREPOSITIONS
from te.grammar.lexer import RESERVED
from te.grammar.limits import MAX_CHARACTERS, MAX_DEPTH, MAX_ERRORS, MAX_TOKENS
from te.grammar.lines import OPERATORS
from te.grammar.parser import is_file, parse_directives, parse_expression, parse_file

ROOT = Path(__file__).parents[2]

# ---------------------------------------------------------------- programs, after the language reference

SOFTMAX = """\
use nn

## Row-wise softmax, numerically stable.
op softmax<T: float>(X: T[M, N]) -> Y: T[M, N] {
    m[i]    = max[j](X[i, j])
    e[i, j] = exp(X[i, j] - m[i])
    Y[i, j] = e[i, j] / sum[k](e[i, k])
}

schedule softmax on llvm {
    compute_at m, e, Y_sum at Y.i
    vectorize m.j, e.j, Y_sum.k, Y.j by 16
    parallel Y.i
}
"""

CONV2D = """\
op conv2d<T>(X: T[N, C, H, W], param F: T[K, C, R, S], param b: T[K],
             const stride: int = 1, const pad: int = 0)
        -> Y: T[N, K, (H + 2*pad - R) // stride + 1, (W + 2*pad - S) // stride + 1] {
    Y[n, k, y, x] = b[k] + sum[c, r, s](
        (X[n, c, y*stride + r - pad, x*stride + s - pad] else 0) * F[k, c, r, s])
}
"""

MATMUL = """\
## A product of matrices,
##
##   in the order of BLAS.
op matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] {
    require M % 4 == 0 and K > 0
    C[i, j] = sum[k](A[i, k] * B[k, j])
}

schedule matmul on llvm.avx512 (MR in {6, 12, 14} = 12, NR in {32, 48} = 32, KC = 256,)
when K >= 64 {
    tile i, j by MR, NR into io, jo, ii, ji
    split k by KC into ko, ki tail peel
    reorder jo, ko, io, ki, ii, ji
    cache_read B[k, j] at ko layout [k // 4, j, k % 4] fill 0
    cache_write C at io in register
    pipeline ko depth 3 producer 1 registers 40, 232
    unroll ii
    vectorize ji
    specialize M % 12 == 0 {
        unroll io by 4; parallel jo
    }
    parallel jo
}
"""

WELFORD = """\
reducer welford<T: f16 | bf16 | f32>(mean: f32 = 0, m2: f32 = 0, n: f32 = 0) with (mean_, m2_, n_) {
    d    = mean_ - mean
    w    = where(n + n_ > 0, n_ / (n + n_), 0)
    mean = mean + d * w
    m2   = m2 + m2_ + d * d * n * w
    n    = n + n_
}

op moments(X: f32[M, N]) -> mu: f32[M], q: f32[M], c: f32[M] {
    mu[i], q[i], c[i] = welford[j](X[i, j], 0, 1)
}
"""

WINOGRAD = """\
use nn.{softmax, gelu}
use image.{
    blur,
    edges
}

## The transform of a filter.
const G: f32[4, 3] = [
    [1, 0, 0],
    [0.5, 0.5, 0.5],
    [0.5, -0.5, 0.5],
    [0, 0, 1],
]
const half: f32 = 1 / 2

op transform(F: f32[3, 3]) -> U: f32[4, 4] {
    U[a, b] = sum[r, s where G[a, r] != 0 and G[b, s] != 0](G[a, r] * F[r, s] * G[b, s])
}

intrinsic mma on cuda.sm_90 = nn.mma_m16n8k16
"""

LSTM = """\
op lstm<T>(X: T[S, I], param W: T[4 * H, I], param U: T[4 * H, H], h0: T[H], c0: T[H])
        -> h: T[S + 1, H], c: T[S + 1, H] {
    h[0, i] = h0[i]
    c[0, i] = c0[i]
    z[t < S, g] = sum[k](W[g, k] * X[t, k])
                + sum[k](U[g, k] * h[t, k])
    c[t, i] = sigmoid(z[t - 1, i + H]) * c[t - 1, i] + sigmoid(z[t - 1, i]) * tanh(z[t - 1, i + 2 * H])
    h[t, i] = sigmoid(z[t - 1, i + 3 * H]) * tanh(c[t, i])
}

op mean_over<T: float>(X: T[B, C, *S], ids: i64[B]) -> Y: T[B, C] {
    Y[n, c] = mean[*s](X[n, c, *s]) + (X[ids[n], c] else X[0, c] else -1)
    a, _, b = nn.split(X, axes=2, U=f16)
    scalar  = sum[i, j < 3, *s, k where k <= i](X[i, j, *s])
}
"""

PROGRAMS = {
    "softmax": SOFTMAX,
    "conv2d": CONV2D,
    "matmul": MATMUL,
    "welford": WELFORD,
    "winograd": WINOGRAD,
    "lstm": LSTM,
}


def parse(text: str) -> tree.File:
    return parse_file(Source("test.te", text))


def expression(text: str) -> tree.Expr:
    return parse_expression(Source("test.te", text))


def statements(text: str) -> tuple[tree.Statement, ...]:
    (op,) = parse("op f() -> Y: f32 {" + text + "}").items
    assert isinstance(op, tree.Op)
    return op.body


def codes(text: str) -> list[str]:
    with pytest.raises(CompileError) as caught:
        parse(text)
    return [d.code for d in caught.value.diagnostics]


def nodes(value: Any) -> Iterator[Any]:
    """Every node of a tree, outermost first."""
    if isinstance(value, tuple):
        for part in value:
            yield from nodes(part)
    elif dataclasses.is_dataclass(value) and not isinstance(value, Source):
        yield value
        for field in dataclasses.fields(value):
            if not field.name.endswith("span"):
                yield from nodes(getattr(value, field.name))


# ---------------------------------------------------------------- items


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_parse(name: str) -> None:
    assert parse(PROGRAMS[name]).items


def test_an_op_has_its_parts() -> None:
    (op,) = parse(CONV2D).items
    assert isinstance(op, tree.Op)
    assert (op.name, [g.name for g in op.generics], [r.name for r in op.results]) == ("conv2d", ["T"], ["Y"])
    assert [(p.kind, p.name, p.type.name) for p in op.params] == [
        ("", "X", "T"),
        ("param", "F", "T"),
        ("param", "b", "T"),
        ("const", "stride", "int"),
        ("const", "pad", "int"),
    ]
    assert [p.default for p in op.params[2:]] == [None, expression("1"), expression("0")]
    assert op.params[3].type.dims is None
    assert op.results[0].type.dims is not None
    assert op.results[0].type.dims[2] == expression("((((H + (2*pad)) - R)) // stride) + 1")


def test_a_reducer_has_its_parts() -> None:
    reducer, op = parse(WELFORD).items
    assert isinstance(reducer, tree.Reducer)
    assert isinstance(op, tree.Op)
    assert reducer.generics[0].choices == ("f16", "bf16", "f32")
    assert [p.name for p in reducer.state] == ["mean", "m2", "n"]
    assert reducer.other == ("mean_", "m2_", "n_")
    assert [t.name for s in reducer.body if isinstance(s, tree.Equation) for t in s.targets] == [
        "d", "w", "mean", "m2", "n"
    ]  # fmt: skip
    (equation,) = op.body
    assert isinstance(equation, tree.Equation)
    assert [t.name for t in equation.targets] == ["mu", "q", "c"]
    assert isinstance(equation.value, tree.Reduce)


def test_uses_tables_and_intrinsics() -> None:
    nn, image, G, half, _, mma = parse(WINOGRAD).items
    assert nn == tree.Use("nn", ("softmax", "gelu"), nn.span)
    assert image == tree.Use("image", ("blur", "edges"), image.span)
    assert isinstance(G, tree.ConstTable)
    assert isinstance(G.value, tree.Table)
    assert [len(row.items) for row in G.value.items if isinstance(row, tree.Table)] == [3, 3, 3, 3]
    assert isinstance(half, tree.ConstTable)
    assert half.value == expression("1 / 2")
    assert mma == tree.Intrinsic("mma", "cuda.sm_90", "nn.mma_m16n8k16", "", mma.span)
    assert parse("use nn").items[0] == tree.Use("nn", None, nn.span)


def test_a_schedule_has_its_parts() -> None:
    schedule = parse(MATMUL).items[1]
    assert isinstance(schedule, tree.Schedule)
    assert (schedule.op, schedule.target) == ("matmul", "llvm.avx512")
    assert [(k.name, len(k.choices), k.default) for k in schedule.knobs] == [
        ("MR", 3, expression("12")),
        ("NR", 2, expression("32")),
        ("KC", 0, expression("256")),
    ]
    assert schedule.when == expression("K >= 64")
    verbs = [d.verb for d in schedule.directives]
    assert verbs == (
        "tile split reorder cache_read cache_write pipeline unroll vectorize specialize parallel".split()
    )
    split, cache_read, special = (schedule.directives[i] for i in (1, 3, 8))
    assert split.operands == (expression("k"),)
    assert [(c.preposition, c.values) for c in split.clauses] == [
        ("by", (expression("KC"),)),
        ("into", (expression("ko"), expression("ki"))),
        ("tail", (expression("peel"),)),
    ]
    assert split.block is None
    assert cache_read.operands == (expression("B[k, j]"),)
    layout = cache_read.clauses[1].values[0]
    assert isinstance(layout, tree.Table)
    assert layout.items == (expression("k // 4"), expression("j"), expression("k % 4"))
    assert special.operands == (expression("M % 12 == 0"),)
    assert special.block is not None
    assert [d.verb for d in special.block] == ["unroll", "parallel"]


def test_empty_parts() -> None:
    assert parse("").items == ()
    assert parse("\n\n# only a comment\n").items == ()
    (op,) = parse("op f() -> y: f32 { }").items
    assert isinstance(op, tree.Op)
    assert (op.generics, op.params, op.body) == ((), (), ())
    (schedule,) = parse("schedule f on llvm { specialize M == 1 { } }").items
    assert isinstance(schedule, tree.Schedule)
    assert schedule.directives[0].block == ()
    assert expression("f()") == expression("f( )")
    assert expression("s[]") == tree.Read(tree.Name("s", None), (), None, None)  # type: ignore[arg-type]  # no place
    assert parse_directives("") == ()


def test_directives_alone() -> None:
    schedule = parse(MATMUL).items[1]
    assert isinstance(schedule, tree.Schedule)
    block = MATMUL[MATMUL.index("K >= 64 {") + 9 : MATMUL.rindex("}")]
    assert parse_directives(block) == schedule.directives
    assert parse_directives(Source("a.te", block)) == schedule.directives
    assert not is_file(Source("a.te", block))
    assert is_file(Source("a.te", MATMUL))
    assert not is_file(Source("a.te", ""))
    (split,) = parse_directives("split C.i by 8 into C.io, C.ii")
    assert [v.name for v in split.clauses[1].values if isinstance(v, tree.Name)] == ["C.io", "C.ii"]


def test_file_marks() -> None:
    """A byte-order mark, CRLF, tabs and foreign letters in comments change nothing."""
    plain = "## Twice.\nop f(x: f32) -> y: f32 {\n    y = 2 * x # x\n}\n"
    other = "\ufeff" + plain.replace("\n", "\r\n").replace("    ", "\t").replace(
        "# x", "# größer als π × 2\0"
    )
    assert parse(other) == parse(plain)
    (op,) = parse(other).items
    assert isinstance(op, tree.Op)
    assert op.doc == "Twice."


# ---------------------------------------------------------------- documentation


@pytest.mark.parametrize(
    ("text", "doc"),
    [
        ("## One.\n", "One."),
        ("## One.\n##\n##  Two.\n", "One.\n\n Two."),
        ("##One.\n##\tTwo. \n", "One.\n\tTwo."),
        ("## One.\n\n", ""),
        ("## One.\n# two\n", ""),
        ("# one\n", ""),
        ("########\n## One.\n", "One."),
        ("## One.\n########\n", ""),
        ("use nn ## One.\n", ""),
        ("use nn; ", ""),
    ],
)
def test_documentation_stands_right_above(text: str, doc: str) -> None:
    for item in (
        "op f() -> y: f32 { y = 1 }",
        "reducer f(a: f32) with (b) { a = a + b }",
        "schedule f on llvm { unroll i }",
        "const f: f32 = 1",
        "intrinsic f on llvm = g",
    ):
        found = parse(text + item).items[-1]
        assert not isinstance(found, tree.Use)
        assert found.doc == doc


# ---------------------------------------------------------------- expressions

LEVELS = "or|and|<|\\||^|&|<< >>|+ -|* / // %|**".replace("\\|", "PIPE").split(
    "|"
)  # loosest first, apart from `not` and the unary operators


def operators() -> list[tuple[int, str]]:
    return [(level, op) for level, ops in enumerate(LEVELS) for op in ops.replace("PIPE", "|").split()]


def test_every_pair_of_operators_has_its_precedence() -> None:
    for level, first in operators():
        for other, second in operators():
            text = f"a {first} b {second} c"
            if level == other and first in ("<", "**"):
                continue
            to_the_left = level >= other
            wanted = f"(a {first} b) {second} c" if to_the_left else f"a {first} (b {second} c)"
            assert expression(text) == expression(wanted), text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a ** b ** c", "a ** (b ** c)"),
        ("-a ** b", "-(a ** b)"),
        ("a ** -b ** c", "a ** (-(b ** c))"),
        ("- - a", "-(-a)"),
        ("-a * b", "(-a) * b"),
        ("a * -b", "a * (-b)"),
        ("~a + b", "(~a) + b"),
        ("+a - -b", "(+a) - (-b)"),
        ("not a and b", "(not a) and b"),
        ("not not a", "not (not a)"),
        ("not a == b", "not (a == b)"),
        ("not a < b or c", "(not (a < b)) or c"),
        ("a | b == c", "(a | b) == c"),
        ("a - b - c", "(a - b) - c"),
        ("a << b >> c", "(a << b) >> c"),
        ("a / b * c // d % e", "(((a / b) * c) // d) % e"),
        ("X[i] else 0 * b", "(X[i] else 0) * b"),
        ("X[i] else 0 ** b", "(X[i] else 0) ** b"),
        ("-X[i] else 1", "-(X[i] else 1)"),
        ("a + X[i] else Y[j] else 0", "a + (X[i] else (Y[j] else 0))"),
        ("X[i] else (a + b) * c", "(X[i] else (a + b)) * c"),
        ("X[i] else f(a) + 1", "(X[i] else f(a)) + 1"),
        ("((a))", "a"),
        ("a.b.c", " a . b . c "),
    ],
)
def test_grouping(text: str, wanted: str) -> None:
    assert expression(text) == expression(wanted)


@pytest.mark.parametrize(
    "value", ["0", "-1", "+1", "x", "-x", "nn.x", "X[j]", "f(x)", "(a + b)", "inf", "sum[k](X[k])"]
)
def test_what_may_stand_outside(value: str) -> None:
    read = expression(f"X[i] else {value}")
    assert isinstance(read, tree.Read)
    assert read.outside == expression(value)


def test_comparisons_chain() -> None:
    chain = expression("0 <= i + 1 < N != a")
    assert isinstance(chain, tree.Compare)
    assert chain.ops == ("<=", "<", "!=")
    assert chain.operands == tuple(map(expression, ("0", "i + 1", "N", "a")))
    for op in ("==", "!=", "<", "<=", ">", ">="):
        compare = expression(f"a{op}b")
        assert isinstance(compare, tree.Compare)
        assert compare.ops == (op,)


def test_reductions() -> None:
    found = expression("sum[k < 3, j, *s, i where j <= i and k > 0](X[j, *s] * 2, y=3)")
    assert isinstance(found, tree.Reduce)
    assert [type(axis).__name__ for axis in found.axes] == ["Range", "Name", "Pack", "Name"]
    assert found.where == expression("j <= i and k > 0")
    assert [a.name for a in found.args] == [None, "y"]
    dotted = expression("my.welford[j](X[j], 0, 1,)")
    assert isinstance(dotted, tree.Reduce)
    assert (dotted.name.name, len(dotted.args), dotted.where) == ("my.welford", 3, None)
    assert expression("sum[k,](1)") == expression("sum[k](1)")
    read = expression("X[i, where(c, a, b)]")
    assert isinstance(read, tree.Read)
    assert read.index == (expression("i"), expression("where(c, a, b)"))
    assert isinstance(expression("where(c, a, b)"), tree.Call)
    assert isinstance(expression("mean[i]"), tree.Read)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("12", 12),
        ("1_000", 1000),
        ("0xff", 255),
        ("0XFF_ff", 65535),
        ("0b101", 5),
        ("0o17", 15),
        ("18446744073709551615", 2**64 - 1),
        ("0x1e", 30),
        ("1.5", 1.5),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("1e-3", 0.001),
        ("1E+3", 1000.0),
        ("2.5e-8", 2.5e-8),
        ("1_0.2_5", 10.25),
        ("1e-999", 0.0),
        ("0." + "3" * 3000, 1 / 3),
    ],
)
def test_numbers(text: str, value: int | float) -> None:
    number = expression(text)
    assert isinstance(number, tree.Number)
    assert type(number.value) is type(value)
    assert number.value == value


def test_numbers_end_where_they_end() -> None:
    assert expression("1-3") == expression("1 - 3")
    assert expression("0x1e-3") == expression("30 - 3")
    assert expression("2*3//4") == expression("(2 * 3) // 4")


KEYWORDS = sorted(t for t in table.load_table().terminals if t.islower())
FREE = [word for word in KEYWORDS if word not in ("and", "or", "not", "else", "require")]


@pytest.mark.parametrize("word", [*FREE, "sum", "tile", "op", "orb", "notx", "elsewhere"])
def test_keywords_are_names_elsewhere(word: str) -> None:
    """As the name of an op, parameter, result, tensor, index, function, argument, loop, knob, module."""
    argument = "" if word == "where" else f"{word}="  # `where(i = 0, a, b)` is taken for a slip
    text = f"""
        use {word}.{{{word}}}
        op {word}<{word}>({word}: {word}[{word}, *{word}], param {word}: f32 = 1, const {word}: int)
                -> {word}: {word}, a: f32 {{
            {word}[{word}, {word} < 3, *{word}] = {word}({word}, {argument}{word}) + {word}[{word}] else {word}
            {word}, {word} = sum[{word}, {word} < {word} where {word} == {word}]({word}.{word})
        }}
        reducer {word}({word}: f32) with ({word}) {{ {word} = {word} }}
        const {word}: f32 = {word}
        intrinsic {word} on {word} = {word}
        schedule {word} on {word} ({word} in {{{word}}} = {word}) when {word} == {word} {{
            {word} {word}, {word}.{word} by {word} into {word}, [{word}]
            {word} {word}[{word}] at {word} {{ {word} {word} }}
        }}
    """
    use, op, _, _, _, schedule = parse(text).items
    assert isinstance(op, tree.Op)
    assert isinstance(use, tree.Use)
    assert isinstance(schedule, tree.Schedule)
    assert (use.module, op.name, schedule.target) == (word, word, word)
    assert [(p.kind, p.name) for p in op.params] == [("", word), ("param", word), ("const", word)]
    assert [c.preposition for c in schedule.directives[0].clauses] == ["by", "into"]


@pytest.mark.parametrize("word", ["and", "or", "not", "else", "require"])
def test_reserved_words_are_no_names(word: str) -> None:
    assert codes(f"op {word}() -> y: f32 {{ y = 1 }}") == ["reserved-word"]
    for text in ("op f({}: f32) -> y: f32 {{ y = 1 }}", "op f() -> y: f32 {{ {} = 1 }}", "const {}: f32 = 1"):
        assert codes(text.format(word))


def test_prepositions_are_names_where_a_value_stands() -> None:
    (directive,) = parse_directives("split by by at into in, of")
    assert directive.operands == (expression("by"),)
    assert [(c.preposition, len(c.values)) for c in directive.clauses] == [("by", 1), ("into", 2)]


# ---------------------------------------------------------------- line ends


@pytest.mark.parametrize(
    "text",
    [
        "a = b\n+ c",
        "a = b +\nc",
        "a = b + # why\n\n\n c",
        "a = b # why\n # and why\n + c",
        "a =\n b + c",
        "a = b\n\n\n\n    + c",
        "a = (b\n+ c)",
        "a = (\nb + c\n)",
        "a\t= b\r\n\r\n+ c",
    ],
)
def test_a_line_end_that_does_not_count(text: str) -> None:
    assert statements(text) == statements("a = b + c")


@pytest.mark.parametrize("op", "| ^ & << >> + - * / // % ** == != < <= > >= and or".split())
def test_a_line_goes_on_after_and_before_an_operator(op: str) -> None:
    assert statements(f"a = b {op}\n c") == statements(f"a = b {op} c") == statements(f"a = b\n {op} c")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a = not\nb", "a = not b"),
        ("a = ~\nb", "a = ~b"),
        ("a = X[i]\nelse 0", "a = X[i] else 0"),
        ("a = X[i] else\n0", "a = X[i] else 0"),
        ("a = X[i,\nj\n]", "a = X[i, j]"),
        ("a,\nb = f(x)", "a, b = f(x)"),
        ("a = sum[k\nwhere k < 3](\nX[k])", "a = sum[k where k < 3](X[k])"),
        ("a = f(x,\n  y=\n 1\n)\n", "a = f(x, y=1)"),
        ("a = 1;b = 2", "a = 1\nb = 2"),
        ("a = 1;;\n;b = 2;", "a = 1\nb = 2"),
        ("a = 1 ; # one\nb = 2\n\n\n", "a = 1\nb = 2"),
        ("\n\n  a = 1\n\n  b = 2\n", "a = 1\nb = 2"),
        ("when = 1\nwhen[i] = 2", "when = 1; when[i] = 2"),
        ("where = 1\nat = 2\nby = 3", "where = 1; at = 2; by = 3"),
    ],
)
def test_statements_and_lines(text: str, wanted: str) -> None:
    assert statements(text) == statements(wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("op f()\n-> y: f32\n{\n}", "op f() -> y: f32 { }"),
        ("op f(x:\nf32) ->\ny:\nf32,\nz: f32 {\n}", "op f(x: f32) -> y: f32, z: f32 { }"),
        ("op f<T: f16 |\nf32>(\n) -> y: T {}", "op f<T: f16 | f32>() -> y: T { }"),
        ("const G: f32 =\n1", "const G: f32 = 1"),
        ("schedule f on llvm\nwhen M > 1\n{\nunroll i\n}", "schedule f on llvm when M > 1 { unroll i }"),
        ("schedule f on llvm (A = 1)\n\n when M\n > 1 {}", "schedule f on llvm (A = 1) when M > 1 { }"),
        ("schedule f on llvm (A in {\n1,\n2\n}\n= 1) {}", "schedule f on llvm (A in {1, 2} = 1) { }"),
        ("use a;use b\n;use c\n", "use a\nuse b\nuse c"),
    ],
)
def test_items_and_lines(text: str, wanted: str) -> None:
    assert parse(text) == parse(wanted)


@pytest.mark.parametrize(
    "text",
    [
        "op f()\n(x: f32) -> y: f32 {}",
        "op\nf() -> y: f32 {}",
        "schedule f\non llvm {}",
        "use a use b",
        "op f() -> y: f32 {} use b",
        "op f() -> y: f32 { a = 1 b = 2 }",
        "op f() -> y: f32 { a\n= 1 }",
        "op f() -> y: f32 { a = f\n(x) }",
        "op f() -> y: f32 { a = X\n[i] }",
        "op f() -> y: f32 { require\nx }",
        "op f() -> y: f32 { a = (1;) }",
        "op f() -> y: f32 { ; a = 1 }",
        "op f() -> y: f32 { a = 1 + ; b = 1 }",
        "schedule f on llvm { split i by 8 unroll j }",
        "; use nn",
    ],
)
def test_a_line_end_that_counts(text: str) -> None:
    assert codes(text)


# ---------------------------------------------------------------- places


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_node_has_its_exact_text(name: str) -> None:
    """The text of an expression's span parses to that expression; and so for items and directives."""
    seen = set()
    for node in nodes(parse(PROGRAMS[name])):
        seen.add(type(node).__name__)
        if isinstance(node, tree.File):
            continue
        text = node.span.text
        assert text == text.strip()
        match node:
            case tree.Table():
                (constant,) = parse(f"const G: f32 = {text}").items
                assert isinstance(constant, tree.ConstTable)
                assert constant.value == node
            case (
                tree.Use()
                | tree.Op()
                | tree.Reducer()
                | tree.Schedule()
                | tree.ConstTable()
                | tree.Intrinsic()
            ):
                (item,) = parse(text).items
                if not isinstance(item, tree.Use):
                    item = dataclasses.replace(item, doc=getattr(node, "doc", ""))
                assert item == node
            case tree.Equation() | tree.Require():
                assert statements(text) == (node,)
            case tree.Target():
                (equation,) = statements(f"{text} = 1")
                assert isinstance(equation, tree.Equation)
                assert equation.targets == (node,)
            case tree.Directive():
                assert parse_directives(text) == (node,)
            case tree.Clause():
                assert parse_directives(f"split i {text}")[0].clauses == (node,)
            case tree.Range() | tree.Pack():
                read = expression(f"X[{text}]")
                assert isinstance(read, tree.Read)
                assert read.index == (node,)
            case tree.Argument():
                call = expression(f"f({text})")
                assert isinstance(call, tree.Call)
                assert call.args == (node,)
            case tree.Param() | tree.Result() | tree.Type() | tree.Generic() | tree.Knob():
                assert text.startswith(getattr(node, "kind", None) or node.name)
            case _:
                assert expression(text) == node
    assert len(seen) > 4


def test_parts_have_their_places() -> None:
    text = "op f(param  W : f32[N, 2*M] = 1) -> Y: f32 {\n  Y[i] = ( a+b )*  -c\n}"
    (op,) = parse(text).items
    assert isinstance(op, tree.Op)
    (param,) = op.params
    assert (op.span.text, op.name_span.text) == (text, "f")
    assert (param.span.text, param.name_span.text) == ("param  W : f32[N, 2*M] = 1", "W")
    assert param.type.span.text == "f32[N, 2*M]"
    (equation,) = op.body
    assert isinstance(equation, tree.Equation)
    product = equation.value
    assert isinstance(product, tree.Binary)
    assert (equation.span.line, equation.span.column) == (2, 3)
    assert (product.span.text, product.op_span.text) == ("( a+b )*  -c", "*")
    assert (product.left.span.text, product.right.span.text) == ("a+b", "-c")
    (directive,) = parse_directives("  specialize M == 1  { unroll i }  ")
    assert (directive.span.text, directive.verb_span.text) == (
        "specialize M == 1  { unroll i }",
        "specialize",
    )


def test_places_are_those_of_the_text_as_it_is() -> None:
    text = "\ufeff# ∑\r\n\tuse nn\r\n"
    (use,) = parse(text).items
    assert (use.span.start, use.span.text, use.span.line, use.span.column) == (7, "use nn", 2, 2)


# ---------------------------------------------------------------- errors (their words: tests/errors)


def test_errors_of_several_units_are_reported_in_order() -> None:
    text = """
        opp a() -> y: f32 { y = 1 }
        op b(x) -> y: f32 { y = * x; z = 1 }
        op c() -> y: f32 {
            y = 1 2
            z = 3
            w = X[1:2]
        }
        schedule c on llvm { split by 8; unroll i; inline }
        use nn.x
        const G: f32[2] = [1, 2
        reducer r(a: f32) with (b { a = b }
        op d() -> y: f32 {
            y = (1 + 2
            x = 3
        op e() -> y: f32 { y = $ }
    """
    assert codes(text) == [
        "unknown-item",
        "missing-type",
        "unexpected-token",
        "unexpected-token",
        "slice-in-index",
        "missing-operand",
        "missing-operand",
        "use-without-braces",
        "unclosed-bracket",
        "unclosed-bracket",
        "unclosed-bracket",
        "unclosed-brace",
        "bad-character",
    ]


def test_one_mistake_is_reported_once() -> None:
    for text in (
        "op f( -> y: f32 { y = 1\n z = 2 }",
        "op f() -> y: f32 { y = (((1 }",
        "op f() -> y: f32 { for i in x { a b c\n d e f } }",
        "op f() -> y: f32 { y = 1 } }",
        "schedule f on llvm { specialize M == 1 { unroll i\n unroll j }",
        "const G: f32[2] = [1, 2\nop f() -> y: f32 { y = 1 }",
        "op f() -> y: f32 { y = 1\n\nop g() -> y: f32 { y = 1 }",
        "op f() -> y: f32 {\n a = X[i}\n b = 1\n }",
    ):
        assert len(codes(text)) == 1, text


@pytest.mark.parametrize("character", ["\0", "\x07", "\r", "\x0b", "\ud800", "\u2028", "é", "😀", "\ufeff"])
def test_characters_that_are_not_in_the_language(character: str) -> None:
    with pytest.raises(CompileError) as caught:
        parse(f"op f() -> y: f32 {{ y = 1 {character} + 1 }}")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "bad-character"
    assert f"U+{ord(character):04X}" in diagnostic.message
    assert diagnostic.span is not None
    assert diagnostic.span.text == character


def test_an_expression_alone() -> None:
    assert expression("\n\n a\n + b\n\n") == expression("a + b")
    for text in ("", "a b", "a)", "(a", "a = b", "a\nb", "}", "{", "a; b", "use nn"):
        with pytest.raises(CompileError):
            expression(text)


def test_directives_alone_report_their_errors() -> None:
    with pytest.raises(CompileError) as caught:
        parse_directives("split by 8\nunroll i\ninline\n}\nvectorize")
    assert [d.code for d in caught.value.diagnostics] == [
        "missing-operand", "missing-operand", "stray-bracket", "missing-operand"
    ]  # fmt: skip


# ---------------------------------------------------------------- limits


def test_a_text_that_is_too_large_is_refused() -> None:
    assert codes(" " * (MAX_CHARACTERS + 1)) == ["source-too-large"]
    assert codes("+" * (MAX_TOKENS + 1)) == ["source-too-large"]


def op_with(value: str) -> str:
    return f"op f() -> y: f32 {{ y = {value} }}"


@pytest.mark.parametrize(
    "nest",
    [
        lambda n: "(" * n + "a" + ")" * n,
        lambda n: "f(" * n + "a" + ")" * n,
        lambda n: "X[" * n + "a" + "]" * n,
        lambda n: "X[a] else " * n + "a",
        lambda n: "- " * n + "a",
        lambda n: "not " * n + "a",
        lambda n: "a ** " * n + "a",
        lambda n: "a + " * n + "a",
        lambda n: "a and " * n + "a",
        lambda n: "sum[k](" * n + "a" + ")" * n,
        lambda n: "sum[k where " * n + "a" + "](a)" * n,
    ],
)
def test_nesting_has_a_limit(nest: Any) -> None:
    for depth in (MAX_DEPTH + 1, 2000, 30_000):
        assert codes(op_with(nest(depth))) == ["nested-too-deep"]
    deepest = bisect_left(range(MAX_DEPTH), True, key=lambda n: is_refused(op_with(nest(n)))) - 1
    assert deepest >= MAX_DEPTH // 3
    # Whatever walks the deepest tree with a few frames a node stays inside Python's recursion limit.
    file = parse(op_with(nest(deepest)))
    again = parse(op_with(nest(deepest)))
    assert len(list(nodes(file))) == len(list(nodes(again)))
    assert (file, hash(file), repr(file)) == (again, hash(again), repr(again))


def is_refused(text: str) -> bool:
    try:
        parse(text)
    except CompileError:
        return True
    return False


def test_blocks_have_a_limit() -> None:
    nested = "specialize a { " * 30_000 + "unroll i" + " }" * 30_000
    assert codes(f"schedule f on llvm {{ {nested} }}") == ["nested-too-deep"]
    assert codes("const G: f32[1] = " + "[" * 30_000 + "1" + "]" * 30_000) == ["nested-too-deep"]


def test_lists_have_no_limit_of_their_own() -> None:
    assert len(statements("a = 1\n" * 20_000)) == 20_000
    call = expression("f(" + "a, " * 20_000 + ")")
    assert isinstance(call, tree.Call)
    assert len(call.args) == 20_000
    compare = expression("a" + " < a" * 20_000)
    assert isinstance(compare, tree.Compare)
    assert len(compare.operands) == 20_001


def test_the_number_of_errors_has_a_limit() -> None:
    found = codes("op f() -> y: f32 {" + "y = 1 2\n" * 10_000 + "}")
    assert found == ["unexpected-token"] * MAX_ERRORS + ["too-many-errors"]


@pytest.mark.parametrize(
    "part", ["(", ")", "{", "}", "[", "-", "a ", "a\n", "\n", ";", "/*\n", '"', '"""\n', "\0", "#", "1", "op ", "X[",
             "a=", "op f(\n", "use a\n", "([{", "a.", "é", "##\n", "\r", "a<", "*", "**", ",", ":", "else "]
)  # fmt: skip
def test_long_repetitions_end_in_a_tree_or_a_diagnostic(part: str) -> None:
    text = part * (100_000 // len(part))
    for parser in (parse, expression, statements, parse_directives):
        with contextlib.suppress(CompileError):
            parser(text)


# ---------------------------------------------------------------- the table


def test_the_shipped_table_is_that_of_the_grammar() -> None:
    assert table.is_current(), "run `python -m te.grammar.table`"


def test_word_lists_are_those_of_the_grammar() -> None:
    grammar = Path(table.GRAMMAR_PATH).read_text(encoding="utf-8")
    rule = grammar[grammar.index("!preposition:") : grammar.index("// ---", grammar.index("!preposition:"))]
    assert set(re.findall(r'"(\w+)"', rule)) == PREPOSITIONS
    assert set(KEYWORDS) >= RESERVED
    assert set(table.load_table().terminals) >= OPERATORS


def test_a_table_of_another_grammar_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = table.load_table()
    for content in ("", "{}", "[1", '{"grammar": "0-00000000"}'):
        path = tmp_path / "te.lalr.json"
        path.write_text(content)
        monkeypatch.setattr(table, "TABLE_PATH", str(path))
        assert table.load_table() == shipped


def test_parsing_does_not_import_lark() -> None:
    """Lark takes longer to import than a program takes to parse."""
    code = """if True:
        import sys
        from te.diagnostics import Source
        from te.grammar.parser import parse_file
        parse_file(Source("a.te", "op f(x: f32) -> y: f32 { y = x }"))
        print([name for name in ("lark", "te.grammar.mistakes", "unicodedata") if name in sys.modules])
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"
