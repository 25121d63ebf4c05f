"""The files that `use` finds and reads, noted so that a later build can tell whether anything changed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class UsedFiles:
    """What one build asked the file system, and what it was told."""

    found: dict[str, str | None] = field(default_factory=dict)  # a place -> the file there, links resolved
    texts: dict[str, str] = field(default_factory=dict)  # a file that was read -> the SHA-256 of its text

    def find(self, place: Path) -> Path | None:
        """The file at a place, with links resolved; None where there is none."""
        name = os.path.abspath(place)
        self.found[name] = found = _resolve(name)
        return None if found is None else Path(found)

    def read(self, path: Path) -> str:
        """The text of a file. Raises OSError, and UnicodeDecodeError where it is no UTF-8."""
        text = path.read_text(encoding="utf-8-sig")
        self.texts[str(path)] = _hash(text)
        return text

    def have_changed(self) -> bool:
        """Whether the file system would answer differently now."""
        if any(_resolve(place) != found for place, found in self.found.items()):
            return True
        try:
            return any(_hash(Path(p).read_text(encoding="utf-8-sig")) != h for p, h in self.texts.items())
        except (OSError, UnicodeDecodeError):
            return True


def _resolve(place: str) -> str | None:
    return os.path.realpath(place) if os.path.isfile(place) else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
