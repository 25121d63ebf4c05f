"""Who else uses the machine while something is measured: figures from a shared one are worth less."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Others:
    """What other processes, and other virtual machines, take of the machine's cores from now on."""

    def __init__(self) -> None:
        self._before = _clocks()

    def share(self, threads: int) -> float:
        """Since this object was made, of as many cores as this process uses; 0 where the system does not tell.

        Cores that are spare count for others first.
        """
        wall, own, everyone = (now - then for now, then in zip(_clocks(), self._before, strict=True))
        if wall <= 0 or not everyone:
            return 0.0
        spare = (os.cpu_count() or 1) - threads
        return max(0.0, (everyone - own) / wall - spare) / threads


def _clocks() -> tuple[float, float, float]:
    """Seconds: on the wall, of this process and its children, of all processes and virtual machines."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return time.perf_counter(), own, _everyone()


def _everyone() -> float:
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, interrupt, soft, steal = map(int, fields[:8])
    return (user + nice + system + interrupt + soft + steal) / os.sysconf("SC_CLK_TCK")
