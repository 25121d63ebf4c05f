"""`.te` text in its one form: what `te fmt` writes.

It rearranges blanks, line ends and `;`, and nothing else: every token and every comment stays as it is
spelled, redundant parentheses and trailing commas too. That the result means the same is checked
each time, not believed.

    text ──parser──▶ tree ──┐
         ──words──▶ tokens, comments ──spacing, rows──▶ lines
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from te.diagnostics import Source
from te.grammar import tree
from te.grammar.gaps import NOTHING, merge
from te.grammar.parser import parse_file
from te.grammar.rows import HEAD_STEP, LIMIT, STEP, Row, Unit, arrange, cut
from te.grammar.spacing import Spacing
from te.grammar.words import Words

__all__ = ["format_source"]

MAX_PADDING: Final = 16
"""Equations whose left sides differ more in width have their `=` in different columns."""

BOM: Final = "\ufeff"


def format_source(source: Source) -> str:
    """The formatted text of a file. Line ends stay what most of them are, `\\n` or `\\r\\n`.

    Raises CompileError with every syntax error where it is no program.

    >>> print(format_source(Source("a.te", "op f(x:f32)->y:f32{y=2*x}  # twice")), end="")
    op f(x: f32) -> y: f32 {
        y = 2 * x
    }  # twice
    """
    file = parse_file(source)
    words = Words(source)
    comments = _comments(words)
    text = _Writer(words, Spacing(words, file)).write(file)
    again = Source(source.name, text)
    if parse_file(again) != file or _comments(Words(again)) != comments:
        raise AssertionError(f"formatting would change the meaning of {source.name}; it is left as it is")
    if source.text.count("\r\n") * 2 > source.text.count("\n"):
        text = text.replace("\n", "\r\n")
    return BOM + text if source.text.startswith(BOM) else text


def _comments(words: Words) -> list[str]:
    return sorted(comment.text for gap in words.gaps for comment in gap.all_comments())


class _Writer:
    """Writes the lines of one file."""

    def __init__(self, words: Words, spacing: Spacing) -> None:
        self.words = words
        self.tokens = words.tokens
        self.gaps = words.gaps
        self.spacing = spacing
        self.lines: list[str] = []

    def write(self, file: tree.File) -> str:
        previous: tree.Item | None = None
        for item in file.items:
            first = self.words.at(item.span.start)
            needs_blank = previous is not None and not _may_stand_close(previous, item)
            self._write_gap(first, 0, is_first=previous is None, needs_blank=needs_blank)
            self._write_item(item, first)
            previous = item
        self._write_gap(len(self.tokens) - 1, 0, is_first=previous is None, is_last=True)
        return "".join(line + "\n" for line in self.lines)

    # ------------------------------------------------------------ items

    def _write_item(self, item: tree.Item, first: int) -> None:
        last = self.words.behind(item.span.end) - 1
        match item:
            case tree.Op():
                anchor = self.words.at(item.results[0].span.start) - 1
                self._write_head(Unit(first, self.words.partner[last], anchor, HEAD_STEP, True))
                self._write_block(last, 0, lambda: self._write_statements(item.body))
            case tree.Reducer():
                self._write_head(Unit(first, self.words.partner[last], None, HEAD_STEP, True))
                self._write_block(last, 0, lambda: self._write_statements(item.body))
            case tree.Schedule():
                self._write_head(
                    Unit(first, self.words.partner[last], self._when(item, first), HEAD_STEP, True)
                )
                self._write_block(last, 0, lambda: self._write_directives(item.directives, STEP))
            case tree.ConstTable():
                anchor = self.words.behind(item.type.span.end)
                self._write_unit(Unit(first, last, anchor), 0)
            case _:
                self._write_unit(Unit(first, last), 0)

    def _when(self, item: tree.Schedule, first: int) -> int | None:
        if item.when is None:
            return None
        position = self.words.at(item.when.span.start) - 1
        while self.tokens[position].text == "(":
            position -= 1
        return position

    def _write_head(self, unit: Unit) -> None:
        """The head of an op, a reducer or a schedule, on one line if it fits.

        Else the breaks behind commas stay, and `->` or `when` begins a line.
        """
        self._pull_up(unit.last)
        inner = range(unit.first + 1, unit.last + 1)
        needed = {position for position in inner if self.gaps[position].has_comments}
        written = set()
        if needed or self._width(unit.first, unit.last + 1) > LIMIT:
            written = {position for position in inner if self._may_break_head(position)}
            if unit.anchor is not None and unit.anchor - 1 not in needed:
                needed.add(unit.anchor)
        rows = cut(self.words, self.spacing, unit, 0, needed | written)
        new = [row.first for row in rows[1:] if row.first not in needed | written]
        if new:  # what comes behind a line that was too long fills lines anew
            kept = {position for position in written if position < new[0]}
            rows = cut(self.words, self.spacing, unit, 0, needed | kept)
        self._write_rows(unit, rows)

    def _may_break_head(self, position: int) -> bool:
        return self.gaps[position].has_line_end and self.spacing.is_loose(position)

    # ------------------------------------------------------------ blocks

    def _pull_up(self, brace: int) -> None:
        """A block's `{` goes to the line of its head, what stood between behind it."""
        self.gaps[brace + 1] = merge(self.gaps[brace], self.gaps[brace + 1])
        self.gaps[brace] = NOTHING

    def _write_block(self, closing: int, indent: int, write_content: Callable[[], None]) -> None:
        """What stands behind a `{` that has been written, and the `}` at `closing`."""
        opening = self.words.partner[closing]
        if closing == opening + 1 and not self.gaps[closing].has_comments:
            self.lines[-1] += "}"
            return
        write_content()
        self._write_gap(closing, indent + STEP, is_first=closing == opening + 1, is_last=True)
        self.lines.append(" " * indent + "}")

    def _write_directives(self, directives: Sequence[tree.Directive], indent: int) -> None:
        for number, directive in enumerate(directives):
            first = self.words.at(directive.span.start)
            last = self.words.behind(directive.span.end) - 1
            self._write_gap(first, indent, is_first=number == 0)
            if directive.block is None:
                self._write_unit(Unit(first, last, step=HEAD_STEP), indent)
            else:
                self._write_specialized(directive.block, first, last, indent)

    def _write_specialized(self, block: Sequence[tree.Directive], first: int, last: int, indent: int) -> None:
        brace = self.words.partner[last]
        self._pull_up(brace)
        self._write_unit(Unit(first, brace, step=HEAD_STEP), indent)
        self._write_block(last, indent, lambda: self._write_directives(block, indent + STEP))

    # ------------------------------------------------------------ statements

    def _write_statements(self, statements: Sequence[tree.Statement]) -> None:
        units = [self._statement(statement) for statement in statements]
        rows = [cut(self.words, self.spacing, unit, STEP, self._breaks(unit)) for unit in units]
        paddings = self._paddings(units, rows)
        for number, unit in enumerate(units):
            self._write_gap(unit.first, STEP, is_first=number == 0)
            padding = paddings[number]
            arranged = arrange(self.words, self.spacing, unit, STEP, rows[number], padding)
            self._write_rows(unit, arranged, padding)

    def _statement(self, statement: tree.Statement) -> Unit:
        first = self.words.at(statement.span.start)
        last = self.words.behind(statement.span.end) - 1
        if isinstance(statement, tree.Require):
            return Unit(first, last, first)
        return Unit(first, last, self.words.behind(statement.targets[-1].span.end))

    def _paddings(self, units: Sequence[Unit], rows: Sequence[Sequence[Row]]) -> list[int]:
        """How many blanks bring the `=` of equations right below each other into one column."""
        paddings: list[int] = []
        widths = [self._left_width(unit, row[0]) for unit, row in zip(units, rows, strict=True)]
        for group in self._groups(units, widths, rows):
            widest = max(widths[number] for number in group)
            paddings += [widest - widths[number] for number in group]
        return paddings

    def _groups(
        self, units: Sequence[Unit], widths: Sequence[int], rows: Sequence[Sequence[Row]]
    ) -> list[range]:
        """Which equations have their `=` in one column: neighbours, as long as all stay within the limit."""
        groups: list[range] = []
        first, widest, reach = 0, 0, 0
        for number, unit in enumerate(units):
            room = LIMIT - max(row.width for row in rows[number])
            own_reach = widths[number] + max(0, min(room, MAX_PADDING))
            gap = self.gaps[unit.first]
            is_apart = bool(gap.comments) or gap.has_blank_below or widths[number] == 0 or widest == 0
            if is_apart or max(widest, widths[number]) > min(reach, own_reach):
                groups.append(range(first, number))
                first, widest, reach = number, widths[number], own_reach
            widest, reach = max(widest, widths[number]), min(reach, own_reach)
        return [*groups[1:], range(first, len(units))] if units else []

    def _left_width(self, unit: Unit, row: Row) -> int:
        """The width of what stands left of `=`; 0 where it is not on one line, or there is none."""
        if unit.anchor is None or not unit.first < unit.anchor < row.end:
            return 0
        return self._width(unit.first, unit.anchor)

    # ------------------------------------------------------------ lines

    def _write_unit(self, unit: Unit, indent: int) -> None:
        self._write_rows(unit, cut(self.words, self.spacing, unit, indent, self._breaks(unit)))

    def _breaks(self, unit: Unit) -> set[int]:
        """The breaks that were written."""
        return {p for p in range(unit.first + 1, unit.last + 1) if self.gaps[p].has_line_end}

    def _write_rows(self, unit: Unit, rows: Sequence[Row], padding: int = 0) -> None:
        for row in rows:
            if row.first != unit.first:
                self._write_gap(row.first, row.comment_indent, has_blanks=False)
            line = " " * row.indent + self.tokens[row.first].text
            for position in range(row.first + 1, row.end):
                line += " " * padding if position == unit.anchor else ""
                line += " " if self.spacing.has_blank(position) else ""
                line += self.tokens[position].text
            self.lines.append(line)

    def _width(self, first: int, end: int) -> int:
        blanks = sum(self.spacing.has_blank(position) for position in range(first + 1, end))
        return blanks + sum(len(token.text) for token in self.tokens[first:end])

    def _write_gap(
        self,
        position: int,
        indent: int,
        *,
        is_first: bool = False,
        is_last: bool = False,
        needs_blank: bool = False,
        has_blanks: bool = True,
    ) -> None:
        """The comments before a token, and at most one blank line above each and below them.

        There is none where a block or the file begins (`is_first`) and ends (`is_last`).
        """
        gap = self.gaps[position]
        if gap.trailing:
            self.lines[-1] += "  " + gap.trailing
        blanks = [comment.has_blank_above for comment in gap.comments] + [gap.has_blank_below]
        if needs_blank and not any(blanks):
            blanks[0] = True
        if is_first:
            blanks[0] = False
        if is_last:
            blanks[-1] = False
        for comment, has_blank in zip(gap.comments, blanks, strict=False):
            self.lines += [""] * (has_blank and has_blanks)
            self.lines.append(" " * indent + comment.text)
        self.lines += [""] * (blanks[-1] and has_blanks)


def _may_stand_close(previous: tree.Item, item: tree.Item) -> bool:
    """Items of a line, such as several `use`, may stand without a blank line between them."""
    return type(previous) is type(item) and isinstance(item, (tree.Use, tree.ConstTable, tree.Intrinsic))
