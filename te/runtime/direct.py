"""Direct calls: a function written for one kernel, for arrays that need nothing converted.

Most calls repeat an earlier one with other numbers in the arrays: NumPy's own arrays, of the right
dtypes, contiguous, of shapes seen before. The function asks exactly that, without a loop over the
arguments, makes the results and enters the code; where anything else is the case it gives None, and
the call goes the long way, with all checks and their messages (`te.runtime.kernel`).

    def direct(a0, a1):
        if type(a0) is ndarray and type(a1) is ndarray and a0.dtype is t0 and ...:
            known = plans.get((a0.shape, a1.shape))
            if known is not None:
                entry, size, own, s0, s1, shape0 = known
                r0 = empty(shape0, u0)
                threads, parallel_for = executable.team
                bytes = size + threads * own
                memory = ...
                enter(pack(entry, 3, 8, field, id(a0), id(a1), id(r0), ..., s0, s1, threads, parallel_for))
                return r0

The code behind `enter` (`Executable.enter`) reads where the data of the arrays lie. The same in Python
would take as long as all the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
from numpy import empty, ndarray, zeros

from te.backends.base import Executable
from te.ir.tensor import NOWHERE
from te.runtime.arrays import DATA_FIELD, READY, Array

__all__ = ["DirectCalls", "Known", "direct_functions"]

Shape: TypeAlias = tuple[int, ...]
Direct: TypeAlias = Callable[..., Any]
Functions: TypeAlias = tuple[Direct, Direct]

SHAPES_KEPT = 512  # combinations; calls with others take some µs more
WORKSPACE_ALIGNMENT = 64
OWNED = READY | 0x4  # bits of `flags.num`
WRITEABLE = 0x400


def _none_known(*arrays: object) -> None:
    """The direct call of a kernel that has not been called twice in the same way."""


class DirectCalls:
    """What is known of the calls of one kernel. `call` takes arrays, and gives results or None; `call_into`
    takes the results' arrays as well, and gives True where it has filled them.

    Several threads may call and learn at the same time.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self.call: Direct = _none_known
        self.call_into: Direct = _none_known
        self._owner: object = None
        self._known: dict[tuple[Shape, ...], tuple[Any, ...]] = {}

    def learn(self, owner: object, make: Callable[[Mapping[Any, Any]], Functions], known: Known) -> None:
        """Know shapes from now on. `make` makes the functions, where this kernel, `owner`, was not called last."""
        with self._lock:  # a row is never in the table of another kernel
            if self._owner != owner:
                self._owner, self._known = owner, {}
                self.call, self.call_into = make(self._known)
            if len(self._known) >= SHAPES_KEPT:
                self._known.clear()
            self._known[known.shapes] = known.row


@dataclass(frozen=True, slots=True)
class Known:
    """What calls whose inputs have these shapes need: the code's address, bytes of workspace in all and for each
    thread, the sizes, arrays that were made ahead, and the results' shapes."""

    shapes: tuple[Shape, ...]
    address: int
    workspace: int
    thread_workspace: int
    sizes: tuple[int, ...]
    kept: tuple[Array, ...]
    results: tuple[Shape, ...]

    @property
    def row(self) -> tuple[Any, ...]:
        return (self.address, self.workspace, self.thread_workspace, *self.sizes, *self.kept, *self.results)


def direct_functions(
    inputs: Sequence[np.dtype[Any]],
    results: Sequence[np.dtype[Any]],
    sizes: int,
    kept: int,
    fixed: Mapping[int, Array],
    checks: int,
    tables: Sequence[Array],
    executable: Executable,
    table: Mapping[Any, Any],
) -> Functions:
    """The functions for inputs and results of these dtypes.

    `table` has a row (`Known.row`) for the shapes of all inputs. Those of `fixed`, by position, are not
    among the functions' parameters. The code takes over `kept` arrays and the `tables`, and knows so many
    `sizes`. Where one of its `checks` finds something, the long way finds it again, and says it.
    """
    if DATA_FIELD is None or executable.enter is None:  # arrays do not tell where their data lie
        return _none_known, _none_known
    values: dict[str, Any] = {
        "ndarray": ndarray,
        "empty": empty,
        "table": table,
        "enter": executable.enter,
        "executable": executable,
        "byte": np.dtype(np.uint8),
        **{f"a{n}": array for n, array in fixed.items()},
        **{f"t{n}": dtype for n, dtype in enumerate(inputs)},
        **{f"u{n}": dtype for n, dtype in enumerate(results)},
        **{f"table{n}": table for n, table in enumerate(tables)},
        "zeros": zeros,
        "word": np.dtype(np.int64),
    }
    given = [f"a{n}" for n in range(len(inputs))]
    free = [name for n, name in enumerate(given) if n not in fixed]
    made = [f"r{n}" for n in range(len(results))]
    numbers = [f"s{n}" for n in range(sizes)]
    ahead = [f"k{n}" for n in range(kept)]
    shapes = [f"shape{n}" for n in range(len(results))]

    fit = [f"type({a}) is ndarray and {a}.dtype is t{n}" for n, a in enumerate(given)]
    flags = [f"{name}.flags.num" for name in given]
    are_ready = [f"{' & '.join(flags)} & {READY} == {READY}"] if given else []
    known = [
        f"        known = table.get(({''.join(f'{name}.shape, ' for name in given)}))",
        "        if known is not None:",
        f"            {', '.join(['entry', 'size', 'own', *numbers, *ahead, *shapes])} = known",
    ]
    found = [f"c{n}" for n in range(checks)]
    hidden = [*found, *(f"table{n}" for n in range(len(tables)))]
    arrays = [f"id({name})" for name in (*given, *made, *hidden, *ahead)]
    team = ["threads", "parallel_for"]
    words = [*arrays, "id(memory) if memory is not None else 0", *numbers, *team]
    values["pack"] = Struct(f"{4 + len(words)}q").pack
    run = [
        *[f"{c} = zeros(1, word)" for c in found],
        f"{', '.join(team)} = executable.team",
        "bytes = size + threads * own",
        f"memory = empty(bytes + {WORKSPACE_ALIGNMENT - 1}, byte) if bytes else None",
        f"enter(pack(entry, {len(arrays)}, {len(words)}, {DATA_FIELD}, {', '.join(words)}))",
        *[f"if {c}.item() != {NOWHERE}: return None" for c in found],
    ]

    # Two arrays that own their memory share none.
    fit_into = [f"type({r}) is ndarray and {r}.dtype is u{n}" for n, r in enumerate(made)]
    both = f"{' & '.join([*flags, *(f'{r}.flags.num' for r in made)])} & {OWNED} == {OWNED}"
    are_writeable = [f"{r}.flags.num & {WRITEABLE}" for r in made]
    apart = [f"{r} is not {other}" for n, r in enumerate(made) for other in (*given, *made[:n])]
    have_shapes = " and ".join(f"{r}.shape == shape{n}" for n, r in enumerate(made))
    lines = [
        f"def direct({', '.join(free)}):",
        f"    if {' and '.join([*fit, *are_ready]) or 'True'}:",
        *known,
        *[f"            {r} = empty(shape{n}, u{n})" for n, r in enumerate(made)],
        *[f"            {line}" for line in run],
        f"            return {', '.join(made)}",
        f"def direct_into({', '.join([*free, *made])}):",
        f"    if {' and '.join([*fit, *fit_into, both, *are_writeable, *apart])}:",
        *known,
        f"            if {have_shapes}:",
        *[f"                {line}" for line in run],
        "                return True",
    ]
    exec("\n".join(lines), values)  # the text has names and numbers that were made here alone
    # Taken out of what they see: in a cycle, the garbage collector would unload the code, and crash.
    return values.pop("direct"), values.pop("direct_into")
