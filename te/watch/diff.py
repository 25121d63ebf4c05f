"""Two programs of the loop IR, compared so that a person sees what a directive did.

A new loop indents everything inside it. Lines that differ in nothing but their indentation count as
the same ones: what is left is what changed.

>>> before = ["for i < N:", "  Y[i] = X[i]"]
>>> after = ["for io < N // 4:", "  for ii < 4:", "    Y[i] = X[i]"]
>>> for line in compare(before, after):
...     print(line.mark, line.text)
- for i < N:
+ for io < N // 4:
+   for ii < 4:
      Y[i] = X[i]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

__all__ = ["ADDED", "REMOVED", "SAME", "SKIPPED", "Line", "compare", "hunks"]

SAME, ADDED, REMOVED, SKIPPED = " ", "+", "-", "."
CONTEXT = 2  # lines around a change


@dataclass(frozen=True, slots=True)
class Line:
    mark: str
    text: str


def compare(before: Sequence[str], after: Sequence[str]) -> list[Line]:
    """All lines of both programs; those that stayed are indented as they are after."""
    matcher = SequenceMatcher(
        None, [line.strip() for line in before], [line.strip() for line in after], autojunk=False
    )
    found: list[Line] = []
    for tag, i, i_end, j, j_end in matcher.get_opcodes():
        if tag == "equal":
            found += [Line(SAME, text) for text in after[j:j_end]]
        else:
            found += [Line(REMOVED, text) for text in before[i:i_end]]
            found += [Line(ADDED, text) for text in after[j:j_end]]
    return found


def hunks(lines: Sequence[Line]) -> list[Line]:
    """The changes with some lines around them; one line stands for those left out between them.

    >>> [line.mark for line in hunks([Line(SAME, "a")] * 9 + [Line(ADDED, "b")])]
    ['.', ' ', ' ', '+']
    """
    changed = [number for number, line in enumerate(lines) if line.mark != SAME]
    near = {n for c in changed for n in range(c - CONTEXT, c + CONTEXT + 1)}
    found: list[Line] = []
    for number, line in enumerate(lines):
        if number in near or (number - 1 in near and number + 1 in near):
            found.append(line)
        elif not found or found[-1].mark != SKIPPED:
            found.append(Line(SKIPPED, ""))
    return found
