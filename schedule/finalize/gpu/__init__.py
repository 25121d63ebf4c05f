"""What finalize does for GPUs: launches, threads, and what those share.

What the final level guarantees to a backend of GPUs, besides what it does to all
---------------------------------------------------------------------------------
- Outside of loops bound to blocks stand loops, conditions and names over sizes (the host's), allocations
  of scope `global`, and statements for one block.
- Loops bound to blocks stand right inside each other, with nothing but `Let`s between; the extent of none
  depends on another.
- All loops of one level of threads in a launch have the same constant extent. A barrier stands in none of
  them, and nor does a loop of blocks.
- What writes to memory stands in loops of all levels of the launch that have more than one thread. What
  stands in none is done by every thread, for itself, and writes to registers.
- Every thread has its own of each register buffer, whether that is allocated inside or outside of thread
  loops.
- Stores by `cp_async` copy an element, or zero, from global to shared memory. Of a thread that begins some, a
  `Wait` stands before all that uses what they write, or changes what they read; `Commit` and `Wait` stand where
  `Barrier` may.
- Between two accesses of an element by different threads of a block, one of them a write, stands a
  `Barrier`. Different blocks share no element that one of them writes.
"""

from __future__ import annotations

from te.ir.bounds import Facts
from te.ir.loop import (
    BLOCKS,
    Accumulate,
    Alloc,
    Combine,
    For,
    Let,
    Seq,
    Stmt,
    Store,
    bodies,
    joined,
    seq,
    walk_stmt,
    with_bodies,
)
from te.schedule.context import facts_inside
from te.schedule.finalize.gpu.arena import place_shared
from te.schedule.finalize.gpu.barriers import place_barriers
from te.schedule.finalize.gpu.combining import expand_combines
from te.schedule.finalize.gpu.copies import settle_copies
from te.schedule.finalize.gpu.fragment_axes import refuse_access
from te.schedule.finalize.gpu.fragment_rows import of_each_lane, outside_of_lanes
from te.schedule.finalize.gpu.launches import separate_launches
from te.schedule.finalize.gpu.levels import fill_blocks, threads_of
from te.schedule.finalize.gpu.matrix_loads import settle_matrix_loads
from te.schedule.finalize.gpu.packing import pack_registers
from te.schedule.finalize.gpu.persistent import (
    in_rounds,
    inside_blocks,
    is_persistent,
    resident_blocks,
)
from te.schedule.finalize.gpu.registers import distribute_registers
from te.schedule.finalize.gpu.sums import refuse_reduction
from te.schedule.finalize.gpu.threads import gather_thread_loops, thread_loops
from te.schedule.finalize.registers import refuse_long_code, unroll_register_loops
from te.target import multiprocessor_of, shared_bytes


def settle_launches(body: Stmt, facts: Facts, target: str) -> Stmt:
    """Say what each block and thread of a GPU does, and where threads wait for each other.

    Raises `ScheduleError` where the threads of a block share more memory than a block of the target has.
    """
    return _each_launch(separate_launches(body, facts), facts, target)


def _each_launch(s: Stmt, facts: Facts, target: str) -> Stmt:
    """Settle the launches in a statement of the host. Neighbours in no block loop are one launch."""
    if isinstance(s, Alloc) and s.buffer.scope == "global":
        return Alloc(s.buffer, _each_launch(s.body, facts, target))
    if not _has_blocks(s):
        return _in_block(s, facts, target)
    match s:
        case Seq():
            return seq(*[_each_launch(item, facts, target) for item in joined(s.items, _has_blocks)])
        case For() if s.kind in BLOCKS:
            if not is_persistent(s):
                return _launch(s, facts, target)
            # What a block takes is known when it is settled, and says how many run at a time.
            count = resident_blocks(_launch(s, facts, target), multiprocessor_of(target))
            return _launch(in_rounds(s, count, facts), inside_blocks(s, facts), target)
    return with_bodies(
        s, tuple([_each_launch(b, facts_inside(s, b, facts, False), target) for b in bodies(s)])
    )


def _has_blocks(s: Stmt) -> bool:
    return any(isinstance(x, For) and x.kind in BLOCKS for x, _ in walk_stmt(s))


def _launch(s: Stmt, facts: Facts, target: str) -> Stmt:
    if isinstance(s, Let) or (isinstance(s, For) and s.kind in BLOCKS):
        return with_bodies(s, (_launch(s.body, facts_inside(s, s.body, facts, False), target),))
    return _in_block(s, facts, target)


def _in_block(s: Stmt, facts: Facts, target: str) -> Stmt:
    """What one block does."""
    threads = threads_of(s, facts)
    own = of_each_lane(s)
    bound = {loop for loop, _ in thread_loops(s)}
    s = gather_thread_loops(s, facts)
    lost = outside_of_lanes(s, own)
    if lost is not None:
        refuse_access(lost, "what stands around it differs between threads")
    if any(isinstance(x, Combine) for x, _ in walk_stmt(s)):
        s = expand_combines(s, threads)
        wanted = thread_loops(s)
        s = gather_thread_loops(s, facts)  # those by which threads tell each other, too
        if thread_loops(s) != wanted:
            refuse_reduction(next(x.stage for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate)))
    s = distribute_registers(s, threads, facts)
    of_one_thread = bound - {loop for loop, _ in thread_loops(s)}
    s = unroll_register_loops(s, of_one_thread)
    refuse_long_code(s)
    s = fill_blocks(pack_registers(s), threads)
    s = settle_matrix_loads(s, facts)
    return place_barriers(place_shared(settle_copies(s, facts), shared_bytes(target)), facts)
