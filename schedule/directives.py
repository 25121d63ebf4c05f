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

from te.schedule.forms import Directive, Kind, Scope, Tail, takes


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

    Errors: parallel-reduction, parallel-dependence, kind-nesting, unknown-loop, ambiguous-loop,
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
}

# Verbs of the language that this version does not have.
LATER_VERBS = frozenset(
    "bind cache_read cache_write layout online pipeline prefetch stream tensorize "
    "align swizzle specialize fold set_scope precompute distribute".split()
)
