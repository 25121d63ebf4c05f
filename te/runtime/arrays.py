"""Arrays in and out: NumPy's own, and anything that speaks DLPack.

A kernel reads native, aligned, row-major memory. What has that form is used where it lies;
everything else (strided, misaligned, of the other byte order) is copied into it first.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import partial
from math import isfinite, prod
from typing import Any, TypeAlias

import numpy as np

from te.ir.floats import nearest
from te.ir.types import F16, DType, dtype_named, numpy_dtype, numpy_name

Array: TypeAlias = np.ndarray[Any, Any]

# Bits of `flags.num`; one attribute says both, in half the time of `flags.c_contiguous`.
_C_CONTIGUOUS, _ALIGNED = 0x1, 0x100
READY = _C_CONTIGUOUS | _ALIGNED

_DLPACK_CPU, _DLPACK_PINNED = 1, 3
_DLPACK_DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 13: "CUDA managed memory"}


# ---------------------------------------------------------------- addresses


def _address_at_offset(array: Array) -> int:
    """Read the `data` field of the array object, the first one after Python's header.

    80 ns, where `array.ctypes.data` and `__array_interface__` take 850 (NumPy 2.4, Python 3.11). C
    extensions have the field's place compiled in (`PyArray_DATA`), so NumPy cannot move it.
    """
    return _word_at(id(array) + _HEADER).value


def _address_by_interface(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


_word_at = ctypes.c_size_t.from_address
_HEADER = object.__basicsize__


def _choose_address() -> Callable[[Array], int]:
    sample = np.empty(3)
    if sys.implementation.name == "cpython" and _address_at_offset(sample) == _address_by_interface(sample):
        return _address_at_offset
    return _address_by_interface


address: Callable[[Array], int] = _choose_address()

# Where the object of an array has its data's address, in bytes; None where that is not known.
DATA_FIELD = _HEADER if address is _address_at_offset else None


# ---------------------------------------------------------------- in


def view(value: object, called: str) -> Array:
    """The NumPy array that `value` is, or shares its memory with. `called` begins messages.

    Raises TypeError for what is no array in this machine's memory.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{called} is a masked array, and te has no masks: fill it, `.filled(value)`")
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.generic):
        return np.asarray(value)
    if hasattr(value, "__dlpack__"):
        return _from_dlpack(value, called)
    raise TypeError(
        f"{called} must be an array (NumPy's, or one with `__dlpack__`), "
        f"found {type(value).__name__}{_conversion_hint(value)}"
    )


def _conversion_hint(value: object) -> str:
    is_convertible = isinstance(value, list | tuple | int | float) or hasattr(value, "__array__")
    return ": convert it with `np.asarray`" if is_convertible else ""


def _from_dlpack(value: Any, called: str) -> Array:
    device, _ = value.__dlpack_device__()
    if device not in (_DLPACK_CPU, _DLPACK_PINNED):
        where = _DLPACK_DEVICES.get(int(device), f"DLPack device type {int(device)}")
        raise TypeError(f"{called} lies in the memory of another device ({where}): copy it to the CPU first")
    try:
        narrow = _without_dlpack(value)
        if narrow is None:
            return np.from_dlpack(value)
        return np.from_dlpack(value.view(_bits_type(value, narrow))).view(numpy_dtype(narrow))
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as problem:
        # For example a tensor that requires a gradient, or a type that NumPy does not have.
        raise TypeError(f"{called} cannot be shared through DLPack: {problem}") from problem


def _without_dlpack(value: Any) -> DType | None:
    """The dtype of an array if it is one that NumPy's DLPack does not know: bf16 and the two f8.

    Its bits travel as integers. PyTorch, JAX and ml_dtypes call these types by the same names.
    """
    dtype = dtype_named(str(getattr(value, "dtype", "")).rpartition(".")[2])
    return dtype if dtype is not None and dtype.is_narrow and dtype != F16 else None


def _bits_type(value: Any, dtype: DType) -> Any:
    """The integer type, of the library that `value` is from, that is as wide as `dtype`."""
    return getattr(_library_of(value), "int16" if dtype.bits == 16 else "uint8")


def _library_of(value: Any) -> Any:
    """The namespace with the functions and types of an array's library: the array API's, else its top module."""
    if hasattr(value, "__array_namespace__"):
        return value.__array_namespace__()
    return sys.modules.get(type(value).__module__.partition(".")[0])


def scalar(value: bool | int | float, dtype: DType, called: str) -> Array:
    """A Python number as a 0-d array.

    Raises TypeError where its kind is not the dtype's, ValueError where it does not fit.
    """
    fits_kind = (
        dtype.is_float
        if isinstance(value, float)
        else dtype.kind == "bool"
        if isinstance(value, bool)
        else dtype.is_integer or dtype.is_float
    )
    if not fits_kind:
        raise TypeError(f"{called} must be {dtype}, found {value!r}, a Python {type(value).__name__}")
    try:
        number = nearest(value, dtype) if dtype.is_float else value
        if number == value or value != value or isfinite(number):
            return np.asarray(number, dtype=numpy_dtype(dtype))
    except OverflowError:
        pass
    raise ValueError(f"{called} must be {dtype}, and {value} does not fit")


def check_dtype(array: Array, dtype: DType, called: str, explanation: str = "") -> None:
    """Raises TypeError unless `array` holds exactly `dtype`, in either byte order."""
    wanted = numpy_dtype(dtype)
    if array.dtype != wanted and array.dtype.newbyteorder("=") != wanted:
        # `np.load` gives bits without a type where NumPy alone does not know it.
        is_bits = array.dtype == np.dtype((np.void, wanted.itemsize))
        raise TypeError(
            f"{called} must be {dtype}{explanation}, found {array.dtype}: "
            f"{'view' if is_bits else 'cast'} it with `.{'view' if is_bits else 'astype'}({numpy_name(dtype)})`"
        )


def dtype_of(array: Array) -> DType | None:
    """The language's type of an array's elements, in either byte order; None where there is none."""
    found = array.dtype.newbyteorder("=")
    dtype = dtype_named(found.name)
    return dtype if dtype is not None and numpy_dtype(dtype) == found else None


def ready(array: Array, wanted: np.dtype[Any]) -> Array:
    """The same elements as a plain array in native, aligned, row-major memory; copied where they are not.

    `wanted` is the array's dtype in native byte order.
    """
    if array.flags.num & READY != READY or not array.dtype.isnative:
        return np.array(array, dtype=wanted, order="C", copy=True, subok=False)
    if type(array) is np.ndarray and array.dtype is wanted:
        return array
    return array.view(np.ndarray).view(wanted)


def overlap(a: Array, b: Array) -> bool:
    """Whether two arrays in row-major memory share a byte."""
    start_a, start_b = address(a), address(b)
    return start_a < start_b + b.nbytes and start_b < start_a + a.nbytes


# ---------------------------------------------------------------- out

LINE_BYTES = 64


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A new array that begins at a line of the caches, so that its vectors can be stored past them.

    NumPy's own begin 16 bytes behind one, where they are large.
    """
    bytes = prod(shape) * dtype.itemsize
    memory = np.empty(bytes + LINE_BYTES, np.uint8)
    return np.ndarray(shape, dtype, memory, -address(memory) % LINE_BYTES)


GiveBack: TypeAlias = Callable[[Array], Any]


def as_it_is(array: Array) -> Array:
    return array


def giver(values: tuple[object, ...]) -> GiveBack:
    """What turns a NumPy array into the kind of the first array among `values`, sharing its memory."""
    for value in values:
        if isinstance(value, np.ndarray):
            return as_it_is
        if hasattr(value, "__dlpack__") and not isinstance(value, np.generic):
            return partial(_give_by_dlpack, value)
    return as_it_is


def _give_by_dlpack(like: Any, array: Array) -> Any:
    """The array as one of the library that `like` is from."""
    library = _library_of(like)
    from_dlpack = getattr(library, "from_dlpack", None)
    if from_dlpack is None:
        return array
    narrow = _without_dlpack(array)
    if narrow is None:
        return from_dlpack(array)
    own = getattr(library, array.dtype.name, None)
    bits = from_dlpack(array.view(np.int16 if narrow.bits == 16 else np.uint8))
    return array if own is None else bits.view(own)
