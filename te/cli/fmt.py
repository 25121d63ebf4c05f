"""`te fmt`: files in the one form that `te.grammar.format` gives them."""

from __future__ import annotations

import difflib
import os
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from te.cli.failures import Usage
from te.cli.files import te_files
from te.cli.output import show_diagnostics
from te.diagnostics import CompileError
from te.grammar.format import format_source
from te.runtime.replacing import replacing
from te.sources import decode_source

STDIN = "-"


def fmt(files: Sequence[str], is_check: bool, is_diff: bool) -> int:
    """Format files in place, or stdin to stdout.

    With `is_check` or `is_diff` nothing is written: the files that would change are named, or their
    changes printed. Gives 1 if a file is no program, or, with `is_check`, would change. Raises
    OSError for a file that cannot be read or written; those before it are formatted.
    """
    if STDIN in files and len(files) > 1:
        raise Usage("`-` is stdin, and stands alone")
    code = 0
    for file in te_files(files):
        try:
            has_changes = _format(file, is_check, is_diff)
        except CompileError as wrong:
            show_diagnostics(wrong.diagnostics)
            code = 1
            continue
        if has_changes and is_check:
            code = 1
    return code


def _format(file: str, is_check: bool, is_diff: bool) -> bool:
    """Whether a file is not formatted yet; what is to be done about it is done."""
    name = "<stdin>" if file == STDIN else file
    before = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    after = formatted(before, name)
    if is_diff:
        print(_diff(before.decode(), after.decode(), name), end="")
    elif is_check and before != after:
        print(name)
    elif file == STDIN and not is_check:
        sys.stdout.flush()
        sys.stdout.buffer.write(after)
    elif not is_check and before != after:
        replace_file(file, after)
    return before != after


def formatted(text: bytes, name: str) -> bytes:
    """A text, formatted. Raises CompileError where it is no program; `name` is what it is called there."""
    mark = b"\xef\xbb\xbf" if text.startswith(b"\xef\xbb\xbf") else b""
    return mark + format_source(decode_source(text, name)).encode()


def _diff(before: str, after: str, name: str) -> str:
    """What changes, as `diff -u` prints it."""
    if before == after:
        return ""
    lines = [[line + "\n" for line in text.split("\n")] for text in (before, after)]
    for side in lines:
        last = side.pop().removesuffix("\n")
        side += [last + "\n\\ No newline at end of file\n"] * bool(last)
    return "".join(difflib.unified_diff(lines[0], lines[1], name, f"{name} (formatted)"))


def replace_file(file: str, content: bytes) -> None:
    """Give a file other content, at once: whatever happens, it holds the old or the new one.

    Permissions stay, and a link stays a link. Raises OSError where that cannot be done.
    """
    path = os.path.realpath(file)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, "no regular file, and nothing else is written", file)
    if not os.access(path, os.W_OK):
        raise PermissionError(0, "the file may not be written", file)
    with replacing(path, mode=0o600) as out:
        out.write(content)
        shutil.copymode(path, out.name)
