"""Instructions that multiply tiles of matrices, by the lanes of a warp: calls of the prelude's `te_mma_...`."""

from __future__ import annotations

from te.backends.cuda.expressions import element
from te.backends.cuda.scope import Scope
from te.ir.loop import Accumulate
from te.schedule.intrinsics import bindings, find_intrinsic


def matrix_step(scope: Scope, s: Accumulate) -> str:
    """The call for a step of a sum that has an intrinsic.

    Its operands are in the order of the meaning's, each the first element that the lane has of a tile.
    """
    meaning = find_intrinsic(s.intrinsic, None)
    loads = next(bindings(meaning.term, s.value))
    reads = [(loads[tensor.name].buffer, loads[tensor.name].index) for tensor in meaning.operands]
    places = [element(scope, scope.buffers[name], index) for name, index in ((s.buffer, s.index), *reads)]
    return f"te_{s.intrinsic}({', '.join(f'&{place}' for place in places)});"
