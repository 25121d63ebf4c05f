"""The object cache: kernels on disk, found again by everything that decides what a build makes.

The key of an entry is a hash of the request (texts, sizes, target, ...) and of the compiler itself.
Files that an op uses are known only once it is compiled, so the entry lists them, with a hash each,
and is passed over where one has changed. docs/cache.md says what an entry may be trusted with.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from te import __version__
from te.diagnostics import Source
from te.runtime.cache_folder import Folder, open_folder
from te.runtime.generic import Choice
from te.runtime.stored import UNREADABLE, Generic, Stored, from_plain, to_plain
from te.target import EMULATED, Target

if TYPE_CHECKING:
    from te.schedule.schedule import Schedule

__all__ = ["Cache", "Request"]

FORMAT = 2  # of the entries


@dataclass(frozen=True, slots=True)
class Request:
    """What a build is asked to make. All of it is part of the key."""

    source: Source
    op: str | None  # None for the only one
    schedule: Source | str | Schedule | None
    target: Target
    sizes: Mapping[str, Any]
    consts: Mapping[str, Any]
    dtypes: Mapping[str, Any]
    knobs: Mapping[str, Any]
    math: str
    debug: bool = False
    has_lines: bool = False

    def key(self, choices: Mapping[str, Choice] | None) -> str | None:
        """The name of an entry; None where a value has a type that could mean anything."""
        try:
            described = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        except _NotPlain:
            return None
        parts = [_compiler(), described, None if choices is None else _plain(choices)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


class Cache:
    """The entries of one request. Nothing that is wrong with the cache is an error of the build."""

    def __init__(self, request: Request):
        self._request = request

    @property
    def is_on(self) -> bool:
        return self._folder is not None

    def find(self, choices: Mapping[str, Choice] | None) -> Stored | Generic | None:
        """The entry for the dtypes and ranks of a call, or for the op as written; None where there is none."""
        key = self._key(choices)
        if self._folder is None or key is None:
            return None
        content = self._folder.read(key)
        if content is None:
            return None
        try:
            header, code = content
            data = json.loads(header)
            if data.pop("key") != key:
                raise ValueError(key)
            found = from_plain(data, code, self._request.target)
            is_old = isinstance(found, Stored) and found.files.have_changed()
        except UNREADABLE:
            self._folder.remove(key)
            return None
        return None if is_old else found

    def store(self, choices: Mapping[str, Choice] | None, made: Stored | Generic) -> None:
        key = self._key(choices)
        if self._folder is None or key is None:
            return
        try:
            header = json.dumps({"key": key, **to_plain(made)}).encode()
        except UNREADABLE:
            return
        self._folder.write(key, header, made.code.object if isinstance(made, Stored) else b"")

    def _key(self, choices: Mapping[str, Choice] | None) -> str | None:
        return None if self._folder is None else self._request.key(choices)

    @cached_property
    def _folder(self) -> Folder | None:
        target = self._request.target
        if self._request.debug or not target.is_native or target.name == EMULATED:
            return None  # emulated kernels are text, made anew each time: what g++ made of it is kept
        return open_folder()


# ---------------------------------------------------------------- the key


class _NotPlain(Exception):
    pass


def _plain(value: object) -> Any:
    """A part of a request as data: equal only for what means the same."""
    match value:
        case None | bool() | str() | float():
            return value
        case Source(name, text):
            return [name, os.path.abspath(name) if name.endswith(".te") else "", text]
        case Target():
            return [
                sorted(v) if isinstance(v, frozenset) else v for v in map(value.__getattribute__, _TARGET)
            ]
        case Mapping():
            if all(type(name) is str for name in value):
                return {name: _plain(v) for name, v in value.items()}
            raise _NotPlain
    if hasattr(value, "__index__"):
        try:
            return operator.index(value)  # NumPy's integers mean what Python's do
        except TypeError:
            raise _NotPlain from None  # an array of floats
    if type(value).__name__ == "Schedule":
        return ["schedule", str(value)]
    raise _NotPlain


_TARGET = tuple(field.name for field in fields(Target))


@cache
def _compiler() -> list[Any]:
    """What compiles: versions, and the state of te's own files, so that who works on te never gets old code."""
    import llvmlite
    from llvmlite.binding import llvm_version_info

    return [
        FORMAT,
        __version__,
        _state_of_sources(),
        llvmlite.__version__,
        list(llvm_version_info),
        sys.platform,
        platform.machine(),
    ]


def _state_of_sources() -> str:
    """A hash of the names, sizes and times of te's own files: 0.5 ms, where their contents take 10."""
    found: list[tuple[str, int, int]] = []
    folders = [str(Path(__file__).parents[1])]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name.endswith((".py", ".lark", ".json")):
                    status = entry.stat()
                    found.append((entry.path, status.st_size, status.st_mtime_ns))
                elif entry.is_dir() and entry.name != "__pycache__":
                    folders.append(entry.path)
    return hashlib.sha256(repr(sorted(found)).encode("utf-8", "surrogatepass")).hexdigest()
