"""Runs a TextMate grammar as editors do: the part of the format that `editors/te.tmLanguage.json` uses.

A line at a time: of all rules that may apply, the one that matches first does; of several at one place
the end of the innermost `begin`, then the order of the grammar. The patterns are Oniguruma's in an
editor and Python's here, so they keep to what both understand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

Rule = dict[str, Any]


class Scoped(NamedTuple):
    """The characters `start` to `end` of a text, and their scopes, outermost first."""

    start: int
    end: int
    scopes: tuple[str, ...]


@dataclass
class Frame:
    """A `begin` that has matched: its patterns, what ends it, and the scopes inside."""

    rule: Rule
    scopes: tuple[str, ...]


class Highlighter:
    def __init__(self, path: Path) -> None:
        self.grammar: Rule = json.loads(path.read_text(encoding="utf-8"))

    def highlight(self, text: str) -> list[Scoped]:
        """Every character of a text, but line ends, with its scopes."""
        found: list[Scoped] = []
        stack = [Frame(self.grammar, ())]
        start = 0
        for line in text.split("\n"):
            found += (
                Scoped(start + token.start, start + min(token.end, len(line)), token.scopes)
                for token in self._line(line + "\n", stack)
                if token.start < min(token.end, len(line))
            )
            start += len(line) + 1
        return found

    def _line(self, line: str, stack: list[Frame]) -> Iterator[Scoped]:
        position = 0
        while position < len(line):
            frame = stack[-1]
            match, rule = self._first_match(line, position, frame)
            if match is None:
                break
            yield Scoped(position, match.start(), frame.scopes)
            if rule is None:
                stack.pop()
                yield from captured(match, frame.rule.get("endCaptures", {}), frame.scopes)
            else:
                scopes = (*frame.scopes, *([rule["name"]] if "name" in rule else []))
                yield from captured(match, rule.get("beginCaptures", rule.get("captures", {})), scopes)
                if "begin" in rule:
                    stack.append(Frame(rule, scopes))
                else:
                    assert match.end() > position, f"{rule['match']} takes nothing"
            position = match.end()
        yield Scoped(position, len(line), stack[-1].scopes)

    def _first_match(
        self, line: str, position: int, frame: Frame
    ) -> tuple[re.Match[str] | None, Rule | None]:
        """What matches next, and its rule; None for the end of the frame."""
        best = re.compile(frame.rule["end"]).search(line, position) if "end" in frame.rule else None
        chosen: Rule | None = None
        for rule in self._expand(frame.rule["patterns"]):
            match = re.compile(rule.get("match") or rule["begin"]).search(line, position)
            if match and (best is None or match.start() < best.start()):
                best, chosen = match, rule
        return best, chosen

    def _expand(self, patterns: list[Rule]) -> Iterator[Rule]:
        for rule in patterns:
            if "include" in rule:
                yield from self._expand([self.grammar["repository"][rule["include"].removeprefix("#")]])
            elif "match" in rule or "begin" in rule:
                yield rule
            else:
                yield from self._expand(rule["patterns"])


def captured(match: re.Match[str], captures: dict[str, Rule], scopes: tuple[str, ...]) -> Iterator[Scoped]:
    """The parts of a match with the scopes of their groups. Groups lie behind each other, or are the whole."""
    if "0" in captures:
        scopes = (*scopes, captures["0"]["name"])
    position = match.start()
    for number in sorted(int(number) for number in captures if number != "0"):
        start, end = match.span(number)
        if start >= 0:
            assert start >= position, "groups inside each other"
            yield Scoped(position, start, scopes)
            yield Scoped(start, end, (*scopes, captures[str(number)]["name"]))
            position = end
    yield Scoped(position, match.end(), scopes)


def patterns_of(rule: Any) -> Iterator[str]:
    """Every regular expression of a grammar."""
    if isinstance(rule, dict):
        yield from (rule[key] for key in ("match", "begin", "end") if key in rule)
        for value in rule.values():
            yield from patterns_of(value)
    elif isinstance(rule, list):
        for value in rule:
            yield from patterns_of(value)
