"""What te itself costs, in seconds: calls, builds from text and from the cache, imports."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import compile_time
import numpy as np
from measure import QUICK, Plan, Times, interleaved, timed
from workload import ROOT

import te

Json = dict[str, Any]
HERE = Path(__file__).parent


def rows(wanted: Sequence[str], quick: bool, done: set[tuple[str, str]]) -> Iterator[Json]:
    """The rows of the wanted groups, or of all."""
    plan = QUICK if quick else Plan(rounds=9)
    for group, measure in GROUPS.items():
        if (not wanted or group in wanted) and not (quick and not wanted and group in SLOW):
            yield from (row for row in measure(plan) if (row["group"], row["name"]) not in done)


def cost(
    group: str,
    name: str,
    times: Times,
    at_most: float | None = None,
    aim: float | None = None,
    **beside: Times,
) -> Json:
    """A row without a floor of speed but with a time that it may take."""
    return {
        "name": name,
        "group": group,
        "threads": 1,
        "seconds": list(times.rounds),
        "at_most": at_most,
        "aim": aim,
        "peers": {title.replace("_", " "): list(t.rounds) for title, t in beside.items()},
    }


# ---------------------------------------------------------------- calls


def calls(plan: Plan) -> Iterator[Json]:
    add = te.build(HERE / "rows.te", op="add")
    a, b, c = (np.arange(16, dtype=np.float32) for _ in range(3))
    out = np.empty_like(a)
    bound = add.bind(C=c)
    times = interleaved(
        {
            "call": lambda: add(a, b, c),
            "out": lambda: add(a, b, c, out=out),
            "bound": lambda: bound(a, b),
            "NumPy": lambda: a + b + c,
        },
        plan,
    )
    numpy = {"NumPy": times["NumPy"]}
    yield cost("calls", "three arrays of 16, all checks", times["call"], 2e-6, 1e-6, **numpy)
    yield cost("calls", "the same with out=", times["out"], 2e-6, 1e-6, **numpy)
    yield cost("calls", "the same, one of them bound", times["bound"], 2e-6, 1e-6, **numpy)


# ---------------------------------------------------------------- builds


def builds(plan: Plan) -> Iterator[Json]:
    """Every op of the standard library, from text to code and from the cache; the slowest first."""
    found = [_built(op, max(3, plan.rounds // 3)) for op in std_ops()]
    for rows in zip(*found, strict=True):
        yield from sorted(rows, key=lambda row: -min(row["seconds"]))


def _built(op: te.Op, rounds: int) -> tuple[Json, Json]:
    cold, cached = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            with cache_in("0"):
                cold.append(timed(lambda: build_std(op)))
            with cache_in(folder):
                build_std(op)
                cached.append(timed(lambda: build_std(op)))
    name = f"{Path(op.module.name).stem}.{op.name}"
    return (
        cost("compile", name, Times(tuple(cold)), 0.150, 0.060),
        cost("cached", name, Times(tuple(cached)), 0.005, 0.001),
    )


def std_ops() -> list[te.Op]:
    return [op for name in te.std.names() for op in getattr(te.std, name)]


def build_std(op: te.Op) -> object:
    """Build an op with the constants of the example in its doc text; where calls decide dtype and rank, f32 and 1."""
    example = re.search(rf"^    ({op.name}\(.*?)\s+-> ", re.sub(r"\n      +", " ", op.doc), re.MULTILINE)
    call = ast.parse(example[1], mode="eval").body if example else None
    given = {k.arg: ast.unparse(k.value) for k in call.keywords} if isinstance(call, ast.Call) else {}
    consts = {n: eval(v, {"__builtins__": {}}, {"true": True, "false": False}) for n, v in given.items()}
    return te.build(op, consts=consts)


@contextmanager
def cache_in(folder: str) -> Iterator[None]:
    """The cache of kernels in that folder; `0` is none."""
    before = os.environ.get("TE_CACHE_DIR")
    os.environ["TE_CACHE_DIR"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["TE_CACHE_DIR"]
        else:
            os.environ["TE_CACHE_DIR"] = before


# ---------------------------------------------------------------- phases, imports


def phases(plan: Plan) -> Iterator[Json]:
    """What a build of a written schedule is spent on."""
    for op, file in (("matmul", "matmul.te"), ("softmax", "rows.te")):
        actions = compile_time.phases((HERE / file).read_text(encoding="utf-8"), op)
        for action in actions.values():
            action()
        for phase, times in interleaved(actions, plan).items():
            yield cost("phases", f"{op}: {phase}", times)


def imports(plan: Plan) -> Iterator[Json]:
    """What `import te` and a first build cost in a new process, beyond starting Python."""
    build = f"import te; te.build({str(HERE / 'matmul.te')!r})"
    with tempfile.TemporaryDirectory() as folder:
        run_python(build, folder)
        times = interleaved(
            {
                "nothing": lambda: run_python("pass"),
                "te": lambda: run_python("import te"),
                "numpy": lambda: run_python("import numpy"),
                "build": lambda: run_python(build),
                "cached": lambda: run_python(build, folder),
            },
            replace(plan, budget=20.0),
        )
    base = times.pop("nothing").rounds
    over = {
        name: Times(tuple(t - b for t, b in zip(each.rounds, base, strict=True)))
        for name, each in times.items()
    }
    yield cost("import", "import te", over["te"], 0.3, import_numpy=over["numpy"])
    yield cost("import", "import te, build a product", over["build"], from_the_cache=over["cached"])


def run_python(code: str, cache: str = "0") -> None:
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "TE_CACHE_DIR": cache}, cwd=ROOT
    )


GROUPS: dict[str, Callable[[Plan], Iterator[Json]]] = {
    "calls": calls,
    "compile": builds,
    "phases": phases,
    "import": imports,
}
SLOW = {"compile", "import", "phases"}
