"""The LALR table: made from `te.lark` by Lark, shipped as `te.lalr.json`, read here.

Importing Lark takes longer (20 ms) than everything else that `te` needs to read a file, so the
table is made when the grammar changes, not when a program is read:

    python -m te.grammar.table           # write te.lalr.json
    python -m te.grammar.table --check   # exit 1 if it does not belong to te.lark

A table that does not belong to `te.lark` (someone edits the grammar) is never used: it is built
anew in memory. `tests/language/test_parser.py` fails until it is written.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from lark.grammar import Rule as LarkRule

GRAMMAR_PATH: Final = os.path.join(os.path.dirname(__file__), "te.lark")
TABLE_PATH: Final = os.path.join(os.path.dirname(__file__), "te.lalr.json")
STARTS: Final = ("file", "expression", "directives", "body")

NEWLINE: Final = "_NL"
END: Final = "$END"


class Rule(NamedTuple):
    """A production: `length` symbols on the stack become one `origin`.

    `action` is the builder's method, or None: the children stay a list (the repetitions that
    Lark makes of `*`) or, with `through` set, the child at that position is the value.
    `picks` says which children the action gets: a position; `~position` of a list whose members
    it gets; None for an optional part that is absent.
    """

    origin: str
    length: int
    action: str | None
    through: int | None
    picks: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """An LALR(1) automaton.

    A terminal is called by its spelling (`(`, `->`, `where`), the rest `NAME`, `NUMBER`, `_NL`
    and `$END`. In `actions[state][terminal]`, `n >= 0` shifts to state `n` and `n < 0` reduces
    by `rules[~n]`. `starts` gives the first and the accepting state of each start symbol.
    """

    patterns: dict[str, str]
    terminals: tuple[str, ...]
    rules: tuple[Rule, ...]
    actions: tuple[dict[str, int], ...]
    gotos: tuple[dict[str, int], ...]
    starts: dict[str, tuple[int, int]]


def load_table() -> Table:
    """The shipped table, or one built now if `te.lark` has changed since."""
    grammar = _read(GRAMMAR_PATH)
    try:
        data = json.loads(_read(TABLE_PATH))
    except (OSError, ValueError):
        data = {}
    if data.get("grammar") != fingerprint(grammar):
        data = build(grammar)
    return _from_json(data)


def fingerprint(grammar: str) -> str:
    # Guards against a forgotten rebuild, not against malice, and needs no import of hashlib (2 ms).
    return f"{len(grammar)}-{crc32(grammar.encode()):08x}"


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _from_json(data: dict[str, Any]) -> Table:
    actions, gotos = data["actions"], data["gotos"]
    return Table(
        patterns=data["patterns"],
        terminals=tuple(data["terminals"]),
        rules=tuple(Rule(o, n, a, t, tuple(p)) for o, n, a, t, p in data["rules"]),
        actions=tuple([actions[row] for row, _ in data["states"]]),
        gotos=tuple([gotos[row] for _, row in data["states"]]),
        starts={name: (first, last) for name, (first, last) in data["starts"].items()},
    )


# ---------------------------------------------------------------- building, with Lark


def build(grammar: str) -> dict[str, Any]:
    """The table of a grammar as plain data; the same for every run and hash seed.

    Raises lark.exceptions.GrammarError for a grammar that is not LALR(1): every conflict, also
    those that Lark would resolve by itself.
    """
    import lark
    from lark.parsers.lalr_analysis import Shift

    parser: Any = lark.Lark(grammar, parser="lalr", lexer=_no_lexer(), start=list(STARTS), strict=True)
    automaton = parser.parser.parser._parse_table
    spelling = {t.name: t.pattern.value for t in parser.terminals if t.pattern.type == "str"}
    rules = sorted(parser.rules, key=lambda r: (r.origin.name, [s.name for s in r.expansion]))
    rule_numbers = {rule: number for number, rule in enumerate(rules)}

    order = _number_states(automaton)
    actions, gotos = _Rows(), _Rows()
    states = []
    for state in order:
        action: dict[str, int] = {}
        goto: dict[str, int] = {}
        for symbol, (kind, argument) in sorted(automaton.states[state].items()):
            if kind is not Shift:
                action[spelling.get(symbol, symbol)] = ~rule_numbers[argument]
            elif symbol in parser._terminals_dict or symbol in (NEWLINE, END):
                action[spelling.get(symbol, symbol)] = order[argument]
            else:
                goto[symbol] = order[argument]
        states.append((actions.number(action), gotos.number(goto)))
    return {
        "grammar": fingerprint(grammar),
        "lark": lark.__version__,
        "patterns": {t.name: t.pattern.value for t in parser.terminals if t.pattern.type == "re"},
        "terminals": sorted({spelling.get(t.name, t.name) for t in parser.terminals} | {NEWLINE}),
        "starts": {
            s: [order[automaton.start_states[s]], order[automaton.end_states[s]]] for s in sorted(STARTS)
        },
        "rules": [_describe_rule(rule) for rule in rules],
        "states": states,
        "actions": actions.rows,
        "gotos": gotos.rows,
    }


class _Rows:
    """Numbers equal rows once: most states share theirs with others."""

    def __init__(self) -> None:
        self.rows: list[dict[str, int]] = []
        self._numbers: dict[str, int] = {}

    def number(self, row: dict[str, int]) -> int:
        key = json.dumps(row, sort_keys=True)
        if key not in self._numbers:
            self._numbers[key] = len(self.rows)
            self.rows.append(row)
        return self._numbers[key]


def _number_states(automaton: Any) -> dict[int, int]:
    """Lark's states, renumbered breadth first: its own numbers change with the hash seed."""
    from lark.parsers.lalr_analysis import Shift

    queue = [automaton.start_states[start] for start in sorted(STARTS)]
    numbers = {state: number for number, state in enumerate(queue)}
    for state in queue:
        for _, (kind, target) in sorted(automaton.states[state].items()):
            if kind is Shift and target not in numbers:
                numbers[target] = len(numbers)
                queue.append(target)
    return numbers


def _describe_rule(rule: LarkRule) -> list[Any]:
    """[origin, length, action, through, picks]: Lark's tree-shaping options, worked out."""
    picks: list[int | None] = []
    absent = list(rule.options.empty_indices) or [False] * len(rule.expansion)
    position = 0
    for is_absent in absent:
        if is_absent:
            picks.append(None)
            continue
        symbol: Any = rule.expansion[position]
        if not symbol.is_term:
            picks.append(~position if symbol.name.startswith("_") else position)
        elif not symbol.filter_out:
            picks.append(position)
        position += 1
    assert position == len(rule.expansion), rule
    origin = str(rule.origin.name)
    is_single = len(picks) == 1 and picks[0] is not None and picks[0] >= 0
    through = picks[0] if rule.options.expand1 and is_single and not rule.alias else None
    action = None if origin.startswith("_") or through is not None else rule.alias or origin
    return [origin, len(rule.expansion), action and str(action), through, picks]


def _no_lexer() -> Any:
    """`lexer.py` makes the tokens; Lark is asked for the table alone."""
    from lark.lexer import Lexer

    class NoLexer(Lexer):
        def __init__(self, lexer_conf: Any) -> None:
            pass

        def lex(self, lexer_state: Any, parser_state: Any) -> Any:
            raise NotImplementedError

    return NoLexer


def to_text(data: dict[str, Any]) -> str:
    """JSON with one row a line, so that a change of the grammar has a readable diff."""
    parts = []
    for key, value in data.items():
        if isinstance(value, list) and value and not isinstance(value[0], str):
            rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in value)
            parts.append(f"{json.dumps(key)}: [\n{rows}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def is_current() -> bool:
    """Whether the shipped table is the one that Lark makes of `te.lark`, by whatever version of Lark."""
    built = json.loads(to_text(build(_read(GRAMMAR_PATH))))
    shipped = json.loads(_read(TABLE_PATH))
    return {**built, "lark": None} == {**shipped, "lark": None}


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        current = is_current()
        print("te.lalr.json is current" if current else "te.lalr.json does not belong to te.lark")
        return 0 if current else 1
    text = to_text(build(_read(GRAMMAR_PATH)))
    with open(TABLE_PATH, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    print(f"wrote {TABLE_PATH}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
