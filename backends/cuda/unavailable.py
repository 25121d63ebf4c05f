"""What is raised where something that CUDA needs is missing on this machine."""

from __future__ import annotations

__all__ = ["CudaUnavailable"]


class CudaUnavailable(RuntimeError):
    """A GPU, its driver, PyCUDA or a compiler is missing; the message says which, and what to do about it."""
