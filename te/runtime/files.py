"""Arrays in files: `.npy`, and pictures where Pillow is installed.

A picture is read as the op's input asks: `u8` as stored, `f32` and `f64` scaled to 0 .. 1; two axes
as grey, three as `[height, width, channels]`. On the way out, floats are clipped to 0 .. 1.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from te.ir.expr import Const
from te.runtime.arguments import Parameter
from te.runtime.arrays import Array

__all__ = ["FileProblem", "check_kind", "read_array", "write_array"]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F")
_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}


class FileProblem(Exception):
    """A file that does not hold, or cannot hold, the array that is wanted. The message says which."""


def read_array(path: str, parameter: Parameter) -> Array:
    """The array in a file, as the input `parameter` takes it.

    Raises FileProblem for a file of another kind, a broken one, and a picture that does not fit the
    input; OSError where it cannot be read at all.
    """
    if check_kind(path) == "picture":
        return _read_picture(path, parameter)
    _refuse_dtype(path, parameter.name, parameter.array_dtype)
    return _read_npy(path)


def write_array(path: str, name: str, array: Array) -> None:
    """Write the result `name` to a file. Raises FileProblem where it cannot be a picture, and OSError."""
    if check_kind(path) == "picture":
        _write_picture(path, name, array)
    else:
        _refuse_dtype(path, name, array.dtype)
        with open(path, "wb") as file:
            np.save(file, array, allow_pickle=False)


def check_kind(path: str) -> str:
    """`npy` or `picture`, by the name of a file. Raises FileProblem for any other."""
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        return "npy"
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    raise FileProblem(f"{path}: a file is one of .npy, {', '.join(PICTURE_SUFFIXES)}")


def _refuse_dtype(path: str, name: str, dtype: np.dtype[Any]) -> None:
    """A .npy file holds NumPy's own types: of others it keeps the bits and not the type."""
    if dtype.isbuiltin == 2:  # another package made it
        raise FileProblem(f"{path}: `{name}` holds {dtype}, which .npy files cannot: cast to f32 in the op")


def _read_npy(path: str) -> Array:
    with open(path, "rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise FileProblem(f"{path} is no .npy file, whatever its name says")
        file.seek(0)
        try:
            array: Array = np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as problem:
            raise FileProblem(f"{path} cannot be read: {problem}") from None
        return array


# ---------------------------------------------------------------- pictures


def _pillow(path: str) -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise FileProblem(
            f"{path}: pictures need Pillow, which is not installed: pip install pillow"
        ) from None
    return Image


def _read_picture(path: str, parameter: Parameter) -> Array:
    pillow = _pillow(path)
    from PIL import ImageOps

    scale = {"u8": None, "f32": 255, "f64": 255}
    if parameter.dtype.name not in scale or parameter.rank not in (2, 3):
        raise FileProblem(
            f"{path}: a picture cannot be `{parameter}`, only u8, f32 or f64 with 2 axes (grey) or 3 (colour)"
        )
    os.stat(path)  # a missing file is reported as Python does it, not as a picture that cannot be read
    try:
        with pillow.open(path) as opened:
            opened.load()
            picture = ImageOps.exif_transpose(opened)
    except pillow.UnidentifiedImageError:
        raise FileProblem(f"{path} is no picture, whatever its name says") from None
    except pillow.DecompressionBombError as problem:
        raise FileProblem(f"{path}: {problem}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as problem:
        raise FileProblem(f"{path} is broken or incomplete: {problem}") from None
    pixels = _pixels(path, picture, parameter)
    return pixels if parameter.dtype.name == "u8" else _scaled(pixels, parameter.dtype.name)


def _pixels(path: str, picture: Any, parameter: Parameter) -> Array:
    """The picture's elements, with as many axes as the input has: u8, or u16 where it is finer."""
    is_grey = picture.mode in _GREY_MODES
    channels = _channels(parameter)
    if is_grey and channels > 1:
        raise FileProblem(
            f"{path} is a grey picture of {picture.height} x {picture.width}, "
            f"and `{parameter}` takes a colour picture, with 3 axes"
        )
    if picture.mode in ("I", "F") or (picture.mode.startswith("I;16") and parameter.dtype.name == "u8"):
        raise FileProblem(
            f"{path} has more than 8 bits a pixel (mode {picture.mode}); convert it to 8 bits first"
        )
    if not picture.mode.startswith("I;16"):
        picture = picture.convert(_CHANNELS[channels])
    pixels = np.asarray(picture)
    return pixels[..., np.newaxis] if parameter.rank == 3 and pixels.ndim == 2 else pixels


def _channels(parameter: Parameter) -> int:
    """How many values a pixel has: 1 for a grey picture, else what the last axis says, or 3."""
    if parameter.rank == 2:
        return 1
    last = parameter.dimensions[-1].extent
    return int(last.value) if isinstance(last, Const) and last.value in _CHANNELS else 3


def _scaled(pixels: Array, dtype: str) -> Array:
    most = np.iinfo(pixels.dtype).max
    return (pixels / most).astype(np.float32 if dtype == "f32" else np.float64)


def _write_picture(path: str, name: str, array: Array) -> None:
    pillow = _pillow(path)
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[2] not in _CHANNELS):
        raise FileProblem(
            f"{path}: `{name}` has the shape {array.shape}, and a picture is [height, width] "
            "or [height, width, 1, 3 or 4]: write a .npy file"
        )
    picture = pillow.fromarray(_bytes(path, name, array))
    try:
        picture.save(path)
    except OSError as problem:
        if problem.errno is not None:
            raise
        raise FileProblem(f"{path}: {problem}") from None  # for example JPEG with an alpha channel


def _bytes(path: str, name: str, array: Array) -> Array:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype in (np.float32, np.float64):
        return np.rint(np.clip(np.nan_to_num(array), 0, 1) * 255).astype(np.uint8)
    raise FileProblem(
        f"{path}: `{name}` holds {array.dtype}, and a picture is u8, bool, or f32 or f64 from 0 to 1: "
        "write a .npy file"
    )
