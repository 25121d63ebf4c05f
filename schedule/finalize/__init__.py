"""Scheduled loop IR -> final loop IR: what directives left symbolic is decided here, once.

What the final level guarantees to a backend
--------------------------------------------
- Every `Accumulate.start` is None; what a reduction starts from is stored before.
- `unrolled` and `vector` loops have constant extents. A vector loop holds exactly
  one `Store` or `Accumulate`, perhaps under an `If` whose condition is a mask; so at
  most one vector loop is on any path, and no `Let` or extent differs between lanes.
- The target of an `Accumulate` in a vector loop differs in every lane.
- A `tensorized` loop holds exactly a vector loop around an `Accumulate`.
- Loops and guards depend on the sizes; a loop may have no trips, and no extent is negative.
- `register` buffers have constant shapes. Each index is a constant after unrolling,
  or in the last place the variable of the vector loop, and then that axis has one
  element a lane; or that variable and a constant, for a part of such an element.
- Buffers are row-major and begin at index 0. Those of scope `global` are allocated outside all
  loops and conditions, those of scope `stack` and `thread` right inside a parallel loop; the former
  have constant shapes, the latter shapes that depend on the sizes alone.
- Names of loops may occur again, in another branch or after the loop has ended;
  names of buffers are unique.

What is computed is the same, operation by operation, except for a vector
reduction loop: each lane keeps a partial result, and they are combined in halves,
lane 0 of 16 with lane 8, 1 with 9, and so on, until one is left. That one is
combined with the running value.
"""

from __future__ import annotations

import os
from dataclasses import replace

from te.ir.loop import (
    CONCURRENT,
    FINAL,
    SCHEDULED,
    SERIAL,
    THREADS,
    UNROLLED,
    Alloc,
    Buffer,
    Kernel,
    Stmt,
    walk_stmt,
)
from te.schedule.context import program_facts
from te.schedule.finalize.accumulators import promote_accumulators
from te.schedule.finalize.allocations import hoist_allocations, name_buffers_apart
from te.schedule.finalize.clamped import choose_clamped_reads
from te.schedule.finalize.clean import clean
from te.schedule.finalize.completed import place_completed
from te.schedule.finalize.gpu import settle_launches
from te.schedule.finalize.gpu.choices import choose_once
from te.schedule.finalize.gpu.clusters import blocks_of_clusters
from te.schedule.finalize.gpu.copies import ask_for_copies
from te.schedule.finalize.gpu.fragments import spread_fragments
from te.schedule.finalize.gpu.memory import place_memory
from te.schedule.finalize.gpu.overhang import compute_overhang
from te.schedule.finalize.gpu.reach import hold_overhang
from te.schedule.finalize.gpu.sums import without_shared_sums, without_waiting
from te.schedule.finalize.guards import name_ends_apart
from te.schedule.finalize.lanes import sink_vector_loops
from te.schedule.finalize.pipelines import expand_pipelines
from te.schedule.finalize.registers import refuse_long_code, unroll_register_loops
from te.schedule.finalize.split import split_hot_from_cold
from te.schedule.finalize.starts import place_starts
from te.schedule.finalize.storage import lay_out_buffers
from te.schedule.finalize.tensorized import settle_tensorized
from te.schedule.finalize.trim import trim_loops
from te.schedule.finalize.widths import even_vector_loops
from te.schedule.matrices import matrix_results
from te.target import is_gpu, shared_bytes

# All threads of a block run the same loops: there a guard costs nothing, and an end of its own would.
_TRIMMED = (SERIAL, *(CONCURRENT - THREADS))


def finalize(kernel: Kernel) -> Kernel:
    """The kernel as a backend translates it.

    With TE_VERIFY=1 in the environment, the verifier checks what comes out.
    """
    if kernel.level != SCHEDULED:
        return kernel
    facts = program_facts(kernel.program)
    if is_gpu(kernel.target):
        kernel = spread_fragments(hold_overhang(kernel, matrix_results(kernel)))
    body = compute_overhang(kernel.body, facts) if is_gpu(kernel.target) else kernel.body
    body = unroll_register_loops(lay_out_buffers(body, facts))
    if is_gpu(kernel.target):
        refuse_long_code(body)
    body = ask_for_copies(body, kernel.target)
    body = expand_pipelines(body, {stage.name for stage in kernel.program.stages})
    body = sink_vector_loops(body)  # gives buffers inside an element for each lane, so before they move out
    if is_gpu(kernel.target):
        body = blocks_of_clusters(body, facts)
        body = place_memory(body, shared_bytes(kernel.target))
        body = without_waiting(body)
    else:
        body = hoist_allocations(even_vector_loops(body), kernel.program.sizes)
    if is_gpu(kernel.target):  # registers outside of all loops: there it costs nothing
        body = place_starts(body, kernel.program, of=_registers(body))
    body = place_starts(body, kernel.program)  # before loops of one trip, and their names, go
    body = place_completed(body, facts)
    body = clean(body, facts)
    body = trim_loops(body, facts, _TRIMMED)  # so that the hot loops end where guards do
    body = split_hot_from_cold(name_ends_apart(body), facts)
    body = name_ends_apart(name_buffers_apart(body))
    body = clean(body, facts)  # what is hot lost its guards: clamps, choices and empty rests go too
    buffers = {b.name: b for b in kernel.arguments} | _allocated(body)
    body = promote_accumulators(body, facts, buffers)
    body = without_shared_sums(body)
    body = settle_tensorized(body, buffers, facts)
    body = trim_loops(body, facts, (UNROLLED,))  # what is cold and not in registers
    body = name_ends_apart(body)
    body = clean(body, facts)
    body = choose_clamped_reads(body, facts, buffers | _allocated(body))
    if is_gpu(kernel.target):
        body = choose_once(body)
        body = settle_launches(body, facts, kernel.target)
    final = replace(kernel, body=body, level=FINAL)
    if os.environ.get("TE_VERIFY") == "1":
        from te.ir.verify import verify_kernel

        verify_kernel(final)
    return final


def _registers(body: Stmt) -> frozenset[str]:
    return frozenset(name for name, buffer in _allocated(body).items() if buffer.scope == "register")


def _allocated(body: Stmt) -> dict[str, Buffer]:
    return {s.buffer.name: s.buffer for s, _ in walk_stmt(body) if isinstance(s, Alloc)}
