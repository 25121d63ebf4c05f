"""Syntax errors, explained.

The parser says where it stopped and what could have stood there. Each function below knows one
mistake by these: it gives the message for it, or None where it is not that mistake. `explain` asks
them in order; what nobody recognises is "expected this, found that".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Final

from te.diagnostics import Diagnostic, Note, Span, did_you_mean, error
from te.grammar.bad_tokens import explain_bad_token
from te.grammar.brackets import CLOSER, ITEM_WORDS, OPENER
from te.grammar.expectation import PREPOSITIONS, describe_expected, is_name_expected
from te.grammar.lexer import BAD, RESERVED, Token
from te.grammar.limits import MAX_DEPTH
from te.grammar.lines import OPERATORS
from te.grammar.problem import Problem
from te.grammar.table import END, NEWLINE
from te.ir.types import DTYPES


def explain(problem: Problem) -> Diagnostic:
    """The diagnostic for a place where the parser stopped."""
    for recognise in MISTAKES:
        diagnostic = recognise(problem)
        if diagnostic:
            return diagnostic
    return _unexpected(problem)


def _nested_too_deep(problem: Problem) -> Diagnostic | None:
    if not problem.failure.too_deep:
        return None
    start, end = problem.failure.too_deep
    return error(
        "nested-too-deep",
        f"an expression is nested more than {MAX_DEPTH} levels deep",
        Span(problem.source, start, end),
        "each operator and each call is a level",
        help="give a part of it a name: a tensor or an op of its own",
    )


def _bad_token(problem: Problem) -> Diagnostic | None:
    found = problem.found
    if found.kind != BAD or found.text == "}":
        return None
    return explain_bad_token(found, problem.here)


# ---------------------------------------------------------------- brackets


def _stray_bracket(problem: Problem) -> Diagnostic | None:
    """`Y[i] = X[i])`, `f(X]`."""
    found = problem.found
    if found.text not in OPENER or found.start not in problem.brackets.stray:
        return None
    opened = problem.open_bracket
    if opened is not None and opened.start in problem.brackets.unclosed:
        return error(
            "mismatched-bracket",
            f"`{opened.text}` is closed by `{found.text}`",
            problem.here,
            f"expected `{CLOSER[opened.text]}`",
            notes=[Note(problem.span(opened), "opened here")],
        )
    return error(
        "stray-bracket",
        f"`{found.text}` closes nothing",
        problem.here,
        f"no `{OPENER[found.text]}` is open here",
    )


def _unclosed_bracket(problem: Problem) -> Diagnostic | None:
    """`Y[i] = f(X[i]`."""
    opened = problem.open_bracket
    if opened is None or opened.kind == "{" or opened.start not in problem.brackets.unclosed:
        return None
    closer = CLOSER[opened.kind]
    return error(
        "unclosed-bracket",
        f"`{opened.text}` is not closed: expected `{closer}`, found {problem.found_text}",
        problem.here,
        f"a `{closer}` is missing" if closer in problem.expected else "",
        notes=[Note(problem.span(opened), "opened here")],
    )


# ---------------------------------------------------------------- items


ITEM_WORDS_ELSEWHERE: Final = {
    "def": "op", "fn": "op", "func": "op", "function": "op", "fun": "op", "kernel": "op", "proc": "op",
    "import": "use", "from": "use", "include": "use", "using": "use", "sched": "schedule",
    "let": "const", "var": "const", "table": "const", "constexpr": "const", "static": "const",
}  # fmt: skip


def _unknown_item(problem: Problem) -> Diagnostic | None:
    """`opp softmax(...)`, `def softmax(...)`, an equation outside an op."""
    if "op" not in problem.expected or "schedule" not in problem.expected:
        return None
    found, after = problem.found, problem.next
    what = "an item begins with `use`, `op`, `reducer`, `const`, `intrinsic` or `schedule`"
    if found.kind not in ("NAME", "WORD", "require"):
        if found.kind == "//":
            return _comment_style(problem)
        return error("unknown-item", f"expected an item, found {problem.found_text}", problem.here, what)
    help = did_you_mean(found.text, ITEM_WORDS)
    if found.text in ITEM_WORDS_ELSEWHERE:
        help = f"write `{ITEM_WORDS_ELSEWHERE[found.text]}`"
    elif after.kind in ("[", "=", ",") or found.kind == "require":
        help = "equations and `require` stand in the block of an op: `op f(X: f32[N]) -> Y: f32[N] { ... }`"
    return error("unknown-item", f"no item begins with `{found.text}`", problem.here, what, help=help)


def _missing_arrow(problem: Problem) -> Diagnostic | None:
    """`op f(X: f32[N]) {`."""
    if problem.expected != {"->"}:
        return None
    return error(
        "missing-arrow",
        f"an op says what it gives: expected `->`, found {problem.found_text}",
        problem.here,
        "the results are missing before this",
        help="write `-> Y: f32[N]` after the parameters",
    )


def _missing_type(problem: Problem) -> Diagnostic | None:
    """`op f(X, Y: f32[N])`, `-> f32[N]`."""
    name = problem.previous
    if problem.expected != {":"} or name is None or problem.unit != "item":
        return None
    if name.text in DTYPES:
        help = f"write a name before it, `Y: {name.text}[N]`"
    else:
        help = f"write `{name.text}: f32[N]`, or `{name.text}: f32` for a scalar"
    return error(
        "missing-type",
        f"`{name.text}` has no type: expected `:`, found {problem.found_text}",
        problem.here,
        help=help,
    )


def _use_without_braces(problem: Problem) -> Diagnostic | None:
    """`use nn.softmax`."""
    read = problem.read
    if problem.expected != {"{"} or not read or read[0].text != "use":
        return None
    module, name = read[1].text, problem.found.text
    if module == "std":
        help = f"the standard library's modules have no prefix: write `use {name}`"
    else:
        help = f"write `use {module}.{{{name}}}`, or `use {module}` and then `{module}.{name}`"
    return error(
        "use-without-braces",
        f"the names taken from a module stand in braces: expected `{{`, found {problem.found_text}",
        problem.here,
        help=help,
    )


# ---------------------------------------------------------------- other languages


STATEMENT_WORDS: Final = {
    "let": "an equation has no keyword: `Y[i] = ...`",
    "var": "an equation has no keyword: `Y[i] = ...`",
    "auto": "an equation has no keyword: `Y[i] = ...`",
    "return": "a result is defined by its name: `Y[i] = ...`",
    "yield": "a result is defined by its name: `Y[i] = ...`",
    "assert": "a precondition is `require M % 4 == 0`",
    "if": "a condition is an expression: `Y[i] = where(condition, a, b)`",
    "elif": "a condition is an expression: `Y[i] = where(condition, a, b)`",
    "switch": "a condition is an expression: `Y[i] = where(condition, a, b)`",
    "def": "an op stands outside other ops",
    "op": "an op stands outside other ops",
    "import": "`use nn` stands outside ops",
}
LOOP_WORDS: Final = frozenset({"for", "while", "loop", "forall", "foreach", "do"})


def _foreign_statement(problem: Problem) -> Diagnostic | None:
    """`for i in range(n):`, `let x = 1`, `return Y`, `if (a) { ... }`."""
    if problem.unit != "statement" or not 1 <= len(problem.read) <= 2:
        return None
    word = problem.read[0]
    if word.text in LOOP_WORDS:
        return _loop(problem, word)
    if word.text not in STATEMENT_WORDS:
        return None
    return error(
        "foreign-statement",
        f"`{word.text}` is not in the language",
        problem.span(word),
        help=STATEMENT_WORDS[word.text],
    )


def _loop(problem: Problem, word: Token) -> Diagnostic:
    return error(
        "loop-statement",
        f"there are no loops: `{word.text}` is not in the language",
        problem.span(word),
        help="an equation holds for every index, `Y[i] = ...`; a loop that adds up is `sum[k](...)`",
    )


def _foreign_expression(problem: Problem) -> Diagnostic | None:
    """`a if c else b`, `[f(x) for x in X]`, `lambda x: x`."""
    found, previous = problem.found, problem.previous
    if previous is not None and previous.text == "lambda" and problem.read:
        return error(
            "lambda",
            "functions have names: `lambda` is not in the language",
            problem.span(previous),
            help="write an op, `op f(x: f32) -> y: f32 { y = ... }`",
        )
    if not problem.is_after_value:
        return None
    if found.text == "for":
        return _loop(problem, found)
    if found.text == "if":
        return error(
            "conditional-expression",
            "`if` is not in the language",
            problem.here,
            help="write `where(condition, a, b)`",
        )
    return None


def _comment_style(problem: Problem) -> Diagnostic | None:
    """`// text`: two words in a row behind `//`."""
    line = problem.source.line_of(problem.found.start)
    slashes = None
    for token in reversed(
        [*problem.tokens[max(0, problem.failure.position - 4) : problem.failure.position + 1]]
    ):
        if token.kind == "//" and problem.source.line_of(token.start) == line:
            slashes = token
    if slashes is None or problem.found.kind not in ("//", "NAME", "WORD", "and", "or", "not", BAD):
        return None
    return error(
        "comment-style",
        "a comment begins with `#`",
        problem.span(slashes),
        "`//` divides integers",
    )


def _misplaced_else(problem: Problem) -> Diagnostic | None:
    """`(a + b) else 0`."""
    if problem.found.kind != "else" or not problem.is_after_value:
        return None
    return error(
        "misplaced-else",
        "`else` stands behind a read only",
        problem.here,
        "this is not behind `X[...]`",
        help="to choose between two values, write `where(condition, a, b)`",
    )


# ---------------------------------------------------------------- equations


def _update_assignment(problem: Problem) -> Diagnostic | None:
    """`Y[i] += X[i]`."""
    found, after = problem.found, problem.next
    is_update = found.kind in OPERATORS and after.text.startswith("=") and after.start == found.end
    if not is_update or "=" not in problem.expected or problem.unit != "statement":
        return None
    return error(
        "update-assignment",
        f"`{found.text}=` is not in the language",
        Span(problem.source, found.start, found.end + 1),
        "a tensor is defined once",
        help="a reduction is an expression: `Y[i] = sum[k](A[i, k])`",
    )


def _comparison_as_equation(problem: Problem) -> Diagnostic | None:
    """`Y[i] == X[i]`."""
    if problem.found.kind != "==" or "=" not in problem.expected:
        return None
    return error("comparison-as-equation", "`==` compares and does not define", problem.here, "expected `=`")


def _equation_with_type(problem: Problem) -> Diagnostic | None:
    """`y: f32 = 1`, `y := 1`."""
    if problem.found.kind != ":" or problem.unit != "statement" or "=" not in problem.expected:
        return None
    name = problem.source.text[problem.read[0].start : problem.read[-1].end]
    return error(
        "equation-with-type",
        "an equation declares no type",
        problem.here,
        "expected `=`",
        help=f"write `{name} = ...`, and `{name} = f32(...)` to convert",
    )


def _assignment_in_condition(problem: Problem) -> Diagnostic | None:
    """`require M = 3`, `sum[k where k = 3](...)`, `sum[k = 3](...)`."""
    read = problem.read
    if problem.found.kind != "=" or not (problem.is_after_value and read):
        return None
    if problem.open_bracket is None and any(t.kind == "=" for t in read) and _hint_at_line_end(problem):
        return None
    in_index = problem.open_bracket is not None and problem.open_bracket.kind == "["
    if in_index and not any(token.text == "where" for token in read):
        help = "an extent is written `k < 3`"
    else:
        help = "write `==`"
    return error("assignment-in-condition", "`=` does not compare", problem.here, help=help)


def _slice_in_index(problem: Problem) -> Diagnostic | None:
    """`X[1:3]`, `X[:, j]`."""
    opened = problem.open_bracket
    if problem.found.kind != ":" or opened is None or opened.kind != "[":
        return None
    return error(
        "slice-in-index",
        "slices are not in the language",
        problem.here,
        "an index is one position",
        help="name each axis, `X[i, j]`; a part of an axis is `X[i + 1]` with a smaller extent",
    )


def _list_in_expression(problem: Problem) -> Diagnostic | None:
    """`Y[i] = [1, 2]`."""
    if problem.found.kind != "[" or "NUMBER" not in problem.expected:
        return None
    rest = problem.tokens[problem.failure.position :]
    opened = accumulate((token.kind == "[") - (token.kind == "]") for token in rest)
    end = next(
        (token.end for token, depth in zip(rest, opened, strict=False) if depth == 0), problem.found.end
    )
    return error(
        "list-in-expression",
        "a list is not a value here",
        Span(problem.source, problem.found.start, end),
        help="only a `const` table takes a list",
    )


def _reserved_word(problem: Problem) -> Diagnostic | None:
    """`op not(...)`, `require[i] = 3`."""
    found, previous = problem.found, problem.previous
    if found.kind in RESERVED and is_name_expected(problem.expected):
        word = found
    elif previous is not None and previous.kind == "require" and found.kind in ("=", "["):
        word = previous
    else:
        return None
    return error(
        "reserved-word",
        f"`{word.text}` is a reserved word",
        problem.span(word),
        "expected a name",
        help="`and`, `or`, `not`, `else` and `require` cannot be names",
    )


# ---------------------------------------------------------------- schedules


def _missing_operand(problem: Problem) -> Diagnostic | None:
    """`split by 8`, `inline`."""
    read, found = problem.read, problem.found
    if problem.unit != "directive" or not read:
        return None
    verb = read[0]
    if len(read) == 1 and found.kind in (NEWLINE, "}", END):
        place = problem.here
    elif read[-1].text in PREPOSITIONS and (len(read) == 2 or [t.kind for t in read[-2:-1]] == [","]):
        place = problem.span(read[-1])
    else:
        return None
    return error(
        "missing-operand",
        f"`{verb.text}` has no operand here",
        place,
        "expected a loop, a stage or a tensor",
        help=f"write `te help {verb.text}` in a shell to see its form",
    )


def _missing_clause_value(problem: Problem) -> Diagnostic | None:
    """`split i by`."""
    previous = problem.previous
    if problem.unit != "directive" or previous is None or len(problem.read) < 3:
        return None
    if previous.text not in PREPOSITIONS or "NUMBER" not in problem.expected:
        return None
    return error(
        "missing-clause-value",
        f"`{previous.text}` has no value: expected an expression, found {problem.found_text}",
        problem.here,
    )


def _unknown_clause(problem: Problem) -> Diagnostic | None:
    """`split i bye 8`."""
    if problem.found.kind not in ("NAME", "WORD") or not {"by", "into"} <= problem.expected:
        return None
    return error(
        "unknown-clause",
        f"no clause begins with `{problem.found.text}`",
        problem.here,
        "expected `,`, a clause or the end of the line",
        help=did_you_mean(problem.found.text, PREPOSITIONS)
        or "a clause begins with " + ", ".join(f"`{word}`" for word in sorted(PREPOSITIONS)),
    )


# ---------------------------------------------------------------- everything else


def _unexpected(problem: Problem) -> Diagnostic:
    expected = describe_expected(problem.expected, problem.previous if problem.read else None)
    return error(
        "unexpected-token",
        f"expected {expected}, found {problem.found_text}",
        problem.here,
        help=_hint(problem),
    )


REDUCERS: Final = frozenset({"sum", "prod", "max", "min", "all", "any", "mean", "argmax", "argmin"})


def _hint(problem: Problem) -> str | None:
    """What probably went wrong, where the message alone does not tell."""
    found, previous, read = problem.found, problem.previous, problem.read
    if previous is None or not read:
        return None
    if problem.expected == {"("} and previous.kind == "]":
        return "the term of a reduction stands in parentheses: `sum[k](A[i, k])`"
    if found.kind in ("NAME", "NUMBER", "WORD") and previous.kind == "]":
        names = [token.text for token, bracket in pairwise(read) if bracket.kind == "["]
        if names[-1] in REDUCERS:
            return "the term of a reduction stands in parentheses: `sum[k](A[i, k])`"
    is_adjacent = problem.source.line_of(previous.start) == problem.source.line_of(found.start)
    if previous.kind == "NUMBER" and found.kind in ("NAME", "WORD", "(") and is_adjacent:
        return f"a product is written with `*`: `{previous.text} * {'(...)' if found.kind == '(' else found.text}`"
    if found.kind in ("=", ",") and problem.is_after_value:
        return _hint_at_line_end(problem)
    if found.kind == "[" and problem.expected == {"(", "<"}:
        return "variables for dtypes stand in `< >`: `op f<T>(X: T[N]) -> ...`"
    if problem.unit == "statement" and "=" in problem.expected:
        return "an equation has what it defines on its left: `Y[i] = ...`"
    if found.kind in ("<", "<=", ">", ">=", "==", "!=") and "+" in problem.expected:
        return "in `[ ]`, a comparison stands behind `where`, and an extent is written `k < 3`"
    return None


def _hint_at_line_end(problem: Problem) -> str | None:
    """A line that ends with an operator goes on in the next, which may not be meant."""
    lines = problem.source.line_of
    ends = [token.text for token, after in pairwise(problem.read) if lines(token.start) < lines(after.start)]
    return f"the line before goes on here, because it ends with `{ends[-1]}`" if ends else None


MISTAKES: Final[Sequence[Callable[[Problem], Diagnostic | None]]] = (
    _nested_too_deep,
    _stray_bracket,
    _bad_token,
    _foreign_statement,
    _foreign_expression,
    _slice_in_index,
    _list_in_expression,
    _misplaced_else,
    _update_assignment,
    _comparison_as_equation,
    _equation_with_type,
    _assignment_in_condition,
    _comment_style,
    _reserved_word,
    _unclosed_bracket,
    _unknown_item,
    _missing_arrow,
    _missing_type,
    _use_without_braces,
    _missing_operand,
    _missing_clause_value,
    _unknown_clause,
)
