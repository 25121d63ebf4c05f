"""Kernels for `cuda-emulated`: what g++ makes of them is kept in the folder of the object cache (docs/cache.md)."""

from __future__ import annotations

from te.backends.base import Artifact
from te.backends.cuda.artifact import CudaArtifact
from te.backends.cuda.emulator.executable import EmulatedExecutable
from te.backends.cuda.emulator.toolchain import keep_in
from te.runtime.cache_folder import open_folder

__all__ = ["load_emulated"]


def load_emulated(artifact: Artifact) -> EmulatedExecutable:
    """Something callable; g++ is asked for at the first call."""
    assert isinstance(artifact, CudaArtifact)
    keep_in(open_folder)
    return EmulatedExecutable(artifact)
