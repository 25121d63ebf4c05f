"""DLPack in and out, in Python: for memory of a GPU, which NumPy does not take.

The structures are those of dlpack.h, version 0.8, which all libraries read (https://dmlc.github.io/dlpack).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from math import prod
from typing import Any

from te.ir.types import BF16, BOOL, DTYPES, F8E4M3, F8E5M2, DType

__all__ = ["CUDA", "CUDA_MANAGED", "Exchanged", "from_capsule", "to_capsule"]

CUDA, CUDA_MANAGED = 2, 13  # types of devices
_CODES = {"int": 0, "uint": 1, "float": 2, "bool": 6}
_OTHER_CODES = {BF16: 4, F8E4M3: 10, F8E5M2: 12}
_KINDS = {code: kind for kind, code in _CODES.items()}
_NARROW = {code: dtype for dtype, code in _OTHER_CODES.items()}


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))

_python = ctypes.pythonapi
_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_new_capsule = _python.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, _Destructor)
_pointer_of_object = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _python)
)
# A capsule that is being destroyed must not be counted as referenced: its address is handed on as a number.
_pointer_of_address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _python)
)
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _python))
_NAME = b"dltensor"


@dataclass(frozen=True, slots=True)
class Exchanged:
    """An array that somebody has handed over; it lives as long as `owner`. `strides` count elements."""

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: DType | None  # None for one that te does not have
    dtype_name: str
    device: tuple[int, int]
    owner: Any
    is_read_only: bool = False


# ---------------------------------------------------------------- in


def from_capsule(capsule: Any) -> Exchanged:
    """What a capsule holds. It is not consumed: kept as the owner, it frees its array when it goes."""
    tensor = ctypes.cast(_pointer_of_object(capsule, _NAME), ctypes.POINTER(_Managed)).contents.tensor
    rank = tensor.ndim
    shape = tuple(tensor.shape[:rank])
    strides = tuple(tensor.strides[:rank]) if tensor.strides else None
    code, bits, lanes = tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes
    pointer = (tensor.data or 0) + tensor.byte_offset
    name = f"{_KINDS.get(code, f'type code {code}, ')}{bits}"
    dtype = _dtype(code, bits) if lanes == 1 else None
    device = (int(tensor.device.type), int(tensor.device.id))
    return Exchanged(pointer, shape, strides, dtype, name, device, capsule)


def _dtype(code: int, bits: int) -> DType | None:
    if code in _NARROW:
        return _NARROW[code]
    kind = _KINDS.get(code)
    width = 1 if kind == "bool" else bits
    return next(
        (t for t in DTYPES.values() if t.kind == kind and t.bits == width and t not in _OTHER_CODES), None
    )


# ---------------------------------------------------------------- out

# What was handed over and is not freed yet, by the address of its structure.
_handed_over: dict[int, Any] = {}


def to_capsule(
    pointer: int, shape: tuple[int, ...], dtype: DType, device: tuple[int, int], owner: Any
) -> Any:
    """A capsule for row-major memory, which `owner` keeps alive until the consumer has freed it."""
    rank = len(shape)
    numbers = (ctypes.c_int64 * (2 * rank))(*shape, *[prod(shape[axis + 1 :]) for axis in range(rank)])
    managed = _Managed()
    managed.deleter = _delete
    tensor = managed.tensor
    tensor.data = pointer
    tensor.device = _Device(*device)
    tensor.ndim = rank
    code = _OTHER_CODES.get(dtype, _CODES[dtype.kind])
    tensor.dtype = _DataType(code, 8 if dtype == BOOL else dtype.bits, 1)
    first = ctypes.addressof(numbers)
    tensor.shape = ctypes.cast(first, ctypes.POINTER(ctypes.c_int64))
    tensor.strides = ctypes.cast(first + 8 * rank, ctypes.POINTER(ctypes.c_int64))
    address = ctypes.addressof(managed)
    _handed_over[address] = managed, numbers, owner
    return _new_capsule(address, _NAME, _destroy)


@_Deleter
def _delete(managed: Any) -> None:
    _handed_over.pop(ctypes.addressof(managed.contents), None)


@_Destructor
def _destroy(capsule: int) -> None:
    """A capsule goes. A consumer has renamed it and deletes its contents; of others they are deleted here."""
    if _is_valid(capsule, _NAME):
        _handed_over.pop(_pointer_of_address(capsule, _NAME), None)
