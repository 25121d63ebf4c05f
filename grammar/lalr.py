"""Runs an LALR(1) table over tokens.

The textbook shift-reduce loop (Aho, Lam, Sethi, Ullman: Compilers, 4.5-4.8) with three additions:

- each symbol on the stack knows its extent in the text and the depth of its tree;
- a `WORD` is a keyword where the parser can take that keyword, and a name elsewhere;
- after an error the parser drops the unit it is in (a statement, a directive, an item) and goes on
  behind it, so that one run finds the errors of several units.

The parse itself never recurses, whatever the nesting of the text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from te.grammar.lexer import WORD, Token
from te.grammar.limits import MAX_DEPTH, MAX_STACK
from te.grammar.table import END, Rule, Table

UNITS: Final = ("statement", "directive", "item")
"""What can be dropped and parsed on behind: the nonterminals of the grammar that a list holds."""

PLAIN: Final = frozenset({tuple, list, str, Token})
"""What an action returns for a part of a node; everything else is a node, one level of depth."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The token at `position` cannot be taken, or is `too_deep` inside its unit.

    `expected` holds the terminals that could stand there; `first` is the position of the unit's
    first token, and `unit` None where nothing can be dropped.
    """

    position: int
    expected: frozenset[str]
    unit: str | None
    first: int
    too_deep: tuple[int, int] | None = None


OnFailure = Callable[[Failure], "int | None"]


class Parse:
    """One run. `on_failure` says at which token to go on, or None to stop.

    `actions` has a method for each action of the rules: `action(children, start, end)`. A dropped
    unit is None among the children of its list.
    """

    def __init__(self, table: Table, tokens: Sequence[Token], actions: object, on_failure: OnFailure) -> None:
        self.table = table
        self.tokens = tokens
        self.on_failure = on_failure
        self.actions = [getattr(actions, rule.action) if rule.action else None for rule in table.rules]
        # Most reductions hand a single child up a level of precedence: they only change the state.
        # In the order of `~number`, so that an action is an index.
        self.units = [r.origin if r.length == 1 and r.through == 0 else "" for r in reversed(table.rules)]
        self.states: list[int] = []
        # One entry less than states: the value, the extent and the depth of each symbol.
        self.values: list[Any] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.depths: list[int] = []
        # The stack as it was before the reductions for the current token: `states[:low] + popped`.
        self.low = 0
        self.popped: list[int] = []

    def run(self, start: str) -> Any:
        """The value of the whole text; None if `on_failure` stopped the run."""
        first, accepting = self.table.starts[start]
        rows, rules, gotos = self.table.actions, self.table.rules, self.table.gotos
        tokens, states, units = self.tokens, self.states, self.units
        states.append(first)
        position: int | None = 0
        while position is not None:
            token = tokens[position]
            kind = token.kind
            self.low, self.popped, top = len(states), [], states[-1]
            if kind == WORD:
                kind = token.text if self._accepts(token.text, states) else "NAME"
            while True:
                action = rows[states[-1]].get(kind)
                if action is None:
                    position = self._recover(position, self._expected(top))
                    break
                if action >= 0:
                    self._push(action, token, token.start, token.end, 0)
                    position += 1
                    if len(states) > MAX_STACK:
                        position = self._recover(position, frozenset(), (token.start, token.end))
                    break
                if units[action]:
                    states[-1] = gotos[states[-2]][units[action]]
                    continue
                extent = self._reduce(~action, rules[~action], token)
                if extent:
                    position = self._recover(position, frozenset(), extent)
                    break
                if kind == END and states[-1] == accepting:
                    return self.values[-1]
        return None

    def _push(self, state: int, value: Any, start: int, end: int, depth: int) -> None:
        self.states.append(state)
        self.values.append(value)
        self.starts.append(start)
        self.ends.append(end)
        self.depths.append(depth)

    def _reduce(self, number: int, rule: Rule, token: Token) -> tuple[int, int] | None:
        """Replace the symbols of a rule by its result; gives its extent if that is too deep."""
        length = rule.length
        base = len(self.values) - length
        start, end, depth = token.start, token.start, 0
        if length:
            start, end, depth = self.starts[base], self.ends[-1], max(self.depths[base:])
        if rule.through is not None:
            value = self.values[base + rule.through]
        else:
            value = self._children(rule, base)
            action = self.actions[number]
            if action:
                value = action(value, start, end)
                depth += type(value) not in PLAIN
        self._drop(base)
        self._push(self.table.gotos[self.states[-1]][rule.origin], value, start, end, depth)
        return (start, end) if depth > MAX_DEPTH else None

    def _children(self, rule: Rule, base: int) -> list[Any]:
        values = self.values
        picks = rule.picks
        children: list[Any] = []
        if picks and picks[0] is not None and picks[0] < 0:
            # A list goes on in place: copying it for every member would take quadratic time.
            children = values[base + ~picks[0]]
            picks = picks[1:]
        for pick in picks:
            if pick is None:
                children.append(None)
            elif pick < 0:
                children += values[base + ~pick]
            else:
                children.append(values[base + pick])
        return children

    def _drop(self, base: int) -> None:
        """Forget the symbols from `base` on."""
        if base + 1 < self.low:
            self.popped = self.states[base + 1 : self.low] + self.popped
            self.low = base + 1
        del self.states[base + 1 :]
        for stack in (self.values, self.starts, self.ends, self.depths):
            del stack[base:]

    # ------------------------------------------------------------ what could stand here

    def _expected(self, top: int) -> frozenset[str]:
        """The terminals that could have come next, before the reductions that led into the error.

        An LALR table may reduce before it notices that a token cannot stand there.
        """
        states = self.states[: self.low] + self.popped
        states[-1] = top
        return frozenset(t for t in self.table.actions[top] if self._accepts(t, states))

    def _accepts(self, terminal: str, states: list[int]) -> bool:
        """Whether a terminal can come next, with all reductions that it would lead to.

        They run on a picture of the stack: `height` of its states and `pushed` on top.
        """
        rules, gotos = self.table.rules, self.table.gotos
        height = len(states)
        pushed: list[int] = []
        while True:
            state = pushed[-1] if pushed else states[height - 1]
            action = self.table.actions[state].get(terminal)
            if action is None or action >= 0:
                return action is not None
            rule = rules[~action]
            kept = max(0, len(pushed) - rule.length)
            height -= rule.length - (len(pushed) - kept)
            del pushed[kept:]
            state = pushed[-1] if pushed else states[height - 1]
            if rule.origin not in gotos[state]:
                return False
            pushed.append(gotos[state][rule.origin])
            if terminal == END and pushed[-1] in self._accepting:
                return True

    @property
    def _accepting(self) -> list[int]:
        return [last for _, last in self.table.starts.values()]

    # ------------------------------------------------------------ going on after an error

    def _recover(
        self, position: int, expected: frozenset[str], too_deep: tuple[int, int] | None = None
    ) -> int | None:
        """Report a failure, drop the unit it is in, and give the position to go on at."""
        self._finish_symbols(self.tokens[position])
        unit, base = self._unit()
        first = position
        if base < len(self.starts):
            first = bisect_left(self.tokens, self.starts[base], key=lambda token: token.start)
        next_position = self.on_failure(Failure(position, expected, unit, first, too_deep))
        if unit is None or next_position is None:
            return None
        self._drop(base)
        where = self.tokens[next_position].start
        self._push(self.table.gotos[self.states[-1]][unit], None, where, where, 0)
        return next_position

    def _finish_symbols(self, token: Token) -> None:
        """Make the reductions that any next token would lead to: a block behind its `}` is whole."""
        while True:
            actions = set(self.table.actions[self.states[-1]].values())
            if len(actions) != 1 or min(actions) >= 0:
                return
            number = ~actions.pop()
            self._reduce(number, self.table.rules[number], token)

    def _unit(self) -> tuple[str | None, int]:
        """The innermost unit that is being read, and how many symbols stand before it."""
        for base in range(len(self.states) - 1, -1, -1):
            for unit in UNITS:
                if unit in self.table.gotos[self.states[base]]:
                    return unit, base
        return None, 0
