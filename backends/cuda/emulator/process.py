"""The emulator's process: started once, given requests one after the other, started anew after a crash."""

from __future__ import annotations

import json
import mmap
import os
import selectors
import subprocess
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from te.backends.cuda.emulator.toolchain import emulator_program

__all__ = ["Answer", "ArrayRequest", "Request", "emulator"]

ROLES = ("input", "output", "workspace", "state")  # `Role` in runtime/memory.h
ALIGNMENT = 16
KEPT_BYTES = 64 << 20  # of the file, between requests
GRACE = 5.0  # seconds that the process has to tell of its time limit

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ArrayRequest:
    """An array of a request: `data` goes in unless it is an output, and comes back unless it is an input.

    A workspace has no data: it lives as long as the request.
    """

    role: str
    bytes: int
    data: Bytes | None


@dataclass(frozen=True, slots=True)
class Request:
    arrays: Sequence[ArrayRequest]
    launches: Sequence[str]  # lines as runtime/main.cpp reads them
    is_checked: bool
    order: int
    are_copies_late: bool
    seconds: float
    most_findings: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, as the process said it; `is_done`: all launches ran to their end."""

    findings: list[dict[str, Any]]
    is_done: bool
    errors: str  # what the process wrote beside, where it ended


class _Process:
    """The process and the file in which it shares arrays with this one. One request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file = os.memfd_create("te-emulator")
        self._child: subprocess.Popen[str] | None = None
        weakref.finalize(self, os.close, self._file)

    def run(self, request: Request) -> Answer:
        with self._lock:
            places = self._send_arrays(request)
            child = self._running_child()
            assert child.stdin is not None
            try:
                child.stdin.write("\n".join(_lines(request, places)) + "\n")
                child.stdin.flush()
            except BrokenPipeError:
                pass  # it ended early, and says why
            answer = self._answer(child, request)
            if answer.is_done or answer.findings:
                self._take_arrays(request, places)
            if os.fstat(self._file).st_size > KEPT_BYTES:
                os.truncate(self._file, 0)  # it is memory, and the process has unmapped it
            return answer

    def _running_child(self) -> subprocess.Popen[str]:
        if self._child is None:
            self._child = subprocess.Popen(
                [str(emulator_program()), str(self._file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[self._file],
                text=True,
            )
        return self._child

    def _answer(self, child: subprocess.Popen[str], request: Request) -> Answer:
        findings: list[dict[str, Any]] = []
        for line in _lines_until(child, time.monotonic() + request.seconds + GRACE):
            said = json.loads(line)
            if "done" in said:
                return Answer(findings, said["done"] == len(request.launches), "")
            findings.append(said)
        # It has ended by itself, or does not answer any more.
        self._child = None
        child.kill()
        _, errors = child.communicate()
        if not findings and not errors:
            findings.append({"finding": "time limit", "launch": 0, "actors": []})
        return Answer(findings, False, errors)

    # ------------------------------------------------------------ arrays

    def _send_arrays(self, request: Request) -> list[int]:
        """Where each array's pages begin in the file, which has the contents of those that have any."""
        places, end = [], 0
        for a in request.arrays:
            places.append(end)
            end += _mapped(a.bytes)
        if os.fstat(self._file).st_size < end:
            os.truncate(self._file, end)
        for a, place in zip(request.arrays, places, strict=True):
            if a.data is not None and a.role != "output":
                _write(self._file, a.data, place + _margin(a.bytes))
        return places

    def _take_arrays(self, request: Request, places: Sequence[int]) -> None:
        for a, place in zip(request.arrays, places, strict=True):
            if a.data is not None and a.role != "input":
                _read(self._file, a.data, place + _margin(a.bytes))


def _lines(request: Request, places: Sequence[int]) -> list[str]:
    words = [int(request.is_checked), request.order, int(request.are_copies_late), f"{request.seconds:.3f}"]
    head = " ".join(map(str, ["begin", *words, request.most_findings]))
    arrays = [
        f"array {place} {a.bytes} {ROLES.index(a.role)}"
        for a, place in zip(request.arrays, places, strict=True)
    ]
    return [head, *arrays, *request.launches, "end"]


def _lines_until(child: subprocess.Popen[str], deadline: float) -> Any:
    """The lines of its output, until it ends or the time is over."""
    assert child.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        rest = b""
        while selector.select(max(0.0, deadline - time.monotonic())):
            some = os.read(child.stdout.fileno(), 1 << 16)
            if not some:
                return
            *lines, rest = (rest + some).split(b"\n")
            yield from lines


def _mapped(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def _margin(size: int) -> int:
    """How far behind the beginning of its pages an array begins: it ends where they do, as far as alignment lets it."""
    return (_mapped(size) - size) // ALIGNMENT * ALIGNMENT


def _write(file: int, data: Bytes, offset: int) -> None:
    rest = data.data
    while rest.nbytes:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def _read(file: int, data: Bytes, offset: int) -> None:
    rest = data.data
    while rest.nbytes:
        count = os.preadv(file, [rest], offset)
        rest, offset = rest[count:], offset + count


_process: tuple[int, _Process] | None = None


def emulator() -> _Process:
    """This process's emulator: the child of a fork starts another."""
    global _process
    if _process is None or _process[0] != os.getpid():
        _process = (os.getpid(), _Process())
    return _process[1]
