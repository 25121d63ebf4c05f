"""Measuring things against each other, so that what a busy machine does to one it does to all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

WAKING = (
    0.03  # seconds of calls, until helpers run on cores of their own: at first they may share the caller's
)


@dataclass(frozen=True)
class Plan:
    """How much is measured: `rounds`, in each of which every action is repeated for about `seconds`.

    A workload takes about `budget` seconds in all, at the price of rounds, of which there are three at least.
    Where several threads take part, each action begins once the process has been `quiet`, for at most that many
    seconds: helpers of some libraries wait in a loop after their work (OpenBLAS's for 0.15 s), and must not
    do so in somebody else's time.
    """

    rounds: int = 9
    seconds: float = 0.02
    budget: float = 2.5
    quiet: float = 0.0


QUICK = Plan(rounds=3, seconds=0.005, budget=0.6)


@dataclass(frozen=True)
class Times:
    """Seconds a call, in each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.rounds)

    @property
    def best(self) -> float:
        return min(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.rounds) < 2:
            return self.rounds[0], self.rounds[0]
        low, _, high = quantiles(self.rounds, n=4, method="inclusive")
        return low, high


def interleaved(actions: Mapping[str, Callable[[], object]], plan: Plan) -> dict[str, Times]:
    """All actions, in turns; each was called before, so that it has compiled and allocated what it needs."""
    once = {}
    for name, action in actions.items():
        wait_until_quiet(plan.quiet)
        once[name] = _once(action)
    counts = {name: max(1, round(plan.seconds / seconds)) for name, seconds in once.items()}
    a_round = sum(
        count * once[name] + (WAKING + once[name] if plan.quiet else 0) for name, count in counts.items()
    )
    rounds = max(3, min(plan.rounds, round(plan.budget / a_round)))
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            wait_until_quiet(plan.quiet)
            if plan.quiet:
                timed(action, max(1, round(WAKING / once[name])))
            elif once[name] < plan.seconds / 4:
                action()  # with its own data in the cache again
            times[name].append(timed(action, counts[name]))
    return {name: Times(tuple(seconds)) for name, seconds in times.items()}


def wait_until_quiet(most: float) -> None:
    """Until no thread of this process computes any more; `most` seconds at most."""
    window = 0.01  # two ticks of the clock by which Linux counts what another core does
    end = time.perf_counter() + most
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(window)
        if time.process_time() - before < 0.1 * window:
            return


def timed(action: Callable[[], object], count: int = 1) -> float:
    """Seconds a call, of `count` calls in a row."""
    start = time.perf_counter()
    for _ in range(count):
        action()
    return (time.perf_counter() - start) / count


def _once(action: Callable[[], object]) -> float:
    """What a call takes, roughly. What is much shorter than the clock's grain is timed in bulk."""
    seconds = min(timed(action), timed(action))
    return max(seconds if seconds > 1e-4 else timed(action, 100), 1e-8)


def shown(seconds: float) -> str:
    """
    >>> shown(0.00123), shown(2.5e-6)
    ('1.23 ms', '2.5 µs')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
