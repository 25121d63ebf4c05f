"""How much text one file may hold. Beyond a limit there is a diagnostic, never a crash or a hang.

The depth keeps recursive passes over the tree safe: with three Python frames a node, 200 levels
stay well inside the interpreter's default recursion limit of 1,000.
"""

from __future__ import annotations

from typing import Final

MAX_CHARACTERS: Final = 4_000_000
MAX_TOKENS: Final = 1_000_000
MAX_DEPTH: Final = 200
"""Levels of the tree, and of brackets inside each other."""

MAX_STACK: Final = 3_000
"""Symbols the parser holds at once: bounds what `- - - - ...` can pile up before it becomes a tree."""

MAX_DIGITS: Final = 4_000
"""Characters of one number."""

MAX_ERRORS: Final = 20
"""Diagnostics of one file before the parser stops looking for more."""
