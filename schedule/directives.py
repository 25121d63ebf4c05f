"""The vocabulary of schedules: one frozen dataclass a verb.

The first field of a directive is the verb's operand; every other field is a clause,
called by its preposition. The fields' metadata (`forms.py`) say what may stand there, so
this file alone defines the text form, the Python methods and the reference page.

Docstrings follow one form. `Before` and `After` show the loops of a small op, `Line`
the directive between them, and a test runs them; `S(i)` is a stage's one statement, for
the element `i`. `Errors` lists the codes of all diagnostics that the rewrite can give.

Whether a directive makes sense for a program is for the rewrites to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from te.schedule.forms import BlockOrder, CopyMethod, Directive, Kind, Layout, Scope, Tail, TensorAxes, takes


@dataclass(frozen=True, slots=True)
class Split(Directive):
    """Split one loop into two nested loops.

    Before:  for i in 0..N: S(i)
    Line:    split i by 8 into io, ii
    After:   for io in 0..(N + 7) // 8: for ii in 0..8: if 8 * io + ii < N: S(8 * io + ii)

    `by` gives the extent of the inner loop, `parts` that of the outer one. `tail` says what
    happens where the factor does not divide the extent: `guard` (as above), `peel`, `shift`
    (the last tile moves back and computes some elements twice) or `exact` (refused unless
    there is provably no tail).

    Errors: split-clauses, split-factor, split-exact, split-shift, unknown-loop, ambiguous-loop,
    loop-name, loop-kind, too-many-loops
    """

    loop: str = field(metadata=takes(Kind.LOOP))
    by: int | None = field(default=None, metadata=takes(Kind.SIZE))
    parts: int | None = field(default=None, metadata=takes(Kind.SIZE))
    into: tuple[str, ...] | None = field(default=None, metadata=takes(Kind.NAME, 2, 2))
    tail: Tail = field(default=Tail.GUARD, metadata=takes(Kind.TAIL))


@dataclass(frozen=True, slots=True)
class Tile(Directive):
    """Split several nested loops, and put the loops over tiles outside the loops in a tile.

    Before:  for i in 0..64: for j in 0..64: S(i, j)
    Line:    tile i, j by 8, 16 into io, jo, ii, ji
    After:   for io in 0..8: for jo in 0..4: for ii in 0..8: for ji in 0..16: S(8 * io + ii, 16 * jo + ji)

    Errors: tile-clauses, and those of split and reorder
    """

    loops: tuple[str, ...] = field(metadata=takes(Kind.LOOP, 2, None))
    by: tuple[int, ...] = field(metadata=takes(Kind.SIZE, 2, None))
    into: tuple[str, ...] | None = field(default=None, metadata=takes(Kind.NAME, 4, None))
    tail: Tail = field(default=Tail.GUARD, metadata=takes(Kind.TAIL))


@dataclass(frozen=True, slots=True)
class Fuse(Directive):
    """Make one loop of two that are nested directly.

    Before:  for i in 0..M: for j in 0..N: S(i, j)
    Line:    fuse i, j into f
    After:   for f in 0..M * N: let i = f // N: let j = f % N: S(i, j)

    Errors: fuse-kinds, not-nested, unknown-loop, ambiguous-loop, repeated-loop, loop-name, loop-kind
    """

    loops: tuple[str, ...] = field(metadata=takes(Kind.LOOP, 2, 2))
    into: str = field(metadata=takes(Kind.NAME))


@dataclass(frozen=True, slots=True)
class Reorder(Directive):
    """Nest the named loops in this order, the outermost first.

    Before:  for i in 0..M: for j in 0..N: S(i, j)
    Line:    reorder j, i
    After:   for j in 0..N: for i in 0..M: S(i, j)

    Loops between them that are not named stay where they are.

    Errors: not-nested, reorder-dependence, unknown-loop, ambiguous-loop, repeated-loop, loop-kind
    """

    loops: tuple[str, ...] = field(metadata=takes(Kind.LOOP, 2, None))


@dataclass(frozen=True, slots=True)
class Unroll(Directive):
    """Write out the trips of loops of constant extent; with `by`, of the inner one of a split.

    Before:  for i in 0..4: S(i)
    Line:    unroll i
    After:   unrolled for i in 0..4: S(i)

    Errors: extent-not-constant, unroll-limit, kind-nesting, unknown-loop, ambiguous-loop,
    repeated-loop, loop-kind, and with `by` those of split
    """

    loops: tuple[str, ...] = field(metadata=takes(Kind.LOOP, 1, None))
    by: int | None = field(default=None, metadata=takes(Kind.SIZE))


@dataclass(frozen=True, slots=True)
class Vectorize(Directive):
    """Run all trips of loops of constant extent in the lanes of vectors; with `by`, split first.

    Before:  for i in 0..N: S(i)
    Line:    vectorize i by 16
    After:   for io in 0..(N + 15) // 16: vector for ii in 0..16: if 16 * io + ii < N: S(16 * io + ii)

    On a reduction loop, each lane keeps a partial result.

    Errors: extent-not-constant, vector-width, vectorize-dependence, kind-nesting, unknown-loop,
    ambiguous-loop, repeated-loop, loop-kind, and with `by` those of split
    """

    loops: tuple[str, ...] = field(metadata=takes(Kind.LOOP, 1, None))
    by: int | None = field(default=None, metadata=takes(Kind.SIZE))


@dataclass(frozen=True, slots=True)
class Parallel(Directive):
    """Let the trips of loops run on several threads.

    Before:  for i in 0..N: S(i)
    Line:    parallel i
    After:   parallel for i in 0..N: S(i)

    GPUs refuse it: there, loops are bound to blocks and threads.

    Errors: parallel-target, parallel-reduction, parallel-dependence, kind-nesting, unknown-loop, ambiguous-loop,
    repeated-loop, loop-kind
    """

    loops: tuple[str, ...] = field(metadata=takes(Kind.LOOP, 1, None))


@dataclass(frozen=True, slots=True)
class Inline(Directive):
    """Compute pointwise stages where they are read; their tensors are never stored.

    Before:  for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0
    Line:    inline e
    After:   for i in 0..N: Y[i] = (X[i] + 1.0) * 2.0

    Errors: unknown-stage, repeated-stage, inline-refused, inline-size, stage-touched
    """

    stages: tuple[str, ...] = field(metadata=takes(Kind.STAGE, 1, None))


@dataclass(frozen=True, slots=True)
class ComputeAt(Directive):
    """Compute stages inside a loop: just the part that its body needs, or has completed.

    Before:  for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0
    Line:    compute_at e at Y.i
    After:   for i in 0..N: e[i] = X[i] + 1.0; Y[i] = e[i] * 2.0

    A stage that the loop's body reads is computed before its readers, into a buffer that lives for one
    trip (`in` says where). All its readers must stand in the loop. Parts that several trips need are
    computed by each; `keep Y.i` makes the buffer live for all trips of that serial loop, and each
    compute only what the trips before it have not (a sliding window).

    A stage that reads what the loop's body writes is an epilogue: the part just completed is
    computed behind it, each element from those at its own index; under a reduction loop, in the
    last trip. Stages of one line move together; they must not have been split or reordered before.

    Errors: compute-at-refused, compute-at-keep, scope-size, stage-touched, unknown-stage, repeated-stage,
    unknown-loop, ambiguous-loop
    """

    stages: tuple[str, ...] = field(metadata=takes(Kind.STAGE, 1, None))
    at: str = field(metadata=takes(Kind.LOOP))
    in_: Scope | None = field(default=None, metadata=takes(Kind.SCOPE))
    keep: str | None = field(default=None, metadata=takes(Kind.LOOP))


@dataclass(frozen=True, slots=True)
class ComputeRoot(Directive):
    """Compute stages whole, in nests of their own: what undoes `compute_at`.

    Before:  for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0
    Line:    compute_root e
    After:   for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0

    The nest is made anew: lines that changed the stage's loops are undone with it.

    Errors: compute-root-refused, unknown-stage
    """

    stages: tuple[str, ...] = field(metadata=takes(Kind.STAGE, 1, None))


@dataclass(frozen=True, slots=True)
class Fission(Directive):
    """Give the statements of a loop from a position on a loop of their own, which runs after the first.

    Before:  for i in 0..N: e[i] = X[i] + 1.0; Y[i] = e[i] * 2.0
    Line:    fission i at 1
    After:   for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0

    What stands between the loop and its statements, conditions and names, is copied. The second
    loop is called after its own stage, as here `Y.i`, with a number behind it where that exists.
    Legal where no trip of the first part depends on the second part of an earlier trip, and both
    share no buffer that each trip allocates anew.

    Errors: fission-position, fission-dependence, unknown-loop, ambiguous-loop, loop-kind
    """

    loop: str = field(metadata=takes(Kind.LOOP))
    at: int = field(metadata=takes(Kind.SIZE))


@dataclass(frozen=True, slots=True)
class Merge(Directive):
    """Run two loops that follow each other as one, a trip of both in turn.

    Before:  for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0
    Line:    merge e.i, Y.i
    After:   for i in 0..N: e[i] = X[i] + 1.0; Y[i] = e[i] * 2.0

    Both have provably the same extent; the first one gives its name. Legal where no trip of the
    second loop depends on a later trip of the first.

    Errors: merge-neighbours, merge-extents, merge-dependence, unknown-loop, ambiguous-loop,
    repeated-loop, loop-kind
    """

    loops: tuple[str, ...] = field(metadata=takes(Kind.LOOP, 2, 2))


@dataclass(frozen=True, slots=True)
class Rfactor(Directive):
    """Reduce in two stages: a partial result for each trip of a loop, then the reduction of those.

    Before:  for i in 0..M: for j in 0..N: Y[i] sum= X[i, j]
    Line:    rfactor j of Y as P
    After:   for i in 0..M: for j in 0..N: P[j, i] = X[i, j]; for i in 0..M: for j in 0..N: Y[i] sum= P[j, i]

    The stage's nest becomes that of the new stage (`Y_part` without `as`), which has an axis for the
    loop: its trips are independent then, and may be parallel or stand outside others. The stage
    itself gets a plain nest that reduces the parts. The order of a sum changes, as by `reorder`.

    Errors: rfactor-refused, stage-name, unknown-stage, unknown-loop, ambiguous-loop, loop-kind
    """

    loop: str = field(metadata=takes(Kind.LOOP))
    of: str = field(metadata=takes(Kind.STAGE))
    as_: str | None = field(default=None, metadata=takes(Kind.NAME))


@dataclass(frozen=True, slots=True)
class CacheRead(Directive):
    """Read a copy of a tensor: of the part that a loop's body reads, or without `at` of all of it.

    Before:  for i in 0..M: for j in 0..N: Y[i, j] = X[j, i]
    Line:    cache_read X[a, b] at i as Xc
    After:   for i in 0..M: for a in 0..N: Xc[a, i] = X[a, i]; for j in 0..N: Y[i, j] = Xc[j, i]

    The copy is a stage, `X_copy` or what `as` says; its loops are called by the axes named in
    `X[a, b]`. `in` says where it lives, `layout` how it is stored (`layout [a // 4, b, a % 4]`: each
    axis whole, or cut into digits). With `fill 0` the copy also holds what overhangs the tensor, filled
    with that number, and reads with that very `else` need no condition any more, unless they may lie outside of
    the copy, too: a padded copy. Copies of it have what fills it, and no other number. In shared memory it holds
    every n-th element alone along an axis where no other is read, and counts those: `X[2*i + k]` becomes `Xc[i]`.
    The tensor must be complete before the place. `by vector` runs the copy's innermost loop in vectors;
    `by cp_async` and `ldmatrix` are for GPUs, and `tma` is refused: no target has it yet. On GPUs a copy to shared
    memory is asynchronous, as `by cp_async` asks for, where it can be and nothing else is asked for (from sm_80 on;
    4, 8 or 16 bytes a thread).

    Errors: copy-refused, copy-method, storage-refused, unknown-tensor, buffer-name, scope-size,
    layout-dimension, unknown-loop, ambiguous-loop
    """

    tensor: TensorAxes = field(metadata=takes(Kind.TENSOR))
    at: str | None = field(default=None, metadata=takes(Kind.LOOP))
    as_: str | None = field(default=None, metadata=takes(Kind.NAME))
    in_: Scope | None = field(default=None, metadata=takes(Kind.SCOPE))
    layout: Layout | None = field(default=None, metadata=takes(Kind.LAYOUT))
    fill: int | float | None = field(default=None, metadata=takes(Kind.NUMBER))
    by: CopyMethod | None = field(default=None, metadata=takes(Kind.METHOD))


@dataclass(frozen=True, slots=True)
class CacheWrite(Directive):
    """Compute the part of a tensor that a loop's body writes in a buffer, and copy it once it is done.

    Before:  for i in 0..M: for j in 0..N: for k in 0..K: S(i, j)
    Line:    cache_write C at i as Ct
    After:   for i in 0..M: for j in 0..N: for k in 0..K: S(i, j); for j in 0..N: S(i, j)

    The copy is a stage, `C_tile` or what `as` says, with loops of its own. Where a reduction loop
    lies outside, the buffer holds the partial result of one trip, which is combined with the tensor:
    the order of a floating-point reduction changes. `by vector` writes it back in vectors.

    Errors: copy-refused, copy-method, unknown-tensor, buffer-name, scope-size, unknown-loop, ambiguous-loop
    """

    tensor: TensorAxes = field(metadata=takes(Kind.TENSOR))
    at: str = field(metadata=takes(Kind.LOOP))
    as_: str | None = field(default=None, metadata=takes(Kind.NAME))
    in_: Scope | None = field(default=None, metadata=takes(Kind.SCOPE))
    by: CopyMethod | None = field(default=None, metadata=takes(Kind.METHOD))


@dataclass(frozen=True, slots=True)
class SetScope(Directive):
    """Say where the buffer of an intermediate or a copy lives.

    Before:  for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0
    Line:    compute_at e at Y.i; set_scope e in register
    After:   for i in 0..N: alloc e[1] in register: e[i] = X[i] + 1.0; Y[i] = e[i] * 2.0

    The buffer shrinks to what one trip of the loops around all its uses needs, where no trip reads
    what another has written. `register` and `stack` need a constant size; loops that index
    registers are unrolled or vectorised.

    Errors: storage-refused, unknown-tensor, scope-size
    """

    tensor: str = field(metadata=takes(Kind.STAGE))
    in_: Scope = field(metadata=takes(Kind.SCOPE))


@dataclass(frozen=True, slots=True)
class SetLayout(Directive):
    """Say how a whole intermediate, copy or `param` is stored.

    Before:  for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0
    Line:    layout e[i] as [i % 16, i // 16]
    After:   alloc e[N] layout [i % 16, i // 16]: for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0

    The last dimension is contiguous. Each axis stands there whole, or cut into digits that make it up,
    such as `i // 16` and `i % 16`. Indices in loops stay what they are. Of a `param` F it makes a copy
    `F_copy`, a stage with loops of its own that is precomputed: `kernel.bind(F=...)` re-lays it out
    once. Other inputs, and results, are stored as the caller stores them: `cache_read` makes a copy.

    Errors: storage-refused, layout-dimension, unknown-tensor
    """

    tensor: TensorAxes = field(metadata=takes(Kind.TENSOR))
    as_: Layout = field(metadata=takes(Kind.LAYOUT))


@dataclass(frozen=True, slots=True)
class Align(Directive):
    """Round the extent of one axis of a buffer's storage up to a multiple: padding.

    Before:  for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0
    Line:    align e axis 0 by 16
    After:   alloc e[N] layout [x0] align 16: for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0

    Errors: storage-refused, unknown-tensor
    """

    tensor: str = field(metadata=takes(Kind.STAGE))
    axis: int = field(metadata=takes(Kind.SIZE))
    by: int = field(metadata=takes(Kind.SIZE))


@dataclass(frozen=True, slots=True)
class Swizzle(Directive):
    """Store the rows of a buffer with their units in another order, against bank conflicts.

    Before:  for i in 0..64: for j in 0..32: e[i, j] = X[i, j] + 1.0; for i in 0..32: for j in 0..64: Y[i, j] = e[j, i]
    Line:    swizzle e by 8
    After:   alloc e[64, 32] layout [x0, x1] swizzle by 8 of 4: for i in 0..64: for j in 0..32: e[i, j] = X[i, j] + 1.0;
             for i in 0..32: for j in 0..64: Y[i, j] = e[j, i]

    A unit is 16 bytes (of an f32, 4 elements): unit `u` of row `r` is stored in the place of unit
    `u ^ r % by`. What reads a unit of each of several rows then finds them in different banks; what
    is in one unit stays together. `by` is a power of two, without it the largest up to 8 that fits. Of
    rows below 128 bytes, as many as make 128 are permuted alike: rows of 32, 64 and 128 bytes lie as
    CUTLASS's and TMA's swizzles of those names have them. Rows run along the last axis of the storage;
    they must be provably whole numbers of `by` units, which `align` sees to. Write it after `layout`,
    `align` and `set_scope`. On a CPU it makes nothing faster.

    Errors: storage-refused, unknown-tensor
    """

    tensor: str = field(metadata=takes(Kind.STAGE))
    by: int | None = field(default=None, metadata=takes(Kind.SIZE))


@dataclass(frozen=True, slots=True)
class Use(Directive):
    """Take over the schedule of another op for the stages of a call of it.

    Before:  for i in 0..N: S(i)
    Line:    use halves of Y
    After:   for io in 0..(N + 1) // 2: for ii in 0..2: if 2 * io + ii < N: S(2 * io + ii)

    Here `schedule halves on llvm { split i by 2 }` stands beside. The lines of that schedule stand in
    the place of this one, with the op's names read as the call `H = softmax(X)` has them: `m` is the
    stage `H_m`, `X` the tensor that was given for it, `as NAME` makes `H_NAME`. Of several schedules
    of the op, in this file and then in the op's own, the first is taken whose target is this one's
    and whose `when` is certain to hold. For a result of the op itself (as above), its own stages are
    meant: one op takes over the schedule of another that is made alike. Each line is
    checked again where it is used.

    Errors: use-of, use-schedule, use-itself, use-too-deep, and those of the lines
    """

    op: str = field(metadata=takes(Kind.OP))
    of: str = field(metadata=takes(Kind.STAGE))
    lines: tuple[Directive, ...] | None = None  # None until it is known where to look


@dataclass(frozen=True, slots=True)
class Specialize(Directive):
    """Make a copy of the code for the case of a condition, with a schedule of its own from here on.

    Before:  for i in 0..N: S(i)
    Line:    specialize N % 8 == 0 { split i by 8 }
    After:   for i in 0..N: S(i)

    Where the condition holds, the lines before this one and then those of the block are the schedule
    (here: `for io in 0..N // 8: for ii in 0..8: S(8 * io + ii)`, which needs no tail); the condition
    is a fact for all of them. Elsewhere it is the lines before and those after the block, as shown.
    Each call takes the first case that its sizes fit; a condition that the build decides leaves one
    of the two. A block may hold further `specialize` lines; all cases of one op are at most 16.

    Errors: schedule-condition, too-many-cases, missing-block, and those of the lines
    """

    condition: str = field(metadata=takes(Kind.CONDITION))  # as text, without knobs and `const`s
    block: tuple[Directive, ...] = ()


@dataclass(frozen=True, slots=True)
class Prefetch(Directive):
    """Fetch what later trips of a loop read of a tensor into the caches, one element for each read.

    Before:  for i in 0..64: for j in 0..64: Y[i, j] = X[i, j]
    Line:    prefetch X at j ahead 1 of i
    After:   for i in 0..64: for j in 0..64: fetch X[min(i + 1, 63), min(j, 63)]; Y[i, j] = X[i, j]

    In each trip of the loop after `at`, the element that the trip `ahead` trips later of the loop after
    `of` (without it, of the same loop) reads first. The processor fetches a whole line, so a trip had
    better read one: `vectorize j by 16`, and `at jo`. It is a hint, and touches no memory outside the
    tensor: an input, a result, or an intermediate or copy that is stored whole. Which element is read may
    depend on other inputs, as in `E[ids[i]]`. The loop after `at` is not reshaped any more.

    Errors: prefetch-refused, unknown-loop, ambiguous-loop
    """

    tensor: str = field(metadata=takes(Kind.STAGE))
    at: str = field(metadata=takes(Kind.LOOP))
    ahead: int = field(default=1, metadata=takes(Kind.SIZE))
    of: str | None = field(default=None, metadata=takes(Kind.LOOP))


@dataclass(frozen=True, slots=True)
class Stream(Directive):
    """Store the elements of stages past the caches: for results larger than those, that nobody reads soon.

    Before:  for i in 0..M: for j in 0..N: Y[i, j] = X[i, j]
    Line:    stream Y
    After:   for i in 0..M: for j in 0..N: stream Y[i, j] = X[i, j]

    Whole vectors go past the caches, where they lie at multiples of 16 bytes; anything else is stored
    as ever. Copies are streamed too (`stream X_copy`); of a reduction, which updates its elements, what a
    `cache_write` writes back. It is a hint: within the caches it costs time. With `of 16777216`, which
    the call decides, it counts for a tensor of at least so many bytes whose rows (the last axis, where there
    are several) are whole lines of 64 bytes.

    Errors: stream-refused, unknown-stage
    """

    stages: tuple[str, ...] = field(metadata=takes(Kind.STAGE, 1, None))
    of: int | None = field(default=None, metadata=takes(Kind.SIZE))


@dataclass(frozen=True, slots=True)
class Online(Directive):
    """Run reductions that depend on each other in one loop over blocks, rescaling partial results.

    Before:  for i in 0..M: for j in 0..64: m[i] max= X[i, j];
             for i in 0..M: for j in 0..64: l[i] sum= exp(X[i, j] - m[i]);
             for i in 0..M: Y[i] = m[i] + log(l[i])
    Line:    online j of m, l at Y.i by 16
    After:   for i in 0..M: m[i] = -inf; l[i] = 0.0; for jo in 0..4: m_old[i] = m[i];
             for ji in 0..16: m[i] max= X[i, 16 * jo + ji] from m_old[i];
             m_scale[i] = where(m_old[i] == -inf, 1.0, exp(m_old[i] - m[i]));
             m_safe[i] = where(m[i] == -inf, 0.0, m[i]);
             for ji in 0..16: l[i] sum= exp(X[i, 16 * jo + ji] - m_safe[i]) from l[i] * m_scale[i];
             if m[i] == -inf: l[i] = nan; Y[i] = m[i] + log(l[i])

    Softmax and attention become one pass over their axis, and of the logits and their exponentials
    there is only a block at a time. `at` names the loop that needs the results. What the reductions
    read is computed in blocks too, where they alone read it. The blocks are those that the `where`
    leaves: under `j <= i and j > i - W` from the first that some row in the loop takes to the last.

    A sum may follow a running maximum or minimum `m` if its terms depend on `m` through factors
    `exp(c * (s - m))` or `exp2(..)` alone, where `m` is that of `s` over the same elements and `c` is
    free of the axis; that is checked, whatever the terms look like. One more factor may be linear in
    `m`, as in the entropy's `exp(s - m) * (s - m)`, if the sum without it is computed along with it.
    Where a term rounds such a factor, as `bf16(exp(s - m))` does, it is rounded with the running `m` and
    rescaled then: one rounding to that type, as in the plain term, of another number.
    Results differ from the plain ones by rounding only, and NaN stands where it would; where the plain
    terms overflow (`c` is below 0 at run time), infinities may. Axes that go by other names are
    listed: `online j, Y_sum.k of m, Y_sum at Y.i by 64`. New stages, with loops of those names:
    `m_old`, `m_scale`, `m_safe`, and before and behind the loop `m_start`, `l_end`.

    Errors: online-refused, online-algebra, stage-touched, unknown-stage, repeated-stage, unknown-loop,
    ambiguous-loop, loop-name
    """

    axes: tuple[str, ...] = field(metadata=takes(Kind.LOOP, 1, None))
    of: tuple[str, ...] = field(metadata=takes(Kind.STAGE, 1, None))
    at: str = field(metadata=takes(Kind.LOOP))
    by: int = field(metadata=takes(Kind.SIZE))
    into: tuple[str, ...] | None = field(default=None, metadata=takes(Kind.NAME, 2, 2))


@dataclass(frozen=True, slots=True)
class Tensorize(Directive):
    """Run data loops and a reduction loop by one instruction, whose meaning is an op.

    Before:  for i in 0..16: for k in 0..4: D[i] sum= i32(A[i, k]) * i32(B[i, k])
    Line:    tensorize i, k as vpdpbusd
    After:   tensorized for k in 0..4: vector for i in 0..16: D[i] sum= i32(A[i, k]) * i32(B[i, k])

    The instructions are ops in the standard library that say what they compute: `vpdpbusd` and `vdpbf16ps`
    of CPUs (`te/std/x86.te`), `mma_m16n8k16_bf16`, `mma_m16n8k16_f16`, `mma_m16n8k32_i8` and others of the
    tensor cores of GPUs (`te/std/cuda.te`). The loops' body must be that op, compared as it is written: reducer,
    casts, dtypes, and extents; `*` and `+` may have their sides the other way round.

    On CPUs the trips of the reduction loop read each operand at neighbouring elements, and those of the data
    loop at the elements behind them; or the data loop reads the same elements in each trip, which are then
    given to all lanes. The result is written at neighbouring elements. The data loop may have
    several times as many trips as the instruction has lanes. Where a `split` overhangs, rows and
    lanes are cut off at no cost; the last terms, where 4 or 2 do not divide them, run as loops.

    On GPUs three loops are named: rows, columns and terms of a tile. Both operands and the result are whole
    tiles in registers (`cache_read A at k as Af in register`), which lie over the 32 lanes of a warp as the
    instruction wants them; loops over elements of such a tile that stand in no loop of threads become loops of
    lanes. Where a `split` of the terms overhangs, both operands must be 0 there: copies with `fill 0` are, and
    those that are made under a condition. With factors of f16 and bf16, a `where` may leave out terms for some
    rows by their indices, as `k <= i` does.

    Nothing is changed but the order of a sum, so integers stay exact, and floats are rounded as in
    some order of the terms; tensor cores cut off low bits of f32 sums. `vdpbf16ps` also takes denormal numbers
    for 0, and `mma_m16n8k8_tf32` the first 11 bits of its factors, which is no rounding of a sum: they need
    `te.build(..., math="fast")`. A build for a target without the instruction is
    refused.

    Errors: unknown-intrinsic, tensorize-loops, tensorize-extent, tensorize-mismatch,
    tensorize-address, tensorize-operands, tensorize-guard, intrinsic-missing, intrinsic-math, not-nested,
    unknown-loop, ambiguous-loop, repeated-loop, loop-kind, kind-nesting
    """

    loops: tuple[str, ...] = field(metadata=takes(Kind.LOOP, 2, 3))
    as_: str = field(metadata=takes(Kind.INTRINSIC))


@dataclass(frozen=True, slots=True)
class Compensate(Directive):
    """Take zero points and signs out of a sum of products of bytes, so that an instruction computes it.

    Before:  for i in 0..M: for k in 0..K: C[i] sum= i32(A[i, k]) * i32(x[k])
    Line:    compensate C
    After:   for d0 in 0..K: C_left[d0] = u8(x[d0]) ^ 128;
             for i in 0..M: for k in 0..K: C_right_sum[i] sum= i32(A[i, k]);
             for i in 0..M: for k in 0..K: C_product[i] sum= i32(C_left[k]) * i32(A[i, k]);
             for i in 0..M: C[i] = C_product[i] - 128 * C_right_sum[i]

    The terms are `(i32(A[..]) - a) * (i32(B[..]) - b)`, A and B in u8 or i8, each with a zero point that is
    the same for all terms, or without one. `C_product` is the sum of products of u8 and i8, which
    `tensorize` takes; `C` is put together from it and from `C_left_sum` and `C_right_sum`, the sums of the
    factors alone. `C_left` is the factor that the last axis of C does not move along, where both
    have the same dtype: in the other one, shifted by 128. Integers wrap around, so results are the same.

    Errors: compensate-refused, stage-touched, stage-name, unknown-stage
    """

    stage: str = field(metadata=takes(Kind.STAGE))


@dataclass(frozen=True, slots=True)
class Precompute(Directive):
    """Compute stages of `param`s alone once for many calls: when the `param`s are bound.

    Before:  for i in 0..N: e[i] = W[i] + 1.0; for i in 0..N: Y[i] = X[i] * e[i]
    Line:    precompute e
    After:   for i in 0..N: e[i] = W[i] + 1.0; for i in 0..N: Y[i] = X[i] * e[i]

    The loops stay as they are; those of the stages, and of all that they are computed from, become
    code of their own. `kernel.bind(W=...)` runs it once all their `param`s are bound, and keeps what it
    gives for all calls: what is written to W from then on does not count. Where sizes or dtypes that it
    depends on are not known yet, it runs at the first call. A call without bound inputs computes it each
    time. The stages have loops of their own, and depend on `param`s, tables and sizes only. A debug build
    computes everything at each call.

    Errors: precompute-refused
    """

    stages: tuple[str, ...] = field(metadata=takes(Kind.STAGE, 1, None))


@dataclass(frozen=True, slots=True)
class Bind(Directive):
    """Run a loop's trips on a level of a GPU: its blocks, warps or threads.

    Before:  for i in 0..N: S(i)
    Line:    bind i to block.x
    After:   block.x for i in 0..N: S(i)

    Legal where `parallel` is; a target without such a level refuses it. A reduction loop may be bound to threads,
    lanes or warps too: each of them keeps a partial result, and these are combined in halves. From the outside
    in: cluster, block, warpgroup, warp, then thread or lane, each at most once around a statement. A loop bound to
    `cluster.x` (from sm_90 on) holds a loop of up to 8 trips that is bound to `block.x` already: these blocks start
    together. `order` says how the blocks of a launch follow each other: `grouped`, of loops on `block.x` and
    `block.y`, in groups of 8 rows, `hilbert` along a Hilbert curve; `persistent` launches as many as run at a time,
    each of which takes one trip after the other.

    Errors: bind-target, block-order, directive-value, parallel-reduction, parallel-dependence, kind-nesting,
    unknown-loop, ambiguous-loop, loop-kind
    """

    loop: str = field(metadata=takes(Kind.LOOP))
    to: str = field(metadata=takes(Kind.BINDING))
    order: BlockOrder | None = field(default=None, metadata=takes(Kind.ORDER))


@dataclass(frozen=True, slots=True)
class Distribute(Directive):
    """Let each element of a register buffer be held by the GPU thread that holds the same element of another.

    Before:  for i in 0..64: alloc p[1, 8] in register: alloc s[1, 8] in register:
             for j in 0..8: s[i, j] = X[i, j] + 1.0; for j in 0..8: p[i, j] = exp(s[i, j]);
             for j in 0..8: Y[i, j] = p[i, j]
    Line:    distribute p like s
    After:   for i in 0..64: alloc s[1, 8] in register: alloc p[1, 8] in register like s:
             for j in 0..8: s[i, j] = X[i, j] + 1.0; for j in 0..8: p[i, j] = exp(s[i, j]);
             for j in 0..8: Y[i, j] = p[i, j]

    Registers that are allocated outside the loops of a block's threads are spread over the threads; what
    is computed from elements at the same place then needs none of another thread. Both buffers are in
    registers, of one shape, and allocated in one place (or the second around the first). Where loops
    bound to threads stand around their accesses, it must be proved that the same element is always the
    same thread's, and is proved again after every later line: it stands behind the `bind` lines. No
    result depends on it. Targets without threads that share registers, such as `llvm`, refuse it.

    Errors: distribute-refused, storage-refused, unknown-tensor
    """

    buffer: str = field(metadata=takes(Kind.STAGE))
    like: str = field(metadata=takes(Kind.STAGE))


@dataclass(frozen=True, slots=True)
class Fold(Directive):
    """Keep only the last elements of a stage along an axis: a buffer of so many slots, in a circle.

    Before:  for i in 0..N: e[i] = X[i] + 1.0; Y[i] = e[i] * 2.0
    Line:    fold e by 1
    After:   alloc e[N] fold axis 0 by 1: for i in 0..N: e[i] = X[i] + 1.0; Y[i] = e[i] * 2.0

    Element `i` lies in slot `i % by`. For recurrences, of which only the last steps are read, and for
    sliding windows. The axis is the first one for which it is proved that no element is read after
    the one `by` steps further was written: the stage is written in the order of that axis, by a
    serial loop, and read at most `by - 1` steps back. It is proved again after every later line,
    which is refused where it would no longer be so.

    Errors: fold-refused, unknown-stage
    """

    stage: str = field(metadata=takes(Kind.STAGE))
    by: int = field(metadata=takes(Kind.SIZE))


@dataclass(frozen=True, slots=True)
class Pipeline(Directive):
    """Make the copies in a loop some trips ahead of their use.

    Before:  for i in 0..M: for a in 0..N: Xc[a, i] = X[a, i]; for j in 0..N: Y[i, j] = Xc[j, i]
    Line:    pipeline i depth 2
    After:   pipelined 2 for i in 0..M: for a in 0..N: Xc[a, i] = X[a, i]; for j in 0..N: Y[i, j] = Xc[j, i]

    The copies that `cache_read ... at i` makes get a buffer for each of `depth` trips: trip `t` makes
    those of trip `t + depth - 1`, asynchronously where the target can. `producer` (warps that only copy)
    and `registers` (how many those and the others have) are refused: no target has them yet.

    Legal where no copy reads what the loop computes, which is proved again after every later line.

    Errors: pipeline-refused, unknown-loop, ambiguous-loop, loop-kind
    """

    loop: str = field(metadata=takes(Kind.LOOP))
    depth: int = field(metadata=takes(Kind.SIZE))
    producer: int | None = field(default=None, metadata=takes(Kind.SIZE))
    registers: tuple[int, ...] | None = field(default=None, metadata=takes(Kind.SIZE, 2, 2))


VERBS: dict[str, type[Directive]] = {
    "split": Split,
    "tile": Tile,
    "fuse": Fuse,
    "reorder": Reorder,
    "unroll": Unroll,
    "vectorize": Vectorize,
    "parallel": Parallel,
    "inline": Inline,
    "compute_at": ComputeAt,
    "compute_root": ComputeRoot,
    "fission": Fission,
    "merge": Merge,
    "rfactor": Rfactor,
    "prefetch": Prefetch,
    "stream": Stream,
    "bind": Bind,
    "fold": Fold,
    "pipeline": Pipeline,
    "cache_read": CacheRead,
    "cache_write": CacheWrite,
    "set_scope": SetScope,
    "layout": SetLayout,
    "align": Align,
    "use": Use,
    "specialize": Specialize,
    "online": Online,
    "tensorize": Tensorize,
    "compensate": Compensate,
    "precompute": Precompute,
    "swizzle": Swizzle,
    "distribute": Distribute,
}
