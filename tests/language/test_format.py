"""The formatter, text in, text out; `tests/properties/test_format.py` has what holds of any text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from te.diagnostics import CompileError, Source
from te.grammar.format import format_source

FOLDER = Path(__file__).parent / "format"
HEAD, TAIL = "op f(X: f32[N]) -> Y: f32[N] {\n", "}\n"


def formatted(text: str) -> str:
    return format_source(Source("test.te", text))


def body(text: str) -> str:
    """The statements of an op, formatted, without their indent."""
    result = formatted(HEAD + text + TAIL)
    lines = result.removeprefix(HEAD).removesuffix(TAIL).split("\n")
    return "\n".join(line.removeprefix("    ") for line in lines)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.te")), ids=lambda path: path.stem)
def test_golden(path: Path, golden: Callable[[Path, str], None]) -> None:
    golden(path.with_suffix(".txt"), formatted(path.read_text(encoding="utf-8")))


# ---------------------------------------------------------------- files


def test_files_without_items() -> None:
    assert formatted("") == formatted(" \n\t\n\n") == ""
    assert formatted("\n\n#  a \n\n\n# b") == "#  a\n\n# b\n"


def test_line_ends_stay_what_most_of_them_are() -> None:
    assert formatted("# a\r\nuse b\r\n# c\n") == "# a\r\nuse b\r\n# c\r\n"
    assert formatted("# a\r\nuse b\n# c\n") == "# a\nuse b\n# c\n"
    assert formatted("\ufeff# a\r\n") == "\ufeff# a\r\n"


def test_errors_are_those_of_the_parser() -> None:
    with pytest.raises(CompileError, match="expected"):
        formatted("op f(")


# ---------------------------------------------------------------- comments


@pytest.mark.parametrize(
    "above", ["## doc\n", "# no doc\n## doc\n", "## no doc\n\n", "### no doc\n", "; ## no doc\n"]
)
def test_documentation_stays_documentation(above: str) -> None:
    """`format_source` compares the trees, which hold the documentation."""
    formatted(f"use a\n{above}op f() -> y: f32 {{}}")


def test_comments_before_a_block_go_into_it() -> None:
    text = "op f() -> y: f32  # a\n# b\n{  # c\n    y = 1\n}"
    assert formatted(text) == "op f() -> y: f32 {  # a\n    # b\n    # c\n    y = 1\n}\n"


def test_comments_inside_brackets() -> None:
    assert body("Y[i] = max(X[i],  # a\n# b\nX[i - 1], # c\n# d\n)\n") == (
        "Y[i] = max(X[i],  # a\n           # b\n           X[i - 1],  # c\n           # d\n          )\n"
    )


# ---------------------------------------------------------------- spaces


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-a- -b*~c", "-a - -b * ~c"),
        ("not(a)and b or(c)", "not (a) and b or (c)"),
        ("f (x , y = - 1)", "f(x, y=-1)"),
        ("a<b<=c!=d", "a < b <= c != d"),
        ("sum[k,*s where(k)<3](X [k])", "sum[k, *s where (k) < 3](X[k])"),
        ("X[2*i+1,i*K*2-j,K*2]", "X[2*i + 1, i*K*2 - j, K * 2]"),
        ("X[d * (K-1) + 1, (i+1) * 2 - (i // 2) * 3, i // 2 * 3 + 1]", None),
        ("X[i]else Z[i]else-1", "X[i] else Z[i] else -1"),
        ("1_000+0xfF+0.50+1e-3", "1_000 + 0xfF + 0.50 + 1e-3"),
        ("((a))+(b*c)", "((a)) + (b * c)"),
        ("nn . relu( X )", "nn.relu(X)"),
        ("f ( )", "f()"),
        ("a**-b<<c", "a ** -b << c"),
    ],
)
def test_spaces(text: str, expected: str | None) -> None:
    expected = expected or "X[d*(K - 1) + 1, (i + 1)*2 - (i // 2) * 3, i // 2 * 3 + 1]"
    assert body(f"Y = {text}\n") == f"Y = {expected}\n"


# ---------------------------------------------------------------- lines


def test_breaks_that_were_written_stay() -> None:
    text = "Y[i] = a\n     + b[\n         i\n     ] - sum[k](\n         c *\n         d,\n         e)\n"
    assert body(text) == text


def test_blank_lines() -> None:
    assert body("\n\na = 1\n\n\n\nb = 1\n\n") == "a = 1\n\nb = 1\n"


def test_equations_below_each_other_line_up() -> None:
    assert body("a = 1\nlonger[i, j] = 2\n\nb = 3\nb2 = 4\n# c\nc = 5\nrequire N > 1\nd2 = 7\n") == (
        "a            = 1\nlonger[i, j] = 2\n\nb  = 3\nb2 = 4\n# c\nc = 5\nrequire N > 1\nd2 = 7\n"
    )


def test_equations_of_very_different_width_do_not_line_up() -> None:
    assert body("a = 1\na_very_long_name_of_a_tensor = 2\n") == "a = 1\na_very_long_name_of_a_tensor = 2\n"


def test_no_line_is_made_too_long_by_lining_up() -> None:
    long = "a = " + " + ".join(["xxxx"] * 13)
    assert len(long) == 92
    assert body(f"{long}\nabcde = 1\n") == f"{long.replace('a', 'a    ')}\nabcde = 1\n"
    assert body(f"{long}\nabcdef = 1\n") == f"{long}\nabcdef = 1\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Y[i] = " + " + ".join(f"a_number_{n} * x" for n in range(8)),
            """\
Y[i] = a_number_0 * x + a_number_1 * x + a_number_2 * x + a_number_3 * x + a_number_4 * x
     + a_number_5 * x + a_number_6 * x + a_number_7 * x
""",
        ),
        (
            "Y[n, k, y, x] = sum[c, r, s]((X[n, c, y*stride + r - pad, x*stride + s - pad] else 0) * F[k, c, r, s])",
            """\
Y[n, k, y, x] = sum[c, r, s](
    (X[n, c, y*stride + r - pad, x*stride + s - pad] else 0) * F[k, c, r, s])
""",
        ),
        (
            "Y = some.op(" + ", ".join(f"an_argument_{n}" for n in range(9)) + ")",
            """\
Y = some.op(an_argument_0, an_argument_1, an_argument_2, an_argument_3, an_argument_4,
            an_argument_5, an_argument_6, an_argument_7, an_argument_8)
""",
        ),
        (
            "Y[i] = where(is_first_case[i], X[i] * X[i], where(is_second_case[i], X[i] + X[i], X[i] - X[i] / 2))",
            """\
Y[i] = where(is_first_case[i], X[i] * X[i],
       where(is_second_case[i], X[i] + X[i], X[i] - X[i] / 2))
""",
        ),
        (
            "require " + " and ".join(f"size_{n} % 4 == 0" for n in range(6)),
            """\
require size_0 % 4 == 0 and size_1 % 4 == 0 and size_2 % 4 == 0 and size_3 % 4 == 0
    and size_4 % 4 == 0 and size_5 % 4 == 0
""",
        ),
    ],
)
def test_long_lines(text: str, expected: str) -> None:
    assert body(text + "\n") == expected


def test_a_head_that_fits_stands_on_one_line() -> None:
    assert (
        formatted("op f(\n    x: f32,\n    y: f32,\n)\n    -> z: f32\n{\n}")
        == "op f(x: f32, y: f32,) -> z: f32 {}\n"
    )


@pytest.mark.parametrize("depth", [1, 190])
def test_nested_blocks_and_brackets(depth: int) -> None:
    formatted("schedule f on llvm {" + "specialize M == 1 {" * depth + "}" * depth + "}")
    formatted("op f() -> y: f32 { y = " + "(" * depth + "1" + ")" * depth + " }")
    formatted("op f(X: f32[N]) -> y: f32 { y = X[1 + " + "*".join(["N"] * depth) + "] }")


def test_lines_that_use_a_schedule_stay_in_their_block() -> None:
    text = "use nn\n\nschedule f on llvm (W in {4, 8} = 4) when N > W {\n    use nn.softmax of H\n    use g of Y\n}\n"
    assert formatted(text) == text
    assert formatted(text.replace("\n    use", "; use").replace("{; ", "{ ")) == text
