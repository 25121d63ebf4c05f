"""Asynchronous copies, made as late as the rules allow: by the `Wait` that asks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from te.backends.interp.arithmetic import Value
from te.backends.interp.memory import Memory

Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Copy:
    """An element of `target` becomes what `read` then gives for these arguments."""

    target: Memory
    index: Index
    read: Callable[..., Value]
    arguments: tuple[Value, ...]


@dataclass(slots=True)
class Copies:
    """The copies under way. Threads run one after the other here, so that they can have one queue together."""

    begun: list[_Copy] = field(default_factory=list)  # since the last group was closed
    groups: list[list[_Copy]] = field(default_factory=list)

    def begin(self, target: Memory, index: Index, read: Callable[..., Value], *arguments: Value) -> None:
        """Nobody may read the element until the copy is waited for."""
        target.forget(*index)
        self.begun.append(_Copy(target, index, read, arguments))

    def commit(self) -> None:
        self.groups.append(self.begun)
        self.begun = []

    def wait(self, pending: int) -> None:
        """Make all copies but those of the last `pending` groups."""
        done = len(self.groups) - pending
        for group in self.groups[: max(done, 0)]:
            for copy in group:
                copy.target.store(*copy.index, copy.read(*copy.arguments))
        self.groups = self.groups[max(done, 0) :]


def given(value: Value) -> Value:
    """What an element is filled with that is copied from nowhere."""
    return value
