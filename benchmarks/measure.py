"""Measuring two things against each other, so that what a busy machine does to one it does to both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

ROUNDS = 15
# One measurement repeats its action for about so long.
SECONDS_A_MEASUREMENT = 0.02


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is the peer's median over te's, from the same rounds."""

    name: str
    seconds: float
    best: float
    peer: str = ""
    peer_seconds: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.peer_seconds is None else self.peer_seconds / self.seconds


def versus(
    name: str,
    action: Callable[[], object],
    peer: str = "",
    peer_action: Callable[[], object] | None = None,
    note: str = "",
) -> Row:
    """The median time of an action, and of its peer in rounds where the two take turns."""
    actions = [action] if peer_action is None else [action, peer_action]
    rounds = interleaved(actions)
    medians = [median(times) for times in rounds]
    return Row(name, medians[0], min(rounds[0]), peer, medians[1] if peer_action else None, note)


def interleaved(actions: Sequence[Callable[[], object]]) -> list[list[float]]:
    """Seconds a call, of every action in every round."""
    repeats = [_repeats(action) for action in actions]
    rounds: list[list[float]] = [[] for _ in actions]
    for _ in range(ROUNDS):
        for action, count, times in zip(actions, repeats, rounds, strict=True):
            times.append(_timed(action, count))
    return rounds


def _repeats(action: Callable[[], object]) -> int:
    action()  # the first call may compile, allocate and page in
    once = max(_timed(action, 1), 1e-8)
    # What is much shorter than the clock's grain is timed in bulk before its number is chosen.
    once = once if once > 1e-4 else _timed(action, 100)
    return max(1, round(SECONDS_A_MEASUREMENT / once))


def _timed(action: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        action()
    return (time.perf_counter() - start) / count


def shown(seconds: float) -> str:
    """
    >>> shown(0.00123), shown(2.5e-6)
    ('1.23 ms', '2.5 µs')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def print_table(rows: Sequence[Row]) -> None:
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}}  {'median':>9}  {'best':>9}  {'peer':>9}  peer / te")
    for row in rows:
        line = f"{row.name:{width}}  {shown(row.seconds):>9}  {shown(row.best):>9}"
        if row.ratio is not None and row.peer_seconds is not None:
            line += f"  {shown(row.peer_seconds):>9}  {row.ratio:8.2f}x {row.peer}"
        print(f"{line}  {row.note}".rstrip())
