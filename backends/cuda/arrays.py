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

__all__ = [
    "DeviceArray",
    "current_stream",
    "device_number",
    "dtype_and_shape",
    "given_to",
    "is_on_gpu",
    "taken",
]

NO_WAITING = -1  # DLPack's word for a stream that need not be in order
ALIGNMENT = 16  # bytes: what functions take a pointer to be aligned to


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """An array in the memory of a GPU, in row-major order; it lives as long as `owner`.

    Every library that knows `__cuda_array_interface__` or DLPack shares it: `torch.from_dlpack(array)`,
    `cupy.asarray(array)`. `numpy()` copies it to the CPU. It is made on `stream`, a handle of the driver's: whoever
    reads it on another stream waits for that one.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: DType
    device: int
    owner: Any
    stream: int = LEGACY_STREAM

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
            "stream": self.stream,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule of the oldest version, which every library reads. `stream` waits for what the array waits for.

        Raises BufferError where a copy, or an array on another device, is wanted.
        """
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("memory of a GPU is shared as it is: copy it in your library")
        consumer = LEGACY_STREAM if stream is None else stream
        if consumer not in (NO_WAITING, self.stream):
            from te.backends.cuda.device import device_numbered

            with device_numbered(self.device).active():
                driver_calls().wait_for_stream(consumer, self.stream)
        return to_capsule(self.pointer, self.shape, self.dtype, (CUDA, self.device), self)

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy in the CPU's memory, when all work before is done."""
        from te.backends.cuda.device import device_numbered

        array = np.empty(self.shape, numpy_dtype(self.dtype))
        device = device_numbered(self.device)
        if array.size:
            with device.active():
                if self.stream != LEGACY_STREAM:
                    driver_calls().wait_for_stream(LEGACY_STREAM, self.stream)
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


def device_number(value: Any) -> int:
    """The GPU that a value lies on; 0 where its library does not say."""
    if isinstance(value, DeviceArray):
        return value.device
    if hasattr(value, "__dlpack_device__"):
        return int(value.__dlpack_device__()[1])
    return int(getattr(getattr(value, "device", 0), "id", 0))  # CuPy's and numba's arrays name theirs


def current_stream(value: Any) -> int:
    """The handle of the stream that the library of a value queues work on now; 0 is the default stream."""
    name = type(value).__module__.partition(".")[0]
    if name == "torch":
        return int(sys.modules[name].cuda.current_stream(value.device).cuda_stream)
    if name == "cupy":
        return int(sys.modules[name].cuda.get_current_stream().ptr)
    return 0


def dtype_and_shape(value: Any, called: str) -> tuple[DType, tuple[int, ...]]:
    """What an array on a GPU looks like; no context need be current. Raises what `taken` raises."""
    dtype = dtype_named(str(getattr(value, "dtype", "")).removeprefix("torch."))
    shape = getattr(value, "shape", None)
    if dtype is not None and shape is not None:
        return dtype, tuple(shape)
    array = taken(value, called)
    return array.dtype, array.shape


def taken(value: Any, called: str, stream: int | None = None, *, is_written: bool = False) -> DeviceArray:
    """The array that a value on a GPU is, without a copy; `called` begins messages.

    What its library has queued is done before what is queued on `stream` afterwards, whose context must be current.
    Raises TypeError for a dtype that te does not have, ValueError for memory that is not in row-major order, or that
    is written and must not be.
    """
    if isinstance(value, DeviceArray):
        if stream not in (None, value.stream):
            driver_calls().wait_for_stream(stream, value.stream)
        return value
    try:
        found = _by_dlpack(value, stream) if hasattr(value, "__dlpack__") else _by_interface(value, stream)
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as problem:
        # For example a tensor that requires a gradient.
        raise TypeError(f"{called} cannot be shared: {problem}") from problem
    if found.dtype is None:
        raise TypeError(f"{called} has elements that te does not have ({found.dtype_name})")
    if is_written and found.is_read_only:
        raise ValueError(f"{called} is read-only")
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
    pointer, is_read_only = interface["data"]
    pointer, shape = int(pointer or 0), tuple(interface["shape"])
    if stream is not None and pointer:
        _check_context(pointer)
    device = (CUDA, device_number(value))
    return Exchanged(pointer, shape, strides, dtype_named(name), kind.str, device, value, bool(is_read_only))


def _check_context(pointer: int) -> None:
    """Raises ValueError for memory of a context of its own, as `pycuda.autoinit` makes: kernels cannot reach it."""
    calls = driver_calls()
    context = calls.context_of(pointer)
    if context and context != calls.current_context():
        raise ValueError(
            "it lies in another context than the primary one of the GPU "
            "(PyCUDA: `import pycuda.autoprimaryctx` in the place of `pycuda.autoinit`)"
        )


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
