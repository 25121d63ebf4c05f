"""Files that get another content at once: written beside their place, and moved there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

__all__ = ["UNFINISHED", "replacing"]

UNFINISHED = ".tmp"  # what the names of files end with that are not moved yet


@contextmanager
def replacing(path: str | os.PathLike[str], mode: int = 0o666) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` at the end: whatever happens, that holds the old or the new content.

    `mode` are its permissions, less the process's umask. Raises OSError.
    """
    folder, base = os.path.split(os.fspath(path))
    unfinished = os.path.join(folder, f".{base}.{os.urandom(8).hex()}{UNFINISHED}")
    try:
        with open(unfinished, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
        os.replace(unfinished, path)
    except BaseException:  # an interrupt, too, leaves nothing unfinished
        with suppress(OSError):
            os.unlink(unfinished)
        raise
