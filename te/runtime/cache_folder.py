"""The folder of the object cache: whose it is, how entries are written, and how many stay.

An entry is a file: a mark, the SHA-256 of the rest, the length of the header, the header, the
object code. It is written beside its place and moved there, so readers see all of it or nothing;
what is found broken is removed. Every failure of the file system is a miss.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from te.runtime.replacing import UNFINISHED, replacing

__all__ = ["Folder", "NoFolder", "folder_path", "open_folder", "size_limit"]

MARK = b"te cache 1\n"
_HASH, _LENGTH = 32, struct.Struct("<Q")
SUFFIX = ".entry"
DEFAULT_LIMIT = 256 << 20
ABANDONED = 3600  # seconds after which an unfinished file has no writer any more
SCAN_SHARE = 64  # an entry this part of the limit makes room at once; of smaller ones, one in 16


class NoFolder(Exception):
    """Why there is no cache. `is_warning` tells whether the user should hear of it unasked."""

    def __init__(self, reason: str, *, is_warning: bool):
        super().__init__(reason)
        self.is_warning = is_warning


@dataclass(frozen=True, slots=True)
class Folder:
    """The user's own folder of entries."""

    path: str
    limit: int  # bytes

    def read(self, key: str) -> tuple[bytes, bytes] | None:
        """The header and the object code of an entry; None where there is none, or a broken one."""
        name = self._name(key)
        try:
            # Neither a link nor another's file; and a FIFO must not make anybody wait.
            handle = os.open(
                name, os.O_RDONLY | _flag("O_NOFOLLOW") | _flag("O_NONBLOCK") | _flag("O_BINARY")
            )
            with open(handle, "rb") as file:
                if not _is_own_file(os.fstat(handle)):
                    return None
                content = file.read()
        except OSError:
            return None
        found = _unpacked(content)
        if found is None:
            self.remove(key)
            return None
        with suppress(OSError):  # a folder that may only be read
            os.utime(name)  # what is used stays longest
        return found

    def write(self, key: str, header: bytes, code: bytes) -> None:
        content = _packed(header, code)
        if len(content) > self.limit:
            return
        try:
            with replacing(self._name(key), mode=0o600) as file:
                file.write(content)
        except OSError:
            return
        if len(content) > self.limit // SCAN_SHARE or key.startswith("0"):
            self.make_room()

    def remove(self, key: str) -> None:
        _remove(self._name(key))

    def make_room(self) -> None:
        """Remove what was not used for longest until the rest is well below the limit, and unfinished files."""
        entries = list(self.entries())
        total = sum(size for _, size, _ in entries)
        if total > self.limit:
            for _, size, path in sorted(entries):
                _remove(path)
                total -= size
                if total <= self.limit * 9 // 10:
                    break
        for used, _, path in self._files(UNFINISHED):
            if used < time.time() - ABANDONED:
                _remove(path)

    def entries(self) -> Iterator[tuple[float, int, str]]:
        """When it was used, its size and its path, for each entry."""
        return self._files(SUFFIX)

    def clear(self) -> tuple[int, int]:
        """Remove everything; how many entries, and how many bytes."""
        entries = list(self.entries())
        for _, _, path in (*entries, *self._files(UNFINISHED)):
            _remove(path)
        return len(entries), sum(size for _, size, _ in entries)

    def _name(self, key: str) -> str:
        return os.path.join(self.path, key + SUFFIX)

    def _files(self, suffix: str) -> Iterator[tuple[float, int, str]]:
        try:
            with os.scandir(self.path) as found:
                for entry in found:
                    if entry.name.endswith(suffix):
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except OSError:
                            continue  # another process has removed it
                        yield status.st_mtime, status.st_size, entry.path
        except OSError:
            return


# ---------------------------------------------------------------- one entry


def _packed(header: bytes, code: bytes) -> bytes:
    content = _LENGTH.pack(len(header)) + header + code
    return MARK + hashlib.sha256(content).digest() + content


def _unpacked(content: bytes) -> tuple[bytes, bytes] | None:
    start = len(MARK) + _HASH
    rest = content[start:]
    if not content.startswith(MARK) or hashlib.sha256(rest).digest() != content[len(MARK) : start]:
        return None
    if len(rest) < _LENGTH.size:
        return None
    end = _LENGTH.size + _LENGTH.unpack_from(rest)[0]
    return None if end > len(rest) else (rest[_LENGTH.size : end], rest[end:])


def _remove(path: str) -> None:
    with suppress(OSError):  # gone already, or for somebody else to remove
        os.unlink(path)


def _flag(name: str) -> int:
    """A flag of `os.open`; 0 where the system lacks it."""
    return int(getattr(os, name, 0))


# ---------------------------------------------------------------- which folder


def folder_path() -> Path | None:
    """TE_CACHE_DIR, else `te` in the platform's folder for caches; None where TE_CACHE_DIR turns the cache off."""
    chosen = os.environ.get("TE_CACHE_DIR")
    if chosen is not None:
        return None if chosen in ("", "0") else Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(base):  # as the XDG specification says
            base = os.path.expanduser("~/.cache")
    return Path(base, "te") if os.path.isabs(base) else None  # a user without a home has no cache


def size_limit() -> int:
    """TE_CACHE_SIZE in bytes: a number, with K, M or G behind it if need be. Raises NoFolder for another."""
    text = os.environ.get("TE_CACHE_SIZE", "").strip()
    if not text:
        return DEFAULT_LIMIT
    number = text.rstrip("KMGkmg")
    scale = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[len(number) :].upper())
    if scale is None or not (number.isascii() and number.isdigit()):
        raise NoFolder(f"TE_CACHE_SIZE={text} is no size such as 256M", is_warning=True)
    return int(number[:15]) * scale


def find_folder() -> Folder:
    """The user's folder, made if need be. Raises NoFolder where there is none that can be trusted."""
    path = folder_path()
    if path is None:
        raise NoFolder("TE_CACHE_DIR turns it off, or you have no home folder", is_warning=False)
    limit = size_limit()
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        real = os.path.realpath(path)
        status = os.stat(real)
    except (OSError, ValueError) as problem:
        raise NoFolder(f"{path} cannot be made or read: {problem}", is_warning=False) from None
    if not stat.S_ISDIR(status.st_mode):
        raise NoFolder(f"{path} is no folder", is_warning=True)
    if os.name == "posix":
        _refuse_foreign(real, status)
    return Folder(real, limit)


def _refuse_foreign(path: str, status: os.stat_result) -> None:
    """Code from this folder is run, so nobody else may put any there."""
    if status.st_uid != os.geteuid():
        raise NoFolder(f"{path} belongs to another user", is_warning=True)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NoFolder(f"others may write in {path}: chmod 700 it", is_warning=True)
    for parent in Path(path).parents:
        mode = os.stat(parent).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise NoFolder(f"others may replace {path}, as they may write in {parent}", is_warning=True)


def _is_own_file(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and (os.name != "posix" or status.st_uid == os.geteuid())


_warned: set[str] = set()


def open_folder() -> Folder | None:
    """The user's folder, or None; the reason is a warning, once, where the user can do something about it."""
    try:
        return find_folder()
    except NoFolder as problem:
        reason = str(problem)
        if problem.is_warning and reason not in _warned:
            _warned.add(reason)
            warnings.warn(f"te compiles without its cache: {reason}", RuntimeWarning, stacklevel=2)
        return None
