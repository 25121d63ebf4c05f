"""CUDA C++ to machine code: by NVRTC, else by nvcc. No driver and no GPU is needed.

`te.runtime.gpu_code` keeps the machine code on disk.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from te.backends.cuda.nvrtc import Compiled, Refused, load_nvrtc
from te.backends.cuda.toolkit import find_program
from te.backends.cuda.unavailable import CudaUnavailable
from te.diagnostics import CompileError, Diagnostic, Span

__all__ = ["Compiled", "compile_text", "compiler_version", "disassemble"]

NAME = "te.cu"  # what messages call the text
# Nothing is contracted that does not say so, and everything else rounds as IEEE 754 says: CUDA's defaults.
OPTIONS = ("-fmad=false", "--std=c++17")


def compile_text(text: str, sm: str, lines: Sequence[Span | None] = ()) -> Compiled:
    """CUDA C++ to machine code for an architecture, `sm_80`.

    `lines` are the places in `.te` texts that the lines of the text come from. Raises CudaUnavailable, and CompileError
    where the compiler refuses the text.
    """
    compiler = compiler_version()
    if compiler is None:
        raise CudaUnavailable(
            "there is no compiler for NVIDIA GPUs on this machine: install NVRTC (`pip install nvidia-cuda-nvrtc`) "
            "or the CUDA toolkit (nvcc)"
        )
    nvrtc = load_nvrtc()
    try:
        if nvrtc is not None:
            return nvrtc.compile(text, NAME, [f"--gpu-architecture={sm}", "--ptxas-options=-v", *OPTIONS])
        return _by_nvcc(text, sm)
    except Refused as refused:
        if _UNKNOWN.search(str(refused)):
            raise CudaUnavailable(
                f"{compiler} does not know {sm}: it takes a newer or an older one"
            ) from None
        raise CompileError(_refusal(str(refused), sm, compiler, lines)) from None


@cache
def compiler_version() -> str | None:
    """The compiler that `compile_text` uses, in words; None where there is none."""
    nvrtc = load_nvrtc()
    if nvrtc is not None:
        return str(nvrtc)
    nvcc = find_program("nvcc")
    if nvcc is None:
        return None
    said = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
    version = re.search(r"release \S+, V(\S+)", said)
    return f"nvcc {version[1]}" if version else None


def _by_nvcc(text: str, sm: str) -> Compiled:
    nvcc = find_program("nvcc")
    assert nvcc is not None, "its version was asked"
    with tempfile.TemporaryDirectory(prefix="te-cuda-") as folder:
        source, cubin = Path(folder, NAME), Path(folder, "te.cubin")
        source.write_text(text, encoding="utf-8")
        # `--keep` leaves the PTX beside the machine code.
        command: list[str | Path] = [
            nvcc,
            "-cubin",
            f"-arch={sm}",
            "-Xptxas=-v",
            "--keep",
            *OPTIONS,
            NAME,
            "-o",
            cubin.name,
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise Refused((done.stdout + done.stderr).strip())
        return Compiled(cubin.read_bytes(), Path(folder, "te.ptx").read_text(), done.stderr.strip())


# ---------------------------------------------------------------- what the compiler says

_PLACE = re.compile(rf"{re.escape(NAME)}\((\d+)\): (?:fatal )?error: (.*)")
_UNKNOWN = re.compile(
    r"invalid value for --gpu-architecture|[Uu]nsupported gpu architecture|'gpu-architecture'"
)
_PTXAS = re.compile(r"(?:ptxas (?:error|fatal)\s*:|error\s*:)\s*(.*)")


def _refusal(log: str, sm: str, compiler: str, lines: Sequence[Span | None]) -> Diagnostic:
    """The first error, at the `.te` line that the line of the text comes from."""
    first = _PLACE.search(log)
    span = lines[int(first[1]) - 1] if first and int(first[1]) <= len(lines) else None
    other = _PTXAS.search(log)
    reason = first[2] if first else other[1] if other else (log.splitlines() or ["it does not say why"])[0]
    # Its words are NVIDIA's, so it has no golden file: tests/backends/test_cuda_compile.py has its cases.
    return Diagnostic(
        "cuda-compiler",
        f"{compiler} refuses the emitted code for {sm}: {reason}",
        span,
        "this makes the code" if span else "",
        '`kernel.ir("cuda")` shows the code; where no directive asks for too much, this is a bug in te: report it',
    )


# ---------------------------------------------------------------- machine code as text


def disassemble(cubin: bytes) -> str:
    """Machine code as text (SASS). Raises CudaUnavailable where neither nvdisasm nor cuobjdump is there."""
    program = find_program("nvdisasm") or find_program("cuobjdump")
    if program is None:
        raise CudaUnavailable(
            "nvdisasm shows the machine code, and it is not on this machine: "
            "`pip install nvidia-cuda-nvdisasm`, or install the CUDA toolkit"
        )
    with tempfile.TemporaryDirectory(prefix="te-cuda-") as folder:
        path = Path(folder, "te.cubin")
        path.write_bytes(cubin)
        options = ["-c"] if program.name == "nvdisasm" else ["-sass"]
        done = subprocess.run([program, *options, path], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{program.name} fails: {done.stderr.strip()}")
    return done.stdout
