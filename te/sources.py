"""The texts that te is given: strings, and files of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from te.diagnostics import CompileError, Source, error

__all__ = ["Path_", "decode_source", "is_text", "read_source"]

Path_: TypeAlias = str | os.PathLike[str]


def is_text(expr: str) -> bool:
    """Whether a string is a program itself, and no path of one."""
    return "\n" in expr or "{" in expr


def read_source(path: Path_, name: str | None = None) -> Source:
    """The text of a file, reported as `name`. Raises OSError, and CompileError where it is no UTF-8."""
    return decode_source(Path(path).read_bytes(), os.fspath(path) if name is None else name)


def decode_source(data: bytes, name: str) -> Source:
    """The text that a file holds, reported as `name`. Raises CompileError where it is no UTF-8."""
    try:
        return Source(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as wrong:
        line = data.count(b"\n", 0, wrong.start) + 1
        raise CompileError(
            error(
                "not-utf8",
                f"{name} is no UTF-8 text: byte 0x{data[wrong.start]:02x} in line {line}, "
                f"{wrong.start} bytes from the start",
                None,
                help="save the file as UTF-8" if b"\0" not in data else "this seems to be no text at all",
            )
        ) from None
