"""What is computed from `param`s alone, and so once for many calls (`precompute`)."""

from __future__ import annotations

from te.ir.tensor import Program
from te.ir.visit import loads


def stages_of_params(program: Program) -> list[str]:
    """Intermediate stages that are computed from `param`s and tables alone, in order."""
    known = {*program.params, *(table.tensor.name for table in program.tables)}
    found = []
    for stage in program.stages:
        reads = {load.buffer for load in loads(stage.value)}
        if reads and reads <= known and stage.name not in program.outputs:
            known.add(stage.name)
            found.append(stage.name)
    return found
