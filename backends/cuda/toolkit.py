"""Where the parts of NVIDIA's toolkit are on this machine: NVRTC, nvcc, and the disassemblers.

None of them is needed to emit or emulate. They are found on the PATH, in a CUDA installation, and in the wheels
`nvidia-cuda-nvrtc`, `nvidia-cuda-nvdisasm` and `nvidia-cuda-cuobjdump` of PyPI, which need no driver.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["find_library", "find_program"]


@cache
def find_program(name: str) -> Path | None:
    """`nvcc`, `nvdisasm`, `cuobjdump`: on the PATH, in a CUDA installation, or in a wheel."""
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    found = [folder / "bin" / name for folder in (*_installations(), *_wheels())]
    return next((path for path in found if os.access(path, os.X_OK)), None)


@cache
def find_library(name: str) -> Path | None:
    """`nvrtc`: the shared library of that name, in a wheel or a CUDA installation."""
    for folder in (*_wheels(), *_installations()):
        for place in ("lib", "lib64", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"):
            found = sorted((folder / place).glob(f"lib{name}.so*"))
            if found:
                return found[-1]  # with the longest version
    return None


def _installations() -> Iterator[Path]:
    chosen = (os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"))
    yield from (Path(folder) for folder in chosen if folder)
    yield Path("/usr/local/cuda")
    yield from sorted(Path("/usr/local").glob("cuda-*"), reverse=True)


def _wheels() -> Iterator[Path]:
    """The folders of NVIDIA's wheels: `nvidia/cu13`, and `nvidia/cuda_nvrtc` of CUDA 12."""
    found = importlib.util.find_spec("nvidia")
    for folder in (found.submodule_search_locations or ()) if found else ():
        yield from sorted((p for p in Path(folder).iterdir() if p.is_dir()), reverse=True)
