"""NVRTC, NVIDIA's compiler as a library, through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from te.backends.cuda.toolkit import find_library

__all__ = ["NVRTC", "Compiled", "Refused", "load_nvrtc"]


class Refused(Exception):
    """The compiler refused the text. The message is what it printed."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A text's machine code, and its PTX where the compiler keeps it; `log` is what the compiler printed."""

    cubin: bytes
    ptx: str
    log: str


class NVRTC:
    """The library at a path. Raises OSError where it cannot be loaded."""

    def __init__(self, path: str):
        self._library = ctypes.CDLL(path)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = f"{major.value}.{minor.value}"

    def __str__(self) -> str:
        return f"NVRTC {self.version}"

    def compile(self, text: str, name: str, options: Sequence[str]) -> Compiled:
        """CUDA C++ to machine code; `name` is what messages call the text. Raises Refused."""
        program = ctypes.c_void_p()
        self._check(
            self._library.nvrtcCreateProgram(
                ctypes.byref(program), text.encode(), name.encode(), 0, None, None
            )
        )
        try:
            words = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
            outcome = self._library.nvrtcCompileProgram(program, len(options), words)
            log = self._part(program, "ProgramLog").rstrip(b"\0 \n").decode(errors="replace")
            if outcome:
                raise Refused(log or self._error(outcome))
            ptx = self._part(program, "PTX").rstrip(b"\0").decode()
            return Compiled(self._part(program, "CUBIN"), ptx, log)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _part(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        memory = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, f"nvrtcGet{what}")(program, memory))
        return memory.raw

    def _check(self, outcome: int) -> None:
        if outcome:
            raise RuntimeError(f"NVRTC failed: {self._error(outcome)}")

    def _error(self, outcome: int) -> str:
        return str(self._library.nvrtcGetErrorString(outcome).decode())


@cache
def load_nvrtc() -> NVRTC | None:
    """This machine's NVRTC; None where there is none that can be loaded."""
    path = find_library("nvrtc")
    try:
        # Without a file that was found, the loader may know one.
        return NVRTC(str(path) if path else "libnvrtc.so")
    except OSError:
        return None
