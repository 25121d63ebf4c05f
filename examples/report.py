"""What the parts of the demonstration share: headings, comparisons, timings and the list of files written."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

TIMING_ROUNDS = 7
# One timed round repeats a call for about this long, so that the clock's grain does not matter.
SECONDS_A_ROUND = 0.02


@dataclass
class Timing:
    """Medians over rounds in which the kernel and NumPy took turns."""

    name: str
    work: str
    te_seconds: float
    numpy_seconds: float


@dataclass
class Report:
    """Prints what happens, and keeps what the end of the demonstration needs."""

    folder: Path
    differences: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)

    def heading(self, text: str) -> None:
        print(f"\n{text}\n{'-' * len(text)}")

    def say(self, text: str) -> None:
        print(f"  {text}")

    def compare(
        self, name: str, got: np.ndarray, expected: np.ndarray, relative: float = 0.0, absolute: float = 0.0
    ) -> None:
        """Hold a result against one that NumPy or SciPy computed. Without tolerances, every bit counts.

        A tolerance is what the order of a floating-point sum and the last bits of `exp` may change.
        """
        if got.shape != expected.shape or got.dtype != expected.dtype:
            found = f"{got.dtype}{list(got.shape)}, not {expected.dtype}{list(expected.shape)}"
            self._differ(name, found)
            return
        if np.array_equal(got, expected, equal_nan=got.dtype.kind == "f"):
            self.say(f"{name:<34} equal")
            return
        distance = np.abs(got.astype(np.float64) - expected)
        excess = distance - (absolute + relative * np.abs(expected.astype(np.float64)))
        if np.all(excess <= 0):  # False for NaN
            self.say(f"{name:<34} equal within {distance.max():.1e}")
            return
        place = np.unravel_index(np.argmax(np.where(np.isnan(excess), np.inf, excess)), got.shape)
        at = ", ".join(map(str, place))
        self._differ(name, f"at [{at}] it is {got[place]}, and should be {expected[place]}")

    def require(self, name: str, holds: bool, found: str) -> None:
        """Note whether something else holds that the demonstration promises."""
        if holds:
            self.say(f"{name:<34} {found}")
        else:
            self._differ(name, found)

    def _differ(self, name: str, found: str) -> None:
        self.differences.append(f"{name}: {found}")
        self.say(f"{name:<34} DIFFERS: {found}")

    def wrote(self, path: Path) -> None:
        self.files.append(path)
        self.say(f"wrote {path}")

    def time(
        self, name: str, work: str, kernel: Callable[[], object], in_numpy: Callable[[], object]
    ) -> None:
        te_seconds, numpy_seconds = median_seconds([kernel, in_numpy])
        self.timings.append(Timing(name, work, te_seconds, numpy_seconds))

    def print_timings(self) -> None:
        print(f"  {'kernel':<18} {'on':<24} {'te':>10} {'NumPy':>10} {'NumPy / te':>11}")
        for t in self.timings:
            ratio = t.numpy_seconds / t.te_seconds
            row = f"  {t.name:<18} {t.work:<24} {shown_time(t.te_seconds):>10} "
            print(row + f"{shown_time(t.numpy_seconds):>10} {ratio:>10.2f}x")

    def close(self) -> int:
        """The last lines, and the exit status."""
        self.heading("Files")
        for path in self.files:
            self.say(str(path))
        self.heading("Result")
        if not self.differences:
            self.say("every result agrees with NumPy and SciPy")
            return 0
        self.say(f"{len(self.differences)} results differ:")
        for line in self.differences:
            self.say(f"- {line}")
        sys.stdout.flush()
        print("the demonstration failed", file=sys.stderr)
        return 1


def median_seconds(actions: Sequence[Callable[[], object]]) -> list[float]:
    """The median time of each action. They take turns, so that a busy machine slows all alike."""
    repeats = [_repeats(action) for action in actions]
    rounds: list[list[float]] = [[] for _ in actions]
    for _ in range(TIMING_ROUNDS):
        for action, count, seconds in zip(actions, repeats, rounds, strict=True):
            start = time.perf_counter()
            for _ in range(count):
                action()
            seconds.append((time.perf_counter() - start) / count)
    return [median(seconds) for seconds in rounds]


def _repeats(action: Callable[[], object]) -> int:
    action()  # the first call may allocate, compile or page in
    start = time.perf_counter()
    action()
    return max(1, int(SECONDS_A_ROUND / max(time.perf_counter() - start, 1e-7)))


def shown_time(seconds: float) -> str:
    """
    >>> shown_time(0.00123)
    '1.23 ms'
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
