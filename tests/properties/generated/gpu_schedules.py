"""Schedules for GPUs drawn at random: nests on blocks and threads first, and then lines of all kinds."""

from __future__ import annotations

from hypothesis import strategies as st

from te.diagnostics import ScheduleError
from te.ir.loop import SERIAL, Kernel
from te.schedule.apply import apply
from te.schedule.directives import Bind, CacheRead, Reorder, Split
from te.schedule.forms import Binding, CopyMethod, Directive, Scope, TensorAxes
from tests.properties.generated.schedules import Drawn, Seen, schedules_of

BLOCKS = (Binding.BLOCK_X, Binding.BLOCK_Y)
THREADS = (Binding.THREAD_X, Binding.THREAD_Y, Binding.LANE, Binding.WARP)


@st.composite
def gpu_schedules_of(draw: st.DrawFn, plain: Kernel) -> Drawn:
    """A random schedule of a kernel, most of whose nests begin on blocks and threads."""
    found: Drawn = draw(schedules_of(plain, most=4))
    for _ in range(draw(st.integers(1, 3))):
        for line in draw(_nest(found.kernel)):
            _add(found, line)
        for line in draw(_split_reduction(found.kernel)):
            _add(found, line)
        for _ in range(draw(st.integers(0, 2))):
            for line in draw(_copy(found.kernel)):
                _add(found, line)
    more: Drawn = draw(schedules_of(found.kernel, most=5))
    found.kernel = more.kernel
    found.lines += more.lines
    return found


@st.composite
def _nest(draw: st.DrawFn, kernel: Kernel) -> list[Directive]:
    """Lines that split one or two serial loops of a stage, and run the outer parts by blocks, the inner by threads."""
    loops = [loop.var for loop, _ in Seen(kernel).loops if loop.kind == SERIAL and not loop.is_reduction]
    if not loops:
        return []
    first = draw(st.sampled_from(loops))
    stage = first.rsplit(".", 1)[0]
    chosen = [var for var in loops if var.rsplit(".", 1)[0] == stage][: draw(st.integers(1, 2))]
    blocks = draw(st.permutations(BLOCKS))
    threads = draw(st.permutations(THREADS))
    lines: list[Directive] = []
    parts = [(f"{var}_b".rsplit(".", 1)[1], f"{var}_t".rsplit(".", 1)[1]) for var in chosen]
    for var, names in zip(chosen, parts, strict=True):
        by = draw(st.sampled_from([2, 3, 4, 8, 32]))
        lines.append(Split(var, by=by, into=names))
    outer = [f"{stage}.{names[0]}" for names in parts]
    inner = [f"{stage}.{names[1]}" for names in parts]
    if len(chosen) == 2 and draw(st.integers(0, 3)):
        lines.append(Reorder((*outer, *inner)))
    has_blocks = draw(st.integers(0, 5)) > 0
    lines += [Bind(var, level) for var, level in zip(outer, blocks, strict=False) if has_blocks]
    lines += [Bind(var, level) for var, level in zip(inner, threads, strict=False) if draw(st.integers(0, 5))]
    return lines


@st.composite
def _split_reduction(draw: st.DrawFn, kernel: Kernel) -> list[Directive]:
    """Half of the time, a reduction loop in two, of which threads may run the inner one."""
    loops = [var for var, _ in Seen(kernel).reduction_loops()]
    if not loops or draw(st.booleans()):
        return []
    var = draw(st.sampled_from(loops))
    name = var.rsplit(".", 1)[1]
    lines: list[Directive] = [
        Split(var, by=draw(st.sampled_from([2, 4, 8, 32])), into=(f"{name}_o", f"{name}_i"))
    ]
    if draw(st.booleans()):
        level = draw(st.sampled_from([Binding.LANE, Binding.THREAD_X, Binding.THREAD_Y, Binding.WARP]))
        lines.append(Bind(f"{var.rsplit('.', 1)[0]}.{name}_i", level))
    return lines


@st.composite
def _copy(draw: st.DrawFn, kernel: Kernel) -> list[Directive]:
    """A copy of what a loop reads, or a tile of what it writes, mostly in shared memory, its loops on threads."""
    seen = Seen(kernel)
    name = seen.unused(("P", "W", "Q", "E", "G", "H"))
    reads = seen.reads()
    if not reads:
        return []
    tensor, loop = draw(st.sampled_from(reads))
    ranks = {b.name: len(b.shape) for b in kernel.arguments} | dict(seen.allocated())
    axes = tuple(f"c{n}" for n in range(ranks.get(tensor, 0)))
    scope = draw(st.sampled_from([Scope.SHARED, Scope.SHARED, Scope.SHARED, Scope.REGISTER, None]))
    method = draw(st.sampled_from([None, None, CopyMethod.VECTOR]))
    lines: list[Directive] = [CacheRead(TensorAxes(tensor, axes), loop, name, scope, by=method)]
    if axes and draw(st.integers(0, 3)):
        last = f"{name}.{axes[-1]}"
        by = draw(st.sampled_from([2, 4, 8, 32]))
        lines += [Split(last, by=by, into=("co", "ci")), Bind(f"{name}.ci", Binding.THREAD_X)]
    if len(axes) > 1 and draw(st.booleans()):
        lines.append(Bind(f"{name}.{axes[0]}", Binding.THREAD_Y))
    return lines


def _add(found: Drawn, line: Directive) -> None:
    verb = type(line).__name__
    found.drawn[verb] += 1
    try:
        found.kernel = apply(found.kernel, line)
    except ScheduleError:
        return
    found.accepted[verb] += 1
    found.lines.append(line)
