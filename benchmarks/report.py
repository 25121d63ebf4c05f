"""Rows as text: while they are measured, as a summary, as tables for the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from measure import shown
from results import Change, Json, Row
from verdict import TITLES, geometric_mean, rounded_down

SHORT = {
    "numpy": "numpy",
    "torch": "torch",
    "compile": "compile",
    "onnxruntime": "ort",
    "openvino": "ov",
    "jax": "jax",
    "halide": "halide",
    "tvm": "tvm",
}
NAME_WIDTH = 40
# The floor of the geometric mean, for groups that have one; none of their rows may be under its own.
MEAN_FLOORS = {"conv": 1.0, "depthwise": 1.0}


def print_row(data: Json, with_heading: bool) -> None:
    row = Row(data)
    if with_heading:
        print(f"\n{row.group}, {_threads(row.threads)}", flush=True)
    print(line(row), flush=True)


def line(row: Row) -> str:
    """
    A row for the terminal: time, rate, share of the machine's limit, verdict, and the peers' time over te's.
    """
    if row.error:
        return f"  {row.name:{NAME_WIDTH}} {row.verdict}"
    share = f"{row.share:.0%}" if row.share is not None else ""
    start = f"  {row.name:{NAME_WIDTH}} {shown(row.times.median):>8} {row.rate:>13} {share:>5}"
    return f"{start}  {row.verdict:32} {_ratios(row)}  {row.disturbance}".rstrip()


def _ratios(row: Row) -> str:
    if row.is_cost:
        return "  ".join(f"{name} {shown(times.median)}" for name, times in row.peers.items())
    parts = [f"{SHORT.get(n, n)} {rounded_down(t.median / row.times.median)}" for n, t in row.peers.items()]
    parts += [f"{SHORT.get(n, n)} {times:.0f} (once)" for n, times in row.data.get("slow", {}).items()]
    parts += [f"{SHORT.get(n, n)} failed" for n in row.data.get("failed", {})]
    return "  ".join(parts)


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def print_limits(limits: dict[str, float], threads: int) -> None:
    """What the machine gives at best."""
    print(f"\nthe machine's limits, {_threads(threads)}")
    for name, value in limits.items():
        print(f"  {name:{NAME_WIDTH}} {value / 1e9:8.1f} {'G op/s' if 'arithmetic' in name else 'GB/s'}")


def print_summary(document: Json) -> None:
    """Each group: how many rows meet their floor, and the geometric mean of the ratios."""
    print("\nsummary")
    for (group, threads), rows in grouped(document):
        print(f"  {group + ', ' + _threads(threads):{NAME_WIDTH}} {summary(rows)}")
    failed = {
        f"{TITLES.get(n, n)}: {row.name}: {why}"
        for row in map(Row, document["rows"])
        for n, why in row.data.get("failed", {}).items()
    }
    if failed:
        print("\npeers that could not run a workload")
        print("\n".join(f"  {line}" for line in sorted(failed)))


def grouped(document: Json) -> list[tuple[tuple[str, int], list[Row]]]:
    """The rows of each group and number of threads, in the order in which they came."""
    found: dict[tuple[str, int], list[Row]] = {}
    for row in sorted(map(Row, document["rows"]), key=lambda row: row.threads):
        found.setdefault((row.group, row.threads), []).append(row)
    return list(found.items())


def summary(rows: Sequence[Row]) -> str:
    verdicts = [row.verdict.split(" ")[0] for row in rows]
    counts = [(verdicts.count("met"), "met"), (verdicts.count("short"), "short")]
    counts += [(verdicts.count("disturbed"), "disturbed"), (verdicts.count("not"), "not compared")]
    counts += [(verdicts.count("failed:"), "failed")]
    text = ", ".join(f"{count} {what}" for count, what in counts if count)
    ratios = [
        row.ratio
        for row in rows
        if row.ratio is not None and not row.is_cost and not row.verdict.startswith("not")
    ]
    if not ratios:
        return text
    mean = geometric_mean(ratios)
    floor = MEAN_FLOORS.get(rows[0].group)
    asked = "" if floor is None else f" ({'met' if mean >= floor else 'short'}, floor {floor:.2f})"
    return f"{text}; geometric mean {rounded_down(mean)}{asked}"


def print_comparison(changes: Sequence[Change], old_date: str) -> None:
    """What became faster or slower beyond the noise."""
    clear = sorted((c for c in changes if c.is_clear), key=lambda c: c.speedup)
    print(f"\nsince {old_date}: {len(clear)} of {len(changes)} rows changed beyond the noise")
    for change in clear:
        word = "faster" if change.speedup > 1 else "slower"
        factor = max(change.speedup, 1 / change.speedup)
        label = f"{change.row.group}: {change.row.name}, {_threads(change.row.threads)}"
        print(f"  {label:{NAME_WIDTH + 20}} {factor:.2f} times {word}")


# ---------------------------------------------------------------- Markdown


def markdown(document: Json) -> str:
    """docs/benchmarks.md: a summary, the limits, and all rows."""
    lines = [MARKDOWN_HEAD]
    lines += [
        f"{document['machine']}, {document['system']}, {document['date'][:10]}. {_versions(document['versions'])}."
    ]
    lines += [
        "",
        "## Summary",
        "",
        *_summary_table(document),
        "",
        "## The machine's limits",
        "",
        *_limits_table(document),
    ]
    lines += ["", "## All rows"]
    for (group, threads), rows in grouped(document):
        lines += ["", f"### {group}, {_threads(threads)}", "", f"{summary(rows)}.", ""]
        lines += _cost_table(rows) if rows[0].is_cost else _table(rows)
    return "\n".join(lines) + "\n"


MARKDOWN_HEAD = """\
# Benchmarks: all rows

Written by `make bench ARGS="--show FILE.json --markdown docs/benchmarks.md"`; [performance.md](performance.md) says how
it is measured, and what the figures mean. A peer's column has its median time over te's in the same rounds: above 1,
te is faster; the fastest peer is in bold. Whole numbers: it took so many times as long in three single calls.
"""


def _summary_table(document: Json) -> list[str]:
    lines = [
        "| group | threads | verdicts | geometric mean of the ratio to the fastest peer | least | most |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (group, threads), rows in grouped(document):
        verdicts, _, mean = summary(rows).partition("; geometric mean ")
        ratios = [row.ratio for row in rows if row.ratio is not None and not row.is_cost]
        least, most = (rounded_down(f(ratios)) if ratios else "" for f in (min, max))
        lines.append(f"| {group} | {threads} | {verdicts} | {mean} | {least} | {most} |")
    return lines


def _limits_table(document: Json) -> list[str]:
    limits = document["limits"]
    counts = sorted(limits, key=int)
    names = list(dict.fromkeys(name for count in counts for name in limits[count]))
    lines = ["| G operations or GB a second | " + " | ".join(_threads(int(c)) for c in counts) + " |"]
    lines.append("| --- |" + " --- |" * len(counts))
    for name in names:
        cells = [f"{limits[c][name] / 1e9:.0f}" if name in limits[c] else "" for c in counts]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{TITLES.get(name, name)} {version}" for name, version in versions.items())


def _table(rows: Sequence[Row]) -> list[str]:
    used = [
        n
        for n in [*TITLES, "written", "next multiple"]
        if any(n in {**r.peers, **r.data.get("slow", {})} for r in rows)
    ]
    lines = [
        "| | te | rate | of limit | verdict | " + " | ".join(TITLES.get(n, n) for n in used) + " |",
        "| --- | --- | --- | --- | --- |" + " --- |" * len(used),
    ]
    return lines + [_table_line(row, used) for row in rows]


def _table_line(row: Row, used: Sequence[str]) -> str:
    if row.error:
        return f"| {row.name} | | | | {row.verdict} |" + " |" * len(used)
    fastest = row.fastest[1] if row.fastest else None
    cells = [_cell(row, name, name == fastest) for name in used]
    share = f"{row.share:.0%}" if row.share is not None else ""
    start = [row.name, shown(row.times.median), row.rate, share, row.verdict]
    return "| " + " | ".join([*start, *cells]) + " |"


def _cell(row: Row, name: str, is_fastest: bool) -> str:
    if name in row.peers:
        ratio = rounded_down(row.peers[name].median / row.times.median)
        return f"**{ratio}**" if is_fastest else ratio
    slow = row.data.get("slow", {}).get(name)
    return f"{slow:.0f}" if slow else ""


def _cost_table(rows: Sequence[Row]) -> list[str]:
    lines = ["| | median | verdict | beside |", "| --- | --- | --- | --- |"]
    for row in rows:
        beside = ", ".join(f"{name} {shown(times.median)}" for name, times in row.peers.items())
        lines.append(f"| {row.name} | {shown(row.times.median)} | {row.verdict} | {beside} |")
    return lines
