"""The functions that emitted CUDA code calls, compiled by g++ and run on arrays."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from te.backends.cuda import prelude
from te.ir.types import DType, numpy_dtype

Array = np.ndarray[Any, Any]

gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


class OnCPU:
    """Functions by name: `functions["te_add_i32"](x, y)` on arrays.

    `wanted` gives for each name the dtypes of its arguments and of its result.
    """

    def __init__(self, wanted: Mapping[str, tuple[Sequence[DType], DType]], folder: Path):
        self.wanted = wanted
        loops = "\n".join(_loop(name, *types) for name, types in wanted.items())
        self.library = compiled(f"{prelude.definitions(loops)}\n{loops}", folder)

    def __call__(self, name: str, *columns: Array) -> Array:
        arguments, result = self.wanted[name]
        columns = tuple(np.ascontiguousarray(c) for c in np.broadcast_arrays(*columns))
        assert [c.dtype for c in columns] == [numpy_dtype(a) for a in arguments]
        out = np.empty(columns[0].shape, numpy_dtype(result))
        pointers = [ctypes.c_void_p(c.ctypes.data) for c in (*columns, out)]
        getattr(self.library, f"run_{name}")(ctypes.c_long(out.size), *pointers)
        return out


def compiled(text: str, folder: Path) -> ctypes.CDLL:
    """The functions that C++ text defines."""
    library = folder / "prelude.so"
    _run_gxx(text, folder, ["-O1", "-shared", "-o", str(library)])
    return ctypes.CDLL(str(library))


def check_syntax(text: str, folder: Path) -> None:
    """Fail where g++ refuses the text or warns of it."""
    _run_gxx(text, folder, ["-fsyntax-only"])


def _run_gxx(text: str, folder: Path, options: Sequence[str]) -> None:
    host = (resources.files(prelude.__package__) / "host.h").read_text(encoding="utf-8")
    (folder / "host.h").write_text(host, encoding="utf-8")
    path = folder / "prelude.cpp"
    path.write_text(f'#include "host.h"\n{text}', encoding="utf-8")
    flags = ["-std=c++17", "-ffp-contract=off", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wno-unused"]
    subprocess.run(["g++", *flags, str(path), *options], check=True)


def _loop(name: str, arguments: Sequence[DType], result: DType) -> str:
    parameters = "".join(f", const {prelude.type_name(a)} *x{n}" for n, a in enumerate(arguments))
    values = ", ".join(f"x{n}[i]" for n in range(len(arguments)))
    return (
        f'extern "C" void run_{name}(long n{parameters}, {prelude.type_name(result)} *y) {{\n'
        f"    for (long i = 0; i < n; i++) y[i] = {name}({values});\n}}"
    )
