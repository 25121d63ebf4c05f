"""Highlighting in editors: what `editors/te.tmLanguage.json` makes of programs.

The parser says what each word is, and the highlighter, which sees a line at a time and no grammar, must
come to the same for every program in this repository that is written as people write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from te.diagnostics import Source
from te.elaborate import builtins
from te.grammar import tree
from te.grammar.lexer import RESERVED
from te.grammar.parser import parse_file
from te.grammar.spacing import STRENGTH, Spacing
from te.grammar.table import GRAMMAR_PATH
from te.grammar.words import Words
from te.ir.types import DTYPES
from tests.language.textmate import Highlighter, Scoped, patterns_of

ROOT = Path(__file__).parents[2]
EDITORS = ROOT / "editors"
FOLDER = Path(__file__).parent / "highlighting"
FORMATTED = Path(__file__).parent / "format" / "everything.txt"
PROGRAMS = sorted([*ROOT.glob("examples/*.te"), *ROOT.glob("te/std/*.te"), FORMATTED])


@cache
def highlighter() -> Highlighter:
    return Highlighter(EDITORS / "te.tmLanguage.json")


# ---------------------------------------------------------------- the grammar itself


def test_names_are_those_of_the_language() -> None:
    """Each list of words in the grammar is the compiler's."""
    patterns = list(patterns_of(highlighter().grammar))

    def words(first: str) -> list[set[str]]:
        """The alternatives that begin with a word, wherever they stand."""
        found = [re.search(rf"(?<![a-z|])({first}(?:\|[a-z0-9]+)+)\)", pattern) for pattern in patterns]
        return [set(match[1].split("|")) for match in found if match]

    grammar = Path(GRAMMAR_PATH).read_text(encoding="utf-8")
    prepositions = set(re.findall(r'"(\w+)"', grammar.split("!preposition:")[1].split("//")[0]))
    assert words("sum") == [set(builtins.REDUCERS)]
    assert words("where") == [set(builtins.FUNCTION_NAMES)]
    assert words("inf") == [set(builtins.CONSTANTS)]
    assert words("by") == [prepositions]
    assert {frozenset(found - {"float", "int"}) for found in words("bool")} == {frozenset(DTYPES)}
    assert words("and") + words("require") == [{"and", "or", "not"}, {"require", "else"}]
    assert {"and", "or", "not", "require", "else"} == RESERVED


def test_every_scope_ends_with_the_language() -> None:
    def names(rule: Any) -> Iterator[str]:
        if isinstance(rule, dict):
            yield from (value for key, value in rule.items() if key == "name" and isinstance(value, str))
            for value in rule.values():
                yield from names(value)
        elif isinstance(rule, list):
            for value in rule:
                yield from names(value)

    assert [name for name in names(highlighter().grammar["repository"]) if not name.endswith(".te")] == []


def test_vs_code_package() -> None:
    package = json.loads((EDITORS / "vscode" / "package.json").read_text(encoding="utf-8"))
    (language,) = package["contributes"]["languages"]
    (grammar,) = package["contributes"]["grammars"]
    assert language["id"] == grammar["language"]
    assert language["extensions"] == [".te"]
    assert grammar["scopeName"] == highlighter().grammar["scopeName"]
    for path in (language["configuration"], grammar["path"]):
        json.loads((EDITORS / "vscode" / path).read_text(encoding="utf-8"))
    assert (EDITORS / "vscode" / grammar["path"]).resolve() == EDITORS / "te.tmLanguage.json"


# ---------------------------------------------------------------- what it makes of programs


@pytest.mark.parametrize("path", [*sorted(ROOT.glob("examples/[qs]*.te")), FORMATTED], ids=lambda p: p.stem)
def test_golden(path: Path, golden: Callable[[Path, str], None]) -> None:
    golden(FOLDER / f"{path.stem}.txt", "\n".join(rendered(path.read_text(encoding="utf-8"))))


def rendered(text: str) -> Iterator[str]:
    """The lines of a text, below each the words that have a scope; operators and punctuation are left out."""
    tokens = highlighter().highlight(text)
    start = 0
    for line in text.split("\n"):
        yield f"| {line}"
        for token in tokens:
            scope = token.scopes[-1] if token.scopes else "meta"
            if start <= token.start < start + len(line) and not scope.startswith(
                ("meta", "punctuation", "keyword.operator.te")
            ):
                yield f"    {scope.removesuffix('.te'):28}  {text[token.start : token.end]}"
        start += len(line) + 1


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_words_are_what_the_parser_says(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    source = Source(path.name, text)
    words = Words(source)
    expected = Expected(words, parse_file(source)).scopes
    tokens = highlighter().highlight(text)
    wrong = []
    for position, word in enumerate(words.tokens[:-1]):
        wanted = expected.get(position, "punctuation" if word.text in ",;:.()[]{}" else "meta")
        found = scope_of(tokens, word.start, word.end)
        if not found.startswith(wanted):
            wrong.append(f"{source.line_of(word.start)}: `{word.text}` is {found}, not {wanted}")
    assert wrong == []


def test_comments() -> None:
    for path in PROGRAMS:
        text = path.read_text(encoding="utf-8")
        tokens = highlighter().highlight(text)
        for match in re.finditer(r"#[^\n]*", text):
            assert scope_of(tokens, *match.span()).startswith("comment.line")


def test_documentation() -> None:
    for text, is_documentation in [("## a", True), ("# a", False), ("### a", False)]:
        ((_, _, scopes),) = highlighter().highlight(text)
        assert scopes == (
            "comment.line.documentation.te" if is_documentation else "comment.line.number-sign.te",
        )


def scope_of(tokens: list[Scoped], start: int, end: int) -> str:
    """The innermost scope of a whole word; `meta` where none is its own."""
    inside = [token for token in tokens if token.start < end and token.end > start]
    scopes = {token.scopes[-1] if token.scopes else "meta" for token in inside}
    return " and ".join(sorted("meta" if scope.startswith("meta") else scope for scope in scopes))


class Expected:
    """The scope that each word of a program should have, by its position."""

    def __init__(self, words: Words, file: tree.File) -> None:
        self.words = words
        self.scopes: dict[int, str] = {}
        for position, token in enumerate(words.tokens):
            if token.kind == "NUMBER":
                self.scopes[position] = "constant.numeric"
            elif token.text in ("and", "or", "not"):
                self.scopes[position] = "keyword.operator.logical"
            elif token.text in ("else", "require"):
                self.scopes[position] = "keyword.control"
            elif token.text in {*STRENGTH, "=", "->", "~"}:
                self.scopes[position] = "keyword.operator"
        for position in Spacing(words, file).conditions:
            self.scopes[position] = "keyword.control"
        self.walk(file.items)

    def walk(self, node: Any) -> None:
        if isinstance(node, tuple):
            for part in node:
                self.walk(part)
        elif hasattr(node, "span"):
            self.note(node)
            for name in node.__slots__:
                if not name.endswith("span"):
                    self.walk(getattr(node, name))

    def note(self, node: Any) -> None:
        first = self.words.at(node.span.start)
        match node:
            case tree.Op() | tree.Reducer():
                self.put(first, "storage.type", "entity.name.function")
                if node.generics:
                    self.scopes[first + 2] = "punctuation"
                    self.scopes[self.words.find(">", self.words.at(node.generics[-1].span.start))] = (
                        "punctuation"
                    )
                if isinstance(node, tree.Reducer):
                    bracket = self.words.find("with", first)
                    self.put(bracket, "keyword.other")
                    for number in range(len(node.other)):
                        self.put(bracket + 2 + 2 * number, "variable.parameter")
            case tree.Generic():
                for number, name in enumerate([node.name, *node.choices]):
                    self.put(first + 2 * number, type_scope(name))
            case tree.Param():
                self.put(first, *(["storage.modifier"] if node.kind else []), "variable.parameter")
            case tree.Result():
                self.put(first, "variable.parameter")
            case tree.Type():
                self.put(first, type_scope(node.name))
            case tree.Target():
                # One word behind a `,`, or a target over several lines, looks like any other.
                is_first = self.words.tokens[first - 1].text != ","
                is_found = is_first and "\n" not in node.span.text
                self.put(first, "variable.other.definition" if is_found else "meta")
            case tree.Call():
                scope = "entity.name.function"
                if node.name.name in builtins.FUNCTION_NAMES:
                    scope = "support.function"
                elif node.name.name in DTYPES:
                    scope = "support.type"
                self.put_name(node.name, scope)
            case tree.Reduce():
                is_builtin = node.name.name in builtins.REDUCERS
                self.put_name(node.name, "support.function.reducer" if is_builtin else "entity.name.function")
            case tree.Name() if node.name in builtins.CONSTANTS:
                self.put(first, "constant.language")
            case tree.Argument(name=str()):
                self.put(first, "variable.parameter")
            case _:
                self.note_more(node, first)

    def note_more(self, node: Any, first: int) -> None:
        match node:
            case tree.Use():
                self.put(first, "keyword.control.import", "entity.name.namespace")
                for number in range(len(node.names or ())):
                    self.put(first + 4 + 2 * number, "entity.name.function")
            case tree.ConstTable():
                self.put(first, "storage.type", "variable.other.definition")
            case tree.Intrinsic():
                parts = 1 + 2 * node.target.count(".")
                self.put(first, "storage.type", "entity.name.function", "keyword.other", *["support"] * parts)
                for position in range(first + 4 + parts, self.words.behind(node.span.end)):
                    self.put(position, "entity.name.function")
            case tree.Schedule():
                name = 1 + 2 * node.op.count(".")
                target = 1 + 2 * node.target.count(".")
                scopes = ["entity.name.function"] * name + ["keyword.other"] + ["support.constant"] * target
                self.put(first, "storage.type", *scopes)
                if node.when is not None:
                    self.put(self.words.find("when", first), "keyword.other")
            case tree.Knob():
                self.put(first, "variable.parameter", *(["keyword.other"] if node.choices else []))
            case tree.Directive():
                self.put(first, "keyword.other.directive")
            case tree.Clause():
                self.put(first, "keyword.other.clause")
                if node.preposition == "tail":
                    self.put(first + 1, "support.constant")

    def put(self, position: int, *scopes: str) -> None:
        self.scopes.update(enumerate(scopes, position))

    def put_name(self, name: tree.Name, scope: str) -> None:
        first = self.words.at(name.span.start)
        for position in range(first, first + 1 + 2 * name.name.count(".")):
            self.put(position, scope)


def type_scope(name: str) -> str:
    return "support.type" if name in {*DTYPES, "float", "int"} else "entity.name.type"
