"""Results as data: what a row of JSON says, files of them, and two of them compared."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from measure import Times
from verdict import ratio_to_fastest, verdict

FORMAT = 1
# Of the cores that are measured, taken by others: say so; give no verdict.
DISTURBED, TOO_DISTURBED = 0.1, 0.25
Json = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A measured workload, as its line of JSON says it; `costs` have no peers but a time that they may take."""

    data: Json

    @property
    def name(self) -> str:
        return self.data["name"]

    @property
    def group(self) -> str:
        return self.data["group"]

    @property
    def threads(self) -> int:
        return self.data["threads"]

    @property
    def key(self) -> tuple[str, str, int]:
        return self.group, self.name, self.threads

    @property
    def error(self) -> str | None:
        return self.data.get("error")

    @property
    def is_cost(self) -> bool:
        return "at_most" in self.data

    @property
    def times(self) -> Times:
        return Times(tuple(self.data["seconds"]))

    @property
    def peers(self) -> dict[str, Times]:
        return {name: Times(tuple(rounds)) for name, rounds in self.data.get("peers", {}).items()}

    @property
    def ratio(self) -> float | None:
        """The fastest peer's median over te's."""
        found = self.fastest
        return None if found is None else found[0]

    @property
    def fastest(self) -> tuple[float, str] | None:
        if self.error:
            return None
        seconds = self.times.median
        slow = {name: times * seconds for name, times in self.data.get("slow", {}).items()}
        return ratio_to_fastest(seconds, {n: t.median for n, t in self.peers.items()} or slow)

    @property
    def limit(self) -> tuple[float, str] | None:
        """The seconds that the machine would need at best, and what holds it up: the roofline."""
        limits = {name: median(rounds) for name, rounds in self.data.get("limits", {}).items()}
        if not limits or self.error:
            return None
        name = max(limits, key=limits.__getitem__)
        return limits[name], name

    @property
    def share(self) -> float | None:
        """How much of the machine's limit te reaches."""
        return None if self.limit is None else self.limit[0] / self.times.median

    @property
    def rate(self) -> str:
        """In the unit of its limit."""
        if self.limit is None:
            return ""
        seconds = self.times.median
        if self.limit[1] == "arithmetic":
            return f"{self.data['flops'] / seconds / 1e9:.0f} {'Gop/s' if self.data['kind'] == 'int8' else 'GFLOP/s'}"
        return f"{self.data['bytes'] / seconds / 1e9:.1f} GB/s"

    @property
    def disturbance(self) -> str:
        """A remark where others took much of the cores."""
        share = self.data.get("others", 0.0)
        return f"others took {share:.0%}" if share >= DISTURBED else ""

    @property
    def verdict(self) -> str:
        if self.error:
            return f"failed: {self.error}"
        if self.is_cost:
            return cost_verdict(self.times.median, self.data["at_most"])
        found = verdict(
            self.ratio, self.data["floor"], self.data["strongest"], self.peers, self.data.get("slow", ())
        )
        if self.data.get("others", 0.0) >= TOO_DISTURBED and not found.startswith("not"):
            return "disturbed" + found[found.index(" ") :]
        return found


def cost_verdict(seconds: float, at_most: float | None) -> str:
    """
    >>> cost_verdict(1e-6, 2e-6)
    'met (at most 2 µs)'
    """
    from measure import shown

    if at_most is None:
        return ""
    return f"{'met' if seconds <= at_most else 'short'} (at most {shown(at_most)})"


# ---------------------------------------------------------------- files


def document(rows: Sequence[Json], limits: Json, versions: Json, date: str) -> Json:
    """What a file holds."""
    return {
        "format": FORMAT,
        "date": date,
        "machine": processor(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": versions,
        "limits": limits,
        "rows": list(rows),
    }


def load(paths: Iterable[Path]) -> Json:
    """One file, or several whose rows are put together; later ones win."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    for path, each in zip(paths, documents, strict=True):
        if each.get("format") != FORMAT:
            raise ValueError(f"{path}: not a file of results of format {FORMAT}")
    rows = {Row(data).key: data for each in documents for data in each["rows"]}
    limits = {threads: table for each in documents for threads, table in each["limits"].items()}
    versions = {name: version for each in documents for name, version in each["versions"].items()}
    return {**documents[-1], "rows": list(rows.values()), "limits": limits, "versions": versions}


def processor() -> str:
    """The CPU's type, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    family = f", family {names['cpu family']} model {names['model']}" if "cpu family" in names else ""
    return names.get("model name", "unknown CPU") + family


# ---------------------------------------------------------------- two commits


@dataclass(frozen=True)
class Change:
    """What became of a row: the old time over the new one, and whether that is beyond the noise."""

    row: Row
    speedup: float
    is_clear: bool


def compare(old: Json, new: Json) -> list[Change]:
    """How much faster each row has become that both have.

    Machines differ from day to day, so a row's time counts beside that of its peers and limits in the
    same run, where both runs have them: `speedup` is the change of te's time over the median change of
    theirs. It is clear where it is more than 5%, and more than the quartiles of both runs are apart.
    """
    before = {Row(data).key: Row(data) for data in old["rows"] if not data.get("error")}
    pairs = [(before[r.key], r) for r in map(Row, new["rows"]) if r.key in before and not r.error]
    return [_change(a, b) for a, b in pairs]


def _change(old: Row, new: Row) -> Change:
    machine = _machine_change(old, new)
    speedup = old.times.median / new.times.median / machine
    spread = sum((t.quartiles[1] - t.quartiles[0]) / t.median for t in (old.times, new.times))
    return Change(new, speedup, abs(speedup - 1) > max(0.05, spread))


def _machine_change(old: Row, new: Row) -> float:
    """How much faster what is not te has become: the machine, and its neighbours."""
    then = {n: t.median for n, t in old.peers.items()} | {
        n: median(t) for n, t in old.data.get("limits", {}).items()
    }
    now = {n: t.median for n, t in new.peers.items()} | {
        n: median(t) for n, t in new.data.get("limits", {}).items()
    }
    changes = [then[name] / now[name] for name in then.keys() & now.keys() if name != "written"]
    return median(changes) if changes else 1.0
