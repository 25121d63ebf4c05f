"""`te check --races`: schedules on GPUs, written and automatic, run by the emulator under several orders of threads."""

from __future__ import annotations

from collections.abc import Iterator

from te.backends.cuda.unavailable import CudaUnavailable
from te.cli.failures import Usage
from te.diagnostics import Diagnostic
from te.module import load
from te.watch.races import ORDERS, Examined, examine, ops_for_gpus


def races_of(file: str, *, is_told: bool) -> Iterator[Diagnostic]:
    """Run every op of a file on an emulated GPU, and say what is wrong; `is_told`: and what was run.

    An op that has no schedule there runs with the automatic one, unless it needs a `const`. Raises Usage without g++,
    and for an op with a schedule that needs a `const`.
    """
    for op in ops_for_gpus(load(file)):
        try:
            for examined in examine(op):
                yield from (finding.diagnostic for finding in examined.findings)
                if is_told:
                    print(_line(file, examined), flush=True)
        except (CudaUnavailable, ValueError) as refused:
            raise Usage(f"{file}: {refused}") from None


def _line(file: str, examined: Examined) -> str:
    schedule = f" (schedule {examined.schedule + 1})" if examined.schedule else ""
    if examined.sizes is None:
        return f"{file}: {examined.op}{schedule}: not run, as no small sizes are as it requires them"
    sizes = ", ".join(f"{name} = {value}" for name, value in examined.sizes.items()) or "no sizes"
    count = len(examined.findings)
    outcome = "nothing is wrong" if not count else f"{count} finding{'s' if count > 1 else ''}"
    return f"{file}: {examined.op}{schedule} with {sizes}, in {len(ORDERS)} orders: {outcome}"
