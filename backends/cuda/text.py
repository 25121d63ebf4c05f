"""Lines of CUDA C++, one statement a line, each with the place of the `.te` text that it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from te.diagnostics import Span

INDENT = "    "


class Writer:
    """Text as it is written. Where the `.te` line changes, a comment names it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.places: list[Span | None] = []  # of each line
        self._indent = 0
        self._place: Span | None = None
        self._named: tuple[str, int] | None = None  # the last line that a comment named

    def line(self, text: str) -> None:
        """A line of code, at the place that `at` has set."""
        here = self._place and (self._place.source.name, self._place.line)
        if here and here != self._named and not text.startswith(("}", "#")):
            self._add(f"// {Path(here[0]).name}:{here[1]}")
            self._named = here
        self._add(text)

    def comment(self, text: str) -> None:
        self._add(f"// {text}")

    def blank(self) -> None:
        self.lines.append("")
        self.places.append(None)

    def _add(self, text: str) -> None:
        self.lines.append(INDENT * self._indent + text)
        self.places.append(self._place)

    @contextmanager
    def block(self, head: str = "", tail: str = "}") -> Iterator[None]:
        """What is written meanwhile stands in braces, behind a head."""
        self.line(f"{head} {{" if head else "{")
        self._indent += 1
        yield
        self._indent -= 1
        self.line(tail)

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """The other branch of the condition whose block has just ended."""
        self.lines[-1] += " else {"
        self._indent += 1
        yield
        self._indent -= 1
        self.line("}")

    @contextmanager
    def at(self, place: Span | None) -> Iterator[None]:
        """What is written meanwhile comes from there."""
        outer, self._place = self._place, place or self._place
        yield
        self._place = outer

    def extend(self, other: Writer) -> None:
        """Append what another has written."""
        self.lines += other.lines
        self.places += other.places
        self._named = None
