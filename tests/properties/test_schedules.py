"""Random loop schedules change no result, and end in nothing but a kernel or a `ScheduleError`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from te.backends.interp.loop import Order, run_kernel
from te.diagnostics import ScheduleError
from te.ir.loop import Accumulate, Alloc, For, Kernel, Seq, walk_stmt
from te.schedule.apply import apply
from te.schedule.auto import auto_schedule
from te.schedule.directives import (
    CacheRead,
    Fission,
    Fold,
    Fuse,
    Inline,
    Merge,
    Parallel,
    Pipeline,
    Prefetch,
    Reorder,
    Rfactor,
    Split,
    Stream,
    Tensorize,
    Tile,
    Unroll,
    Vectorize,
)
from te.schedule.forms import Directive, Tail, TensorAxes
from te.schedule.names import all_loops
from te.schedule.nest import nest
from te.schedule.schedule import Schedule
from te.target import parse_target
from tests.schedule.scheduling import program, random_inputs

PROGRAMS = {
    "pointwise": "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] * 2.0 + 1.0 }",
    "fixed": "op f(X: i32[12, 5]) -> Y: i32[5, 12] { Y[i, j] = X[j, i] * 3 + 1 }",
    "matmul": "op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }",
    "divisible": """
        op f(A: i32[M, K], B: i32[K, N]) -> C: i32[M, N] {
            require M % 4 == 0
            require K >= 3
            C[i, j] = sum[k](A[i, k] * B[k, j])
        }
    """,
    "stencil": """
        op f(X: f64[M, N]) -> Y: f64[M, N] {
            blur[i, j] = ((X[i - 1, j] else 0.0) + X[i, j] + (X[i + 1, j] else 0.0)) * 0.25
            Y[i, j]    = (blur[i, j - 1] else 0.0) + blur[i, j] + (blur[i, j + 1] else 0.0)
        }
    """,
    "triangle": "op f(X: f32[N]) -> Y: f32[N] { Y[i] = sum[j where j <= i](X[j]) }",
    "box": "op f(X: i32[M, N, K]) -> Y: i32[M] { Y[i] = max[j, k where j <= k](X[i, j, k]) }",
    "window": "op f(X: f32[N], F: f32[3]) -> Y: f32[N - 2] { require N >= 3; Y[i] = sum[r < 3](X[i + r] * F[r]) }",
    "stages": """
        op f(X: f32[M, N]) -> Y: f32[M, N], total: f32 {
            m[i]    = max[j](X[i, j])
            e[i, j] = abs(X[i, j] - m[i]) + 1.0
            Y[i, j] = e[i, j] * 4.0 + sum[k](e[i, k])
            total   = sum[i, j](e[i, j])
        }
    """,
    "chain": """
        op f(X: i32[M, N]) -> Y: i32[M, N], Z: i32[M, N] {
            a[i, j] = X[i, j] + 1
            b[i]    = sum[j](a[i, j] * 2)
            Y[i, j] = a[i, N - 1 - j] - b[i]
            Z[i, j] = (Y[i - 1, j] else 7) + Y[i, j]
        }
    """,
    "states": """
        op f(X: i64[M, N]) -> Y: i64[N] {
            require M >= 1
            h[t, i] = X[t, i] + (h[t - 1, i] else 1) - (h[t - 1, i - 1] else 2)
            Y[i]    = h[M - 1, i]
        }
    """,
    "bytes": """
        op f(A: u8[M, 16, 4], B: i8[16, 4]) -> C: i32[M, 16] {
            C[i, j] = sum[k](i32(A[i, j, k]) * i32(B[j, k]))
        }
    """,
    "masks": "op f(X: u8[M, N]) -> any_odd: bool[M], Y: u8[M, N] {\n"
    "    any_odd[i] = any[j](X[i, j] % 2 == 1)\n    Y[i, j] = where(any_odd[i], X[i, j], 255 - X[i, j])\n}",
}
PLAIN = {name: nest(program(text)) for name, text in PROGRAMS.items()}


def side_by_side(kernel: Kernel) -> list[tuple[str, str]]:
    """The loops that follow each other directly, and the first two of all."""
    pairs = [
        (a.var, b.var)
        for s, _ in walk_stmt(kernel.body)
        if isinstance(s, Seq)
        for a, b in pairwise(s.items)
        if isinstance(a, For) and isinstance(b, For)
    ]
    return pairs or [tuple(loop.var for loop, _ in all_loops(kernel))[:2]]  # type: ignore[list-item]  # any two


factors = st.sampled_from([1, 2, 3, 4, 5, 8])


@st.composite
def directives(draw: st.DrawFn, kernel: Kernel) -> Directive:
    """A line that could be meant for the kernel, right or wrong."""
    loops = [loop.var for loop, _ in all_loops(kernel)]
    loop = st.sampled_from([*loops, "q"]) if loops else st.just("q")
    stage = st.sampled_from(sorted({loop.rsplit(".", 1)[0] for loop in loops}) or ["q"])

    def several(least: int, most: int) -> tuple[str, ...]:
        """Mostly different loops of one nest: others are refused at once."""
        of = draw(stage)
        near = [name for name in loops if name.rsplit(".", 1)[0] == of]
        if len(near) < least or draw(st.integers(0, 9)) == 0:
            return tuple(draw(st.lists(loop, min_size=least, max_size=most)))
        return tuple(draw(st.lists(st.sampled_from(near), min_size=least, max_size=most, unique=True)))

    def neighbours() -> tuple[str, ...]:
        first = draw(st.integers(0, max(0, len(loops) - 2)))
        return tuple(loops[first : first + 2])

    verbs = ["split", "split", "tile", "fuse", "reorder", "reorder", "unroll", "vectorize", "parallel"]
    verbs += ["rfactor", "prefetch", "stream", "cache_read", "pipeline"]
    if "i8" in [str(tensor.dtype) for tensor in kernel.program.inputs]:
        verbs += ["tensorize", "tensorize"]
    if len(kernel.program.stages) > 1:
        verbs += ["fold", "inline", "merge", "merge", "fission"]
    match draw(st.sampled_from(verbs)):
        case "split":
            tail = draw(st.sampled_from(list(Tail)))
            if draw(st.booleans()):
                return Split(draw(loop), by=draw(factors), tail=tail)
            return Split(draw(loop), parts=draw(factors), tail=tail)
        case "tile":
            tiled = several(2, 3)
            return Tile(tiled, tuple(draw(factors) for _ in tiled), tail=draw(st.sampled_from(list(Tail))))
        case "fuse":
            pair = neighbours()
            return Fuse(pair if len(pair) == 2 else several(2, 2), draw(st.sampled_from(["f", "g"])))
        case "reorder":
            return Reorder(several(2, 5))
        case "unroll":
            return Unroll(several(1, 2), by=draw(st.none() | factors))
        case "vectorize":
            return Vectorize(several(1, 2), by=draw(st.none() | factors))
        case "parallel":
            return Parallel(several(1, 2))
        case "cache_read" | "pipeline" as verb:
            copied = [
                x.var for x, _ in all_loops(kernel) if any(isinstance(s, Alloc) for s, _ in walk_stmt(x))
            ]
            if verb == "pipeline" and copied:
                return Pipeline(draw(st.sampled_from(copied)), depth=draw(st.integers(2, 3)))
            tensor = draw(st.sampled_from([t.name for t in kernel.program.inputs]))
            return CacheRead(TensorAxes(tensor), at=draw(loop), as_=draw(st.sampled_from(["T", "U"])))
        case "fold":
            return Fold(draw(stage), by=draw(st.integers(1, 3)))
        case "prefetch":
            tensor = draw(st.sampled_from([t.name for t in kernel.program.inputs]))
            return Prefetch(tensor, at=draw(loop), ahead=draw(st.integers(1, 3)), of=draw(st.none() | loop))
        case "stream":
            return Stream((draw(stage),))
        case "rfactor":
            steps = [
                (x.var, s.stage)
                for s, path in walk_stmt(kernel.body)
                if isinstance(s, Accumulate)
                for x in path
                if isinstance(x, For) and x.var in s.over
            ]
            of = draw(st.sampled_from(steps or [(loops[0], "q")]))
            return Rfactor(of[0], of=of[1], as_=draw(st.sampled_from(["P", "Q"])))
        case "tensorize":
            pair = tuple(loops[-2:]) if draw(st.booleans()) else several(2, 2)
            return Tensorize(pair, "vpdpbusd")
        case "merge":
            return Merge(
                draw(st.sampled_from(side_by_side(kernel)) | st.permutations(loops).map(lambda p: (*p[:2],)))
            )
        case "fission":
            shared = [x.var for x, _ in all_loops(kernel) if any(isinstance(s, Seq) for s, _ in walk_stmt(x))]
            return Fission(draw(st.sampled_from(shared or loops)), draw(st.integers(1, 2)))
    names = [s.name for s in kernel.program.stages]
    return Inline(tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=2))))


@st.composite
def schedules(draw: st.DrawFn) -> tuple[str, Kernel, list[str]]:
    """A program's name, its kernel after some lines, and those of them that were accepted."""
    name = draw(st.sampled_from(sorted(PLAIN)))
    kernel, accepted = PLAIN[name], []
    for _ in range(draw(st.integers(1, 8))):
        line = draw(directives(kernel))
        try:
            kernel = apply(kernel, line)
        except ScheduleError:
            continue
        accepted.append(str(line))
    return name, kernel, accepted


def assert_computes_the_same(
    before: Kernel, after: Kernel, sizes: dict[str, int], seed: int, order: Order
) -> None:
    inputs = random_inputs(before.program, sizes, seed)
    expected = run_kernel(before, inputs, sizes)
    found = run_kernel(after, inputs, sizes, order=order)
    for name, array in expected.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(found[name], array, rtol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], array, err_msg=name)


@given(schedules(), st.data())
def test_random_schedules_change_no_result(
    scheduled: tuple[str, Kernel, list[str]], data: st.DataObject
) -> None:
    name, after, _ = scheduled
    before = PLAIN[name]
    sizes = {size: data.draw(st.integers(1, 9), label=size) for size in before.program.sizes}
    if name == "divisible":
        sizes["M"], sizes["K"] = 4 * (1 + sizes["M"] % 3), sizes["K"] + 2
    if name == "window":
        sizes["N"] += 2
    order: Order = data.draw(st.sampled_from(["forward", "reverse", "shuffled"]), label="order")
    assert_computes_the_same(before, after, sizes, data.draw(st.integers(0, 99), label="seed"), order)


@given(schedules())
def test_the_lines_that_were_accepted_read_back_to_the_same_kernel(
    scheduled: tuple[str, Kernel, list[str]],
) -> None:
    from te.grammar.parser import parse_directives
    from te.schedule.text import names_in, read_directives

    name, kernel, accepted = scheduled
    lines = (
        read_directives(parse_directives("\n".join(accepted)), names_in(PLAIN[name].program))
        if accepted
        else ()
    )
    assert Schedule("f", directives=lines).apply(PLAIN[name]) == kernel


@given(st.sampled_from(sorted(PLAIN)), st.sampled_from([128, 256, 512]), st.integers(1, 20))
def test_automatic_schedules_change_no_result(name: str, bits: int, size: int) -> None:
    import dataclasses

    before = PLAIN[name]
    target = dataclasses.replace(parse_target("llvm"), vector_bits=bits)
    after = auto_schedule(before.program, target).apply(before)
    sizes = {n: 4 * size if n == "M" else size + 2 for n in before.program.sizes}
    assert_computes_the_same(before, after, sizes, size, "shuffled")
