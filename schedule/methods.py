"""By what instructions a copy is made: the clause `by` of `cache_read` and `cache_write`.

`vector` runs the copy's innermost loop, along the last axis of the tensor, in vectors: the line
`vectorize Xc.j` that one would write behind it; on a GPU the elements then pass through registers. Copies to
shared memory of which nothing is said are asynchronous where they can be (`finalize/gpu/copies.py`). The
others are asynchronous or shuffling copies that
only GPUs have; they move elements as they are, between memories of certain kinds, and a backend
emits them for the stores that say so (`Store.method`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from te.diagnostics import ScheduleError, error
from te.ir.expr import Const
from te.ir.loop import For, Kernel, Stmt, Store, rewrite_stmt, walk_stmt
from te.schedule.buffers import buffer_of
from te.schedule.directives import CacheRead, CacheWrite, Vectorize
from te.schedule.forms import CopyMethod, Place, Scope, span_of
from te.schedule.kinds import LANES_LIMIT, vectorize

# The bytes of one step of a copy whose loop has no constant extent: of a CPU's widest vectors, of a GPU's accesses.
CPU_BYTES, GPU_BYTES = 64, 16
LEAST_SM = 80  # what `cuda` without a feature stands for

_MEMORY = ("global", "argument")


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a method needs: a GPU that has it, and the memories it copies from and to."""

    sm: int
    source: tuple[str, ...]
    target: tuple[str, ...]
    words: str


_METHODS: Mapping[CopyMethod, _Needs] = {
    CopyMethod.CP_ASYNC: _Needs(80, _MEMORY, (Scope.SHARED,), "from global to shared memory"),
    CopyMethod.LDMATRIX: _Needs(75, (Scope.SHARED,), (Scope.REGISTER,), "from shared memory to registers"),
}


def copied_by(kernel: Kernel, d: CacheRead | CacheWrite, copy: str) -> Kernel:
    """The kernel with the copy `copy`, which `d` has made, made by the method of its clause `by`."""
    match d.by:
        case None:
            return kernel
        case CopyMethod.VECTOR:
            return _in_vectors(kernel, d, copy)
    method = d.by
    _check_target(kernel, d, method)
    _check_memories(kernel, d, method, copy)

    def by_method(s: Stmt) -> Stmt:
        return replace(s, method=str(method)) if isinstance(s, Store) and s.stage == copy else s

    return replace(kernel, body=rewrite_stmt(kernel.body, by_method))


def _in_vectors(kernel: Kernel, d: CacheRead | CacheWrite, copy: str) -> Kernel:
    """The innermost loop of the copy as a vector loop, split first where it has no constant extent."""
    loops = [s for s, _ in walk_stmt(kernel.body) if isinstance(s, For) and s.stage == copy]
    if not loops:  # a single element
        return _synchronous(kernel, copy)
    kernel = _synchronous(kernel, copy)
    loop = loops[-1]
    is_short = isinstance(loop.extent, Const) and int(loop.extent.value) <= LANES_LIMIT
    step = (GPU_BYTES if _is_gpu(kernel) else CPU_BYTES) // buffer_of(kernel, copy).dtype.bytes
    here = d.place.parts["by"] if d.place else ()
    place = d.place and Place(d.place.span, d.place.verb, {"loops": here, "by": here})
    return vectorize(kernel, Vectorize((loop.var,), None if is_short else step, place=place))


def _synchronous(kernel: Kernel, copy: str) -> Kernel:
    """On a GPU, a copy to shared memory that nobody makes asynchronous."""
    if not _is_gpu(kernel) or buffer_of(kernel, copy).scope != Scope.SHARED:
        return kernel

    def by_registers(s: Stmt) -> Stmt:
        return replace(s, method=str(CopyMethod.VECTOR)) if isinstance(s, Store) and s.buffer == copy else s

    return replace(kernel, body=rewrite_stmt(kernel.body, by_registers))


def _check_target(kernel: Kernel, d: CacheRead | CacheWrite, method: CopyMethod) -> None:
    """Refuse a method that the target lacks, or the verb."""
    lacks = f"the target `{kernel.target}` has no `{method}`"
    if not _is_gpu(kernel):
        _refuse(d, lacks, "of GPUs only", "`by vector` copies in vectors")
    if method not in _METHODS:
        _refuse(
            d,
            lacks,
            "of GPUs from sm_90 on, and not used by te yet",
            "copies to shared memory of which nothing is said are asynchronous where they can be; "
            "`by vector` copies by way of registers",
        )
    if isinstance(d, CacheWrite):
        _refuse(d, f"`{method}` writes nothing back", "reads only", "`cache_write` takes `by vector`")
    named = re.match(r"cuda\.sm_(\d+)", kernel.target)
    if (int(named[1]) if named else LEAST_SM) < _METHODS[method].sm:
        wanted = f"a schedule `on cuda.sm_{_METHODS[method].sm}` may use it"
        _refuse(d, lacks, f"only GPUs from sm_{_METHODS[method].sm} on", wanted)


def _check_memories(kernel: Kernel, d: CacheRead | CacheWrite, method: CopyMethod, copy: str) -> None:
    """Refuse a copy between memories that the method does not join, or with a filling it does not give."""
    needs = _METHODS[method]
    source, target = buffer_of(kernel, d.tensor.name).scope, buffer_of(kernel, copy).scope
    if source not in needs.source or target not in needs.target:
        _refuse(
            d,
            f"`{method}` copies {needs.words}, and this is a copy from {_memory(source)} to {_memory(target)}",
            "not between these",
            "`in SCOPE` says where a copy lives",
        )
    if isinstance(d, CacheRead) and d.fill:
        _refuse(d, f"`{method}` fills with zeros, and not with {d.fill}", "no such filling", "`by vector`")


def _is_gpu(kernel: Kernel) -> bool:
    return kernel.target.split(".")[0] == "cuda"


def _memory(scope: str) -> str:
    words = {"argument": "global memory", "register": "registers", "stack": "the stack"}
    return words.get(scope, f"{scope} memory")


def _refuse(d: CacheRead | CacheWrite, message: str, label: str, help: str) -> NoReturn:
    raise ScheduleError(error("copy-method", message, span_of(d, "by"), label, help=help))
