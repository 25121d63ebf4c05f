"""Instructions that load and multiply tiles of matrices, by the lanes of a warp: calls of the prelude."""

from __future__ import annotations

from te.backends.cuda.expressions import element, value
from te.backends.cuda.indices import CHOICE
from te.backends.cuda.scope import Scope
from te.ir.expr import integer
from te.ir.loop import Accumulate
from te.ir.visit import substitute
from te.schedule.finalize.gpu.matrix_loads import MatrixLoad
from te.schedule.intrinsics import bindings, find_intrinsic


def matrix_step(scope: Scope, s: Accumulate) -> str:
    """The call for a step of a sum that has an intrinsic.

    Its operands are in the order of the meaning's, each the first element that the lane has of a tile. Where elements
    of the first factor are left out, a bit for each that the lane has says whether it takes part.
    """
    meaning = find_intrinsic(s.intrinsic, None)
    loads = next(bindings(meaning.term, s.value))
    reads = [(loads[tensor.name].buffer, loads[tensor.name].index) for tensor in meaning.operands]
    places = [element(scope, scope.buffers[name], index) for name, index in ((s.buffer, s.index), *reads)]
    given = [f"&{place}" for place in places]
    if not s.kept:
        return f"te_{s.intrinsic}({', '.join(given)});"
    bits = [f"({value(scope, c).within(CHOICE)} ? {1 << n}u : 0u)" for n, c in enumerate(s.kept)]
    return f"te_{s.intrinsic}_where({', '.join(given)}, {' | '.join(bits)});"


def matrix_load_call(scope: Scope, load: MatrixLoad, lane: str) -> str:
    """The call for loops that load registers of fragments from shared memory, inside those that call it again."""
    inside = (*load.together, *([load.elements] if load.elements else []))
    first = {loop.var: integer(0) for loop in inside}
    index = tuple(substitute(i, first) for i in load.store.index)
    to = element(scope, scope.buffers[load.store.buffer], index)
    row = element(scope, scope.buffers[load.source.buffer], load.row(lane))
    is_transposed = "true" if load.is_transposed else "false"
    return f"te_ldmatrix<{load.count}, {is_transposed}>(&{to}, &{row});"
