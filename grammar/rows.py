"""One statement, head or directive of a program, cut into lines, for the formatter.

The line breaks that were written stay, since they mostly say something; a line that is too long
gets more, at the loosest place that fits. A continuation line stands

- one step in, behind an opening bracket that ends its line, and below the line's start with the
  closing one: `Y[i] = sum[k](`;
- in the column behind any other bracket that is open, or two steps in if that is too far right;
- outside of brackets, where its operand is in the column of the value: below `Y = a` stands
  `  + b`.

How a row is laid out follows from the tokens and the breaks alone, and a row that fits gets no more
breaks: a formatted text stays as it is.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from te.grammar.brackets import CLOSER, OPENER
from te.grammar.spacing import STRENGTH, Spacing
from te.grammar.words import Words

LIMIT: Final = 100
STEP: Final = 4
HEAD_STEP: Final = 2 * STEP
"""The step of lines that go on a head or a directive, so that they stand apart from a block."""

MIDDLE: Final = 50
"""What is in brackets that open behind this column goes to the left instead of staying behind them."""

LAST_RESORT: Final = 1000
"""Added to the depth of places where a break is worse than one anywhere else."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What stands on a line if it fits: the tokens `first` to `last`.

    What stands behind the token at `anchor` (`=`, `require`, `->`, `when`) has a column of its own;
    `step` is how far the rest goes in. The anchor of a head, of an op or a schedule, may begin a line.
    """

    first: int
    last: int
    anchor: int | None = None
    step: int = STEP
    is_head: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A line: its tokens, `first` to `end` (exclusive), and where they and the comments above it begin."""

    first: int
    end: int
    indent: int
    comment_indent: int
    width: int


@dataclass(slots=True)
class _Bracket:
    """An open bracket. `outer_indent` is that of the last line that began outside, `inner_indent` inside."""

    position: int
    column: int
    is_far: bool
    outer_indent: int
    inner_indent: int
    commas: int = 0
    is_hanging: bool = False
    """Whether its line ends with it."""


Strength: TypeAlias = tuple[int, int]
_Place: TypeAlias = tuple[Strength, int]


def _better(first: _Place | None, second: _Place) -> _Place:
    """The looser place; of equal ones the second, which fills the line."""
    return first if first and first[0] < second[0] else second


def cut(words: Words, spacing: Spacing, unit: Unit, indent: int, breaks: Set[int]) -> list[Row]:
    """The rows of a unit, with breaks at least before the tokens at `breaks`."""
    rows = _Cutter(words, spacing, unit, indent, breaks).rows()
    if len(rows) == len(breaks) + 1:
        return rows
    hanging = _Cutter(words, spacing, unit, indent, breaks, hangs_first=True).rows()
    return min(rows, hanging, key=lambda rows: (sum(row.width > LIMIT for row in rows), len(rows)))


def arrange(
    words: Words, spacing: Spacing, unit: Unit, indent: int, rows: list[Row], padding: int
) -> list[Row]:
    """The same rows with `padding` more blanks before the anchor."""
    if not padding:
        return rows
    breaks = {row.first for row in rows}
    unpadded = _Cutter(words, spacing, unit, indent, breaks, limit=None)
    unpadded.rows()
    return _Cutter(words, spacing, unit, indent, breaks, limit=None, padding=padding, far=unpadded.far).rows()


class _Cutter:
    def __init__(
        self,
        words: Words,
        spacing: Spacing,
        unit: Unit,
        indent: int,
        breaks: Set[int],
        *,
        hangs_first: bool = False,
        limit: int | None = LIMIT,
        padding: int = 0,
        far: Set[int] | None = None,
    ) -> None:
        self.words = words
        self.tokens = words.tokens
        self.spacing = spacing
        self.unit = unit
        self.indent = indent
        self.breaks = breaks
        self.hangs_first = hangs_first
        self.padding = padding
        self.limit = limit
        self.stack: list[_Bracket] = []
        self.value_column = 0
        self.anchor = -1
        self.base_indent = indent
        self.far: set[int] = set()
        self.known_far = far

    def rows(self) -> list[Row]:
        rows = []
        first, indent, comment_indent = self.unit.first, self.indent, self.indent
        while first <= self.unit.last:
            self._begin(indent)
            end = self._end(first, indent)
            width = self._place(first, end, indent)
            rows.append(Row(first, end, indent, comment_indent, width))
            if end <= self.unit.last:
                indent = self._indent(end)
                comment_indent = self._content_indent(end) if self._closes(end) else indent
                if self.stack and self.stack[-1].position == end - 1:
                    self.stack[-1].is_hanging = True
            first = end
        return rows

    # ------------------------------------------------------------ tokens in a row

    def _place(self, first: int, end: int, indent: int) -> int:
        """Put the tokens of a row, remember the brackets it leaves open, and give its width."""
        column = indent
        for position in range(first, end):
            column = self._put(position, first, column)
        return column

    def _put(self, position: int, first: int, column: int) -> int:
        """Put one token, and give the column behind it."""
        token = self.tokens[position]
        column += self._blanks(position, first)
        if position == self.anchor + 1:
            self.value_column = column
        if position == self.unit.anchor:
            self.anchor = position
        if token.kind in CLOSER:
            outer = self._innermost_indent()
            self.stack.append(_Bracket(position, column, self._is_far(position, column), outer, outer))
        elif token.kind in OPENER:
            self.stack.pop()
        elif token.kind == "," and self.stack:
            self.stack[-1].commas += 1
        return column + len(token.text)

    def _begin(self, indent: int) -> None:
        if self.stack:
            self.stack[-1].inner_indent = indent
        else:
            self.base_indent = indent

    def _innermost_indent(self) -> int:
        """The indent of the last line that began where the next token stands, not in brackets closed since."""
        return self.stack[-1].inner_indent if self.stack else self.base_indent

    def _is_far(self, position: int, column: int) -> bool:
        is_far = column > MIDDLE and not self.unit.is_head
        if self.known_far is not None:
            is_far = position in self.known_far
        if is_far:
            self.far.add(position)
        return is_far

    def _blanks(self, position: int, first: int) -> int:
        padding = self.padding if position == self.unit.anchor else 0
        return padding + int(position > first and self.spacing.has_blank(position))

    # ------------------------------------------------------------ where a row ends

    def _end(self, first: int, indent: int) -> int:
        """Where the row that begins at `first` ends: at a break that is wanted, or before it is too long."""
        state = self._save()
        best: _Place | None = None
        spare: _Place | None = None  # inside brackets that are closed again
        column, end = indent, first
        while end <= self.unit.last and (end == first or end not in self.breaks):
            if self.limit is not None and column > self.limit and (best or spare):
                break
            strength = self._strength(end) if end > first else None
            if strength and self._indent(end) < column + self._blanks(end, first):
                best = _better(best, (strength, end))
            column = self._put(end, first, column)
            end += 1
            if best and best[0][0] > len(self.stack) and (self.limit is None or column <= self.limit):
                spare = _better(spare, best)
                best = None
        self._restore(state)
        chosen = best or spare
        return chosen[1] if chosen and self.limit is not None and column > self.limit else end

    def _save(self) -> tuple[list[_Bracket], int, int]:
        return [replace(bracket) for bracket in self.stack], self.value_column, self.anchor

    def _restore(self, state: tuple[list[_Bracket], int, int]) -> None:
        self.stack, self.value_column, self.anchor = state

    def _strength(self, position: int) -> Strength | None:
        """How bad a break before a token is, the smaller the better; None where there is none."""
        before = self.tokens[position - 1].kind
        depth = len(self.stack)
        if self._closes(position):
            return None
        if self.anchor < 0 and (depth == 0 if self.unit.is_head else self.unit.anchor is not None):
            depth += LAST_RESORT  # dtype variables; the left side of an equation
        if before in ("(", "["):
            return self._strength_inside(position - 1, depth)
        if self.spacing.is_loose(position):
            if self.tokens[position].text == "else":
                return LAST_RESORT + depth, 2
            return depth, 0 if before == "," else self.spacing.strength.get(position, 0)
        if position - 1 == self.anchor and self.tokens[self.anchor].kind == "=":
            return LAST_RESORT, 0
        return None

    def _strength_inside(self, bracket: int, depth: int) -> Strength | None:
        """How bad a break behind the bracket of a call or a list is: better than one before a `*` inside."""
        is_call = bracket in self.spacing.close_before
        if self.unit.is_head or is_call != (self.tokens[bracket].kind == "("):
            return None
        if self.hangs_first:
            return 0, -1
        return depth, -1 if self.stack[-1].is_far else STRENGTH["*"] - 1

    # ------------------------------------------------------------ where a row begins

    def _indent(self, position: int) -> int:
        """The column of a row that begins with a token."""
        if self.stack:
            return self._indent_in_brackets(position)
        text = self.tokens[position].text
        if self.anchor < 0 or position == self.anchor + 1:
            return self.indent + self.unit.step
        if position in self.spacing.strength:
            return max(self.indent + 2, self.value_column - len(text) - 1)
        return self.value_column

    def _indent_in_brackets(self, position: int) -> int:
        top = self.stack[-1]
        if not self._closes(position):
            return self._content_indent(position)
        if self.unit.is_head and len(self.stack) == 1:
            return self.indent + HEAD_STEP
        if top.is_hanging or top.position == position - 1:
            return top.outer_indent
        return self._content_indent(position) if top.is_far else top.column

    def _content_indent(self, position: int) -> int:
        """The indent of what is in the innermost bracket; `position` begins the row."""
        top = self.stack[-1]
        if top.is_hanging or top.position == position - 1:
            return top.outer_indent + (HEAD_STEP if self.unit.is_head else STEP)
        if top.is_far:
            return top.outer_indent + 2 * STEP
        before = self.tokens[top.position - 1].text
        if before == "where" == self.tokens[position].text and top.commas == 2:
            # The other cases of a choice stand below each other, as `else if` does elsewhere.
            return top.column - len(before)
        return top.column + 1

    def _closes(self, position: int) -> bool:
        return bool(self.stack) and self.tokens[position].kind in OPENER
