"""Bound kernels in files: their arrays, and what was computed from them, ready to be read or mapped.

A file is a mark, the length of a header, the header as JSON, and arrays, each of which begins at a line of the
caches. Nothing in it is code. What was computed ahead is found again by a digest of the code that computed it,
and by the sizes; what does not fit is passed over and computed anew from the arrays. Where calls would use
it as indices, it is never taken from a file (`Prepared.digest`), so a file that lies can make results wrong, and
no read go astray.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from te.ir.types import DTYPES, numpy_dtype
from te.runtime.arrays import LINE_BYTES, Array, aligned_empty
from te.runtime.replacing import replacing

__all__ = ["Saved", "read_saved", "write_saved"]

MARK = b"te bound 1\n\0\0\0\0\0"
_LENGTH = struct.Struct("<Q")
LONGEST_HEADER = 16 << 20  # bytes
MOST_AXES = 64  # of an array, as in NumPy
Key: TypeAlias = tuple[str, tuple[int, ...]]  # the digest of some code, and the sizes that it ran for


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file holds: bound arrays by the names of inputs, and what was computed ahead from them."""

    op: str
    bound: Mapping[str, Array]
    ahead: Mapping[Key, Sequence[Array]]


def write_saved(path: str | os.PathLike[str], saved: Saved) -> None:
    """Write beside the place and move it there. Raises OSError, and TypeError for an array of no dtype of te."""
    arrays: list[Array] = []

    def noted(array: Array) -> dict[str, Any]:
        arrays.append(np.ascontiguousarray(array))
        return {"dtype": _name_of(array.dtype), "shape": list(array.shape)}

    header = {
        "op": saved.op,
        "bound": {name: noted(array) for name, array in saved.bound.items()},
        "ahead": [
            {"digest": digest, "sizes": list(sizes), "arrays": [noted(array) for array in found]}
            for (digest, sizes), found in saved.ahead.items()
        ],
    }
    text = json.dumps(header).encode()
    with replacing(path) as file:
        file.write(MARK + _LENGTH.pack(len(text)) + text)
        for array in arrays:
            file.write(bytes(-file.tell() % LINE_BYTES))
            file.write(array.reshape(-1).view(np.uint8).data)


def read_saved(path: str | os.PathLike[str], *, mapped: bool) -> Saved:
    """What `write_saved` wrote. `mapped` arrays are read from the file as they are used, and cannot be written.

    Raises OSError where there is no such file, and ValueError for one that is no such file, or a broken one.
    """
    with open(path, "rb") as file:
        start = file.read(len(MARK) + _LENGTH.size)
        if not start.startswith(MARK) or len(start) < len(MARK) + _LENGTH.size:
            raise ValueError(f"{os.fspath(path)} is no file of a bound kernel")
        (length,) = _LENGTH.unpack_from(start, len(MARK))
        size = os.fstat(file.fileno()).st_size
        if length > min(LONGEST_HEADER, size):
            raise _broken(path)
        try:
            header = json.loads(file.read(length))
            slots = _Slots(len(start) + length, size)
            bound = {str(name): slots.next(noted) for name, noted in header["bound"].items()}
            ahead = {
                (str(part["digest"]), tuple(map(_size, part["sizes"]))): [
                    slots.next(a) for a in part["arrays"]
                ]
                for part in header["ahead"]
            }
            op = str(header["op"])
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise _broken(path) from None
        reader = _mapping(file) if mapped else _reader(file)
        return Saved(
            op,
            {name: reader(slot) for name, slot in bound.items()},
            {key: [reader(slot) for slot in found] for key, found in ahead.items()},
        )


def _broken(path: str | os.PathLike[str]) -> ValueError:
    return ValueError(f"{os.fspath(path)} is broken: write it anew with `save`")


# ---------------------------------------------------------------- arrays in a file


@dataclass(frozen=True, slots=True)
class _Slot:
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class _Slots:
    """Where the arrays of a file lie, one behind the other. Raises ValueError where one does not lie in it."""

    def __init__(self, offset: int, size: int):
        self._offset, self._size = offset, size

    def next(self, noted: Any) -> _Slot:
        shape = tuple(map(_size, noted["shape"]))
        dtype = numpy_dtype(DTYPES[noted["dtype"]])
        offset = self._offset + -self._offset % LINE_BYTES
        self._offset = offset + prod(shape) * dtype.itemsize
        if len(shape) > MOST_AXES or self._offset > self._size:
            raise ValueError(noted)
        return _Slot(offset, shape, dtype)


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(value)
    return value


def _reader(file: Any) -> Any:
    def read(slot: _Slot) -> Array:
        array = aligned_empty(slot.shape, slot.dtype)
        file.seek(slot.offset)
        if file.readinto(array.reshape(-1).view(np.uint8).data) < array.nbytes:
            raise ValueError(f"{file.name} became shorter while it was read")
        return array

    return read


def _mapping(file: Any) -> Any:
    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def view(slot: _Slot) -> Array:
        if prod(slot.shape) == 0:
            return np.empty(slot.shape, slot.dtype)
        return np.ndarray(slot.shape, slot.dtype, memory, slot.offset)

    return view


def _name_of(dtype: np.dtype[Any]) -> str:
    for name, known in DTYPES.items():
        if numpy_dtype(known) == dtype:
            return name
    raise TypeError(f"an array of {dtype} cannot be saved")
