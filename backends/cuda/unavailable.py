"""The one exception for what is missing of NVIDIA's on a machine."""

from __future__ import annotations

__all__ = ["CudaUnavailable"]


class CudaUnavailable(RuntimeError):
    """What is asked for needs a GPU, its driver, PyCUDA or a part of the CUDA toolkit that is not here.

    The message says which, and how to get it; docs/cuda.md has the whole installation. Emitting CUDA C++ and the
    target `cuda-emulated` need none of them.
    """
