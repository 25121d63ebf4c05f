"""What the emulator finds wrong with launches: plain data, and diagnostics for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from te.diagnostics import Diagnostic, Note, Span, render

__all__ = ["Actor", "EmulationError", "Finding"]


@dataclass(frozen=True, slots=True)
class Actor:
    """A thread that has part in a finding: what it did, and where."""

    kind: str  # read, write, atomic, copy; barrier, warp barrier; left: it has ended
    block: tuple[int, int, int]
    thread: tuple[int, int, int]
    line: int  # of the emitted source; 0 where it is not known
    text: str  # of that line
    span: Span | None  # where that comes from in a `.te` file

    @property
    def name(self) -> str:
        return f"thread {_point(self.thread)} of block {_point(self.block)}"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a kernel, seen in one run of it.

    `array` and `index` say where in the arrays it is: what lies outside has one index, in row-major order.
    `shared` is the place in shared memory, in bytes.
    """

    kind: str
    kernel: str
    array: str | None
    index: tuple[int, ...] | None
    shape: tuple[int, ...] | None
    shared: int | None
    bytes: int
    actors: tuple[Actor, ...]
    order: int  # of the threads, as in `Settings`
    detail: str = ""

    @property
    def place(self) -> str:
        """`C[1, 2]`, or which bytes of the shared memory."""
        if self.array is not None and self.index is not None:
            return f"`{self.array}[{', '.join(map(str, self.index))}]`"
        if self.shared is not None:
            return f"byte {self.shared} of the shared memory"
        return "memory that is no array's"

    @property
    def diagnostic(self) -> Diagnostic:
        """The finding for people, with the `.te` lines where they are known."""
        message = _MESSAGES[self.kind].format(
            place=self.place, kernel=self.kernel, bytes=self.bytes, detail=self.detail
        )
        notes = [
            Note(actor.span, f"{actor.name} {_DEEDS[actor.kind]}") for actor in self.actors if actor.span
        ]
        span, label = (notes[0].span, notes[0].label) if notes else (None, "")
        return Diagnostic(
            f"emulated-{self.kind.replace(' ', '-')}", message, span, label, self._help, tuple(notes[1:])
        )

    @property
    def _help(self) -> str:
        """Why it is wrong, and the lines of the emitted source."""
        lines = [self._reason] if self._reason else []
        for actor in self.actors:
            who = "" if actor.span else f"{actor.name} {_DEEDS[actor.kind]}: "
            where = f"line {actor.line} of `{self.kernel}`" if actor.line else f"in `{self.kernel}`"
            lines.append(f"{who}{where}{f': {actor.text}' if actor.text else ''}")
        return "\n".join(dict.fromkeys(lines))

    @property
    def _reason(self) -> str:
        match self.kind:
            case "race" if len({actor.block for actor in self.actors}) == 1:
                return "nothing orders them: a barrier between them is missing"
            case "race":
                return "blocks of one launch run at the same time, and nothing orders what they do"
            case "unwritten":
                return "no thread writes it, in any launch"
        return ""


class EmulationError(RuntimeError):
    """Kernels did what would go wrong on a GPU; `findings` has it as data, `diagnostics` as messages.

    This is not the fault of the caller's arrays: te emitted these kernels.
    """

    def __init__(self, findings: Sequence[Finding]):
        self.findings = tuple(findings)
        self.diagnostics = tuple(finding.diagnostic for finding in findings)
        super().__init__("\n\n".join(map(render, self.diagnostics)))


def _point(index: tuple[int, int, int]) -> str:
    return f"({', '.join(map(str, index))})"


_DEEDS = {
    "read": "reads it",
    "write": "writes it",
    "copy": "copies it asynchronously, and has not waited for that",
    "atomic": "changes it by an atomic operation",
    "barrier": "waits at a barrier",
    "warp barrier": "waits for lanes of its warp",
    "left": "has ended",
    "other": "is here",
}


_MESSAGES = {
    "race": "two threads use {place} at the same time, and one of them writes it",
    "uninitialized": "{place} is read, and was never written",
    "unfinished copy": "{place} is used while an asynchronous copy of it is under way",
    "order": "{place} depends on the order in which the threads run",
    "unwritten": "{place}, part of a result, is never written",
    "out of bounds": "{place} is accessed, which lies outside",
    "write to an input": "{place} is written, and it is an input",
    "misaligned": "{place} is accessed as {bytes} bytes at once, and its address is no multiple of that",
    "divergent barrier": "threads of one block wait at different barriers",
    "divergent warp": "lanes of one warp wait for each other at different places",
    "part of a warp": "an instruction of a whole warp is run by fewer than 32 lanes",
    "lane not in its mask": "a lane waits for a mask of lanes that it is not in",
    "shuffle from no lane": "a lane takes a value from a lane that gives none",
    "deadlock": "no thread of the block can go on: all wait for others",
    "time limit": "`{kernel}` does not end within the time limit",
    "division by zero": "an integer is divided by zero",
    "index outside its array": "an index is outside of its array",
    "stack overflow": "the arrays of one thread need more than its stack",
    "impossible launch": "`{kernel}` cannot be launched: {detail}",
    "trap": "`{kernel}` stops by a trap",
}
