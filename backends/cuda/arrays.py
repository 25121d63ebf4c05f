"""Arrays in the memory of a GPU: what callers give, what they get."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from te.backends.cuda.dlpack import CUDA, CUDA_MANAGED, Exchanged, from_capsule, to_capsule
from te.backends.cuda.driver import LEGACY_STREAM, driver_calls
from te.ir.types import DType, dtype_named, numpy_dtype

__all__ = ["DeviceArray", "given_to", "is_on_gpu", "taken"]

NO_WAITING = -1  # DLPack's word for a stream that need not be in order
ALIGNMENT = 16  # bytes: what functions take a pointer to be aligned to


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """An array in the memory of a GPU, in row-major order; it lives as long as `owner`.

    Every library that knows `__cuda_array_interface__` or DLPack shares it: `torch.from_dlpack(array)`,
    `cupy.asarray(array)`. `numpy()` copies it to the CPU.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: DType
    device: int
    owner: Any

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.bytes

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        found = numpy_dtype(self.dtype)
        # A type that NumPy alone does not know goes as bytes.
        is_plain = found.kind in "biuf" and found.isbuiltin == 1
        return {
            "shape": self.shape,
            "typestr": found.str if is_plain else f"|V{self.dtype.bytes}",
            "data": (self.pointer, False),
            "strides": None,
            "version": 3,
            "stream": LEGACY_STREAM,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.device

    def __dlpack__(self, *, stream: Any = None, **options: Any) -> Any:
        """A capsule. Whoever works on a stream of its own that does not wait for the default one has to wait."""
        return to_capsule(self.pointer, self.shape, self.dtype, (CUDA, self.device), self)

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy in the CPU's memory, when all work before is done."""
        from te.backends.cuda.device import device_numbered

        array = np.empty(self.shape, numpy_dtype(self.dtype))
        device = device_numbered(self.device)
        if array.size:
            with device.active():
                device.driver.memcpy_dtoh(array.reshape(-1).view(np.uint8), self.pointer)
        return array

    def __repr__(self) -> str:
        return f"<te.DeviceArray {self.dtype}[{', '.join(map(str, self.shape))}] on GPU {self.device}>"


# ---------------------------------------------------------------- in


def is_on_gpu(value: Any) -> bool:
    """Whether a value is an array in the memory of an NVIDIA GPU."""
    if isinstance(value, np.ndarray | np.generic | bool | int | float):
        return False
    if isinstance(value, DeviceArray):
        return True
    if hasattr(value, "__dlpack_device__"):
        return value.__dlpack_device__()[0] in (CUDA, CUDA_MANAGED)
    return hasattr(value, "__cuda_array_interface__")


def taken(value: Any, called: str, stream: int | None = None) -> DeviceArray:
    """The array that a value on a GPU is, without a copy; `called` begins messages.

    What its library has queued is done before what is queued on `stream` afterwards, whose context must be current.
    Raises TypeError for a dtype that te does not have, ValueError for memory that is not in row-major order.
    """
    if isinstance(value, DeviceArray):
        return value
    try:
        found = _by_dlpack(value, stream) if hasattr(value, "__dlpack__") else _by_interface(value, stream)
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as problem:
        # For example a tensor that requires a gradient.
        raise TypeError(f"{called} cannot be shared: {problem}") from problem
    if found.dtype is None:
        raise TypeError(f"{called} has elements that te does not have ({found.dtype_name})")
    if not _is_row_major(found):
        raise ValueError(
            f"{called} must be in row-major order in the GPU's memory, and its strides are {found.strides}: "
            "copy it first, with `.contiguous()` or `.copy()`"
        )
    return DeviceArray(found.pointer, found.shape, found.dtype, found.device[1], found.owner)


def _by_dlpack(value: Any, stream: int | None) -> Exchanged:
    return from_capsule(value.__dlpack__(stream=NO_WAITING if stream is None else stream))


def _by_interface(value: Any, stream: int | None) -> Exchanged:
    interface = value.__cuda_array_interface__
    queued_on = interface.get("stream")
    if stream is not None and queued_on not in (None, LEGACY_STREAM, stream):
        driver_calls().wait_for_stream(stream, queued_on)
    kind = np.dtype(interface["typestr"])
    # Types that NumPy alone does not know go as bytes; their array says which they are.
    name = str(getattr(value, "dtype", "")) if kind.kind == "V" else kind.name
    strides = interface.get("strides")
    if strides is not None:
        strides = tuple(stride // kind.itemsize for stride in strides)
    device = int(getattr(getattr(value, "device", 0), "id", 0))  # CuPy's arrays name theirs
    pointer, shape = int(interface["data"][0]), tuple(interface["shape"])
    return Exchanged(pointer, shape, strides, dtype_named(name), kind.str, (CUDA, device), value)


def _is_row_major(array: Exchanged) -> bool:
    if array.strides is None or 0 in array.shape:
        return True
    expected = 1
    for extent, stride in zip(reversed(array.shape), reversed(array.strides), strict=True):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True


# ---------------------------------------------------------------- out


def given_to(like: Any, array: DeviceArray) -> Any:
    """The array as one of the library that `like` is from: PyTorch's, CuPy's, PyCUDA's; else as it is."""
    library = sys.modules.get(type(like).__module__.partition(".")[0])
    if type(like).__name__ == "GPUArray" and type(like).__module__.startswith("pycuda."):
        return type(like)(array.shape, numpy_dtype(array.dtype), base=array, gpudata=array.pointer)
    from_dlpack = getattr(library, "from_dlpack", None)
    if from_dlpack is None or isinstance(like, DeviceArray):
        return array
    return from_dlpack(array)
