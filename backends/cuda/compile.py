"""CUDA C++ to machine code: by NVRTC, else by nvcc, and out of the object cache.

What is compiled is kept by its content: the key is a hash of the text, of the architecture, of the options and of
the compiler's version. No driver and no GPU is needed.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from te.backends.cuda.nvrtc import Compiled, Refused, load_nvrtc
from te.backends.cuda.toolkit import find_program
from te.diagnostics import CompileError, Diagnostic, Span, error
from te.runtime.cache_folder import open_folder

__all__ = ["Compiled", "NoCompiler", "NoTool", "compile_text", "compiler_version", "disassemble"]

FORMAT = 1  # of the cache's entries
NAME = "te.cu"  # what messages call the text
# Nothing is contracted that does not say so, and everything else rounds as IEEE 754 says: CUDA's defaults.
OPTIONS = ("-fmad=false", "--std=c++17")


class NoCompiler(Exception):
    """There is no compiler for GPUs on this machine. The message says how to get one."""


class NoTool(Exception):
    """A program that shows machine code is missing. The message says how to get it."""


def compile_text(
    text: str, sm: str, lines: Sequence[Span | None] = (), *, has_lines: bool = False
) -> Compiled:
    """CUDA C++ to machine code for an architecture, `sm_80`.

    `lines` are the places in `.te` texts that the lines of the text come from. Raises NoCompiler, and CompileError
    where the compiler refuses the text.
    """
    compiler = compiler_version()
    if compiler is None:
        raise NoCompiler(
            "there is no compiler for NVIDIA GPUs on this machine: install NVRTC (`pip install nvidia-cuda-nvrtc`) "
            "or the CUDA toolkit (nvcc)"
        )
    options = (*OPTIONS, *(["-lineinfo"] if has_lines else []))
    folder, key = open_folder(), _key(text, sm, options, compiler)
    found = None if folder is None else folder.read(key)
    if found is not None:
        header = json.loads(found[0])
        return Compiled(found[1], header["ptx"], header["log"])
    nvrtc = load_nvrtc()
    try:
        if nvrtc is not None:
            made = nvrtc.compile(text, NAME, [f"--gpu-architecture={sm}", "--ptxas-options=-v", *options])
        else:
            made = _by_nvcc(text, sm, options)
    except Refused as refused:
        raise CompileError(_refusal(str(refused), sm, compiler, lines)) from None
    if folder is not None:
        folder.write(key, json.dumps({"ptx": made.ptx, "log": made.log}).encode(), made.cubin)
    return made


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


def _key(text: str, sm: str, options: Sequence[str], compiler: str) -> str:
    return hashlib.sha256(json.dumps(["cuda", FORMAT, compiler, sm, *options, text]).encode()).hexdigest()


def _by_nvcc(text: str, sm: str, options: Sequence[str]) -> Compiled:
    nvcc = find_program("nvcc")
    assert nvcc is not None, "its version was asked"
    with tempfile.TemporaryDirectory(prefix="te-cuda-") as folder:
        source, cubin = Path(folder, NAME), Path(folder, "te.cubin")
        source.write_text(text, encoding="utf-8")
        # `--keep` leaves the PTX beside the machine code.
        command = [nvcc, "-cubin", f"-arch={sm}", "-Xptxas=-v", "--keep", *options, NAME, "-o", cubin.name]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise Refused((done.stdout + done.stderr).strip())
        return Compiled(cubin.read_bytes(), Path(folder, "te.ptx").read_text(), done.stderr.strip())


# ---------------------------------------------------------------- what the compiler says

_PLACE = re.compile(rf"{re.escape(NAME)}\((\d+)\): (?:fatal )?error: (.*)")
_PTXAS = re.compile(r"(?:ptxas (?:error|fatal)\s*:|error\s*:)\s*(.*)")


def _refusal(log: str, sm: str, compiler: str, lines: Sequence[Span | None]) -> Diagnostic:
    """The first error, at the `.te` line that the line of the text comes from."""
    first = _PLACE.search(log)
    span = lines[int(first[1]) - 1] if first and int(first[1]) <= len(lines) else None
    other = _PTXAS.search(log)
    reason = first[2] if first else other[1] if other else (log.splitlines() or ["it does not say why"])[0]
    return error(
        "cuda-compiler",
        f"{compiler} refuses the emitted code for {sm}: {reason}",
        span,
        "this makes the code" if span else "",
        help='`kernel.ir("cuda")` shows the code; where no directive asks for too much, this is a bug in te: report it',
    )


# ---------------------------------------------------------------- machine code as text


def disassemble(cubin: bytes) -> str:
    """Machine code as text (SASS). Raises NoTool where neither nvdisasm nor cuobjdump is there."""
    program = find_program("nvdisasm") or find_program("cuobjdump")
    if program is None:
        raise NoTool(
            "nvdisasm shows the machine code, and it is not on this machine: "
            "`pip install nvidia-cuda-nvdisasm`, or install the CUDA toolkit"
        )
    with tempfile.TemporaryDirectory(prefix="te-cuda-") as folder:
        path = Path(folder, "te.cubin")
        path.write_bytes(cubin)
        options = ["-c"] if program.name == "nvdisasm" else ["-sass"]
        done = subprocess.run([program, *options, path], capture_output=True, text=True)
    if done.returncode:
        raise NoTool(f"{program.name} fails: {done.stderr.strip()}")
    return done.stdout
