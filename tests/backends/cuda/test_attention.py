"""Attention on tensor cores, from a written schedule: against NumPy, free of races, and its machine code."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import te
from te.backends.cuda.compile import compiler_version
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.ir.types import BF16, numpy_dtype

FILE = Path(__file__).parent / "attention" / "attention.te"
HALF = numpy_dtype(BF16)


def attention(folder: Path, depth: int, is_causal: bool, target: str) -> te.Kernel:
    """The op with heads of that depth, whose queries see the keys before them, or all keys."""
    text = FILE.read_text(encoding="utf-8").replace("64]", f"{depth}]")
    if not is_causal:
        text = text.replace(" where j <= i", "")
    path = folder / "attention.te"
    path.write_text(text, encoding="utf-8")
    kernel = te.build(path, target=target)
    assert isinstance(kernel, te.Kernel)
    return kernel


def expected(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, is_causal: bool) -> np.ndarray:
    logits = q.astype(np.float64) @ k.astype(np.float64).T * scale
    if is_causal:
        logits[np.arange(len(k)) > np.arange(len(q))[:, None]] = -np.inf
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights @ v.astype(np.float64) / weights.sum(axis=1, keepdims=True)


@pytest.mark.gxx
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, which compiles what is emulated")
@pytest.mark.parametrize(
    ("depth", "is_causal", "queries", "keys"),
    [
        (64, True, 70, 70),
        pytest.param(64, False, 64, 64, marks=pytest.mark.slow),
        pytest.param(64, False, 9, 131, marks=pytest.mark.slow),
        pytest.param(128, False, 64, 128, marks=pytest.mark.slow),
        pytest.param(128, True, 37, 67, marks=pytest.mark.slow),
    ],
)
def test_emulated(tmp_path: Path, depth: int, is_causal: bool, queries: int, keys: int) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((n, depth)).astype(HALF) for n in (queries, keys, keys))
    scale = depth**-0.5
    kernel = attention(tmp_path, depth, is_causal, "cuda-emulated")
    with emulating(Emulation(((0, 1) if is_causal else (1, 5)), seconds=60)):
        found = kernel(q, k, v, np.float32(scale))
    np.testing.assert_allclose(
        np.asarray(found).astype(np.float64), expected(q, k, v, scale, is_causal), atol=0.02, rtol=0.02
    )


@pytest.mark.nvcc
@pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc")
@pytest.mark.parametrize(
    ("depth", "sm"),
    [
        (64, "sm_80"),
        *(
            pytest.param(*of, marks=pytest.mark.slow)
            for of in [(64, "sm_90"), (128, "sm_80"), (128, "sm_90")]
        ),
    ],
)
def test_machine_code(tmp_path: Path, depth: int, sm: str) -> None:
    kernel = attention(tmp_path, depth, True, f"cuda.{sm}")
    (resources,) = kernel.resources()
    assert (resources.usage.stack, resources.usage.spill_stores) == (0, 0)
    code = kernel.ir("ptx")
    # Of 64 keys, each warp has 16 queries: steps of 16 x 8 x 16 for the logits, and as many for the result.
    # Those for the result are there twice, for the tiles on the diagonal, too.
    steps = (64 // 8) * (depth // 16)
    assert len(re.findall(r"mma\.sync\.aligned\.m16n8k16", code)) == 3 * steps + 1
    assert len(re.findall(r"shfl\.sync\.bfly", code)) >= 2 * 2 * 2  # maximum and sum of two rows of a lane
