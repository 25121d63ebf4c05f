"""The vocabulary: its documentation is true, and its shapes are checked."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest

from te.diagnostics import ScheduleError
from te.grammar.parser import parse_directives
from te.ir.expr import Load, Var, floor_div, floor_mod, integer
from te.ir.loop import SERIAL, Accumulate, Alloc, Buffer, Completed, For, If, Let, Seq, Stmt, Store
from te.ir.print import print_expr, print_swizzle
from te.ir.types import I64
from te.ir.visit import loads
from te.schedule.apply import apply_all
from te.schedule.directives import (
    VERBS,
    Align,
    Bind,
    CacheRead,
    CacheWrite,
    ComputeAt,
    ComputeRoot,
    Distribute,
    Fission,
    Fold,
    Fuse,
    Inline,
    Merge,
    Online,
    Parallel,
    Pipeline,
    Precompute,
    Prefetch,
    Reorder,
    Rfactor,
    SetLayout,
    SetScope,
    Specialize,
    Split,
    Stream,
    Swizzle,
    Tensorize,
    Tile,
    Unroll,
    Use,
    Vectorize,
)
from te.schedule.forms import BlockOrder, Directive, Layout, Scope, Tail, TensorAxes
from te.schedule.names import index_of
from te.schedule.schedule import Schedule
from te.schedule.text import read_directives
from te.schedule.vocabulary import Value, make, print_directive
from te.schedule.written import read_lines, schedules_for
from tests.schedule.scheduling import MATMUL, scheduled, setting_of

# The ops whose loops the `Before` lines show.
OPS = {
    "for i in 0..N: S(i)": "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] }",
    "for i in 0..4: S(i)": "op f(X: f32[4]) -> Y: f32[4] { Y[i] = X[i] }",
    "for i in 0..M: for j in 0..N: S(i, j)": "op f(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = X[i, j] }",
    "for i in 0..M: for j in 0..N: Y[i, j] = X[j, i]": "op f(X: f32[N, M]) -> Y: f32[M, N] { Y[i, j] = X[j, i] }",
    "for i in 0..M: for j in 0..N: for k in 0..K: S(i, j)": MATMUL,
    "for i in 0..64: for j in 0..64: S(i, j)": "op f(X: f32[64, 64]) -> Y: f32[64, 64] { Y[i, j] = X[i, j] }",
    "for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0": """
        op f(X: f32[N]) -> Y: f32[N] {
            e[i] = X[i] + 1.0
            Y[i] = e[i] * 2.0
        }
    """,
    "for i in 0..16: for k in 0..4: D[i] sum= i32(A[i, k]) * i32(B[i, k])": """
        op f(A: u8[16, 4], B: i8[16, 4]) -> D: i32[16] {
            D[i] = sum[k](i32(A[i, k]) * i32(B[i, k]))
        }
    """,
}

OPS["for i in 0..M: for j in 0..N: Y[i] sum= X[i, j]"] = (
    "op f(X: f32[M, N]) -> Y: f32[M] { Y[i] = sum[j](X[i, j]) }"
)

OPS["for i in 0..M: for j in 0..N: Y[i, j] = X[i, j]"] = (
    "op f(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = X[i, j] }"
)

OPS["for i in 0..64: for j in 0..64: Y[i, j] = X[i, j]"] = OPS["for i in 0..64: for j in 0..64: S(i, j)"]
OPS[
    "for i in 0..M: for j in 0..64: m[i] max= X[i, j]; for i in 0..M: for j in 0..64: l[i] sum= exp(X[i, j] - m[i]); "
    "for i in 0..M: Y[i] = m[i] + log(l[i])"
] = """
    op f(X: f32[M, 64]) -> Y: f32[M] {
        m[i] = max[j](X[i, j])
        l[i] = sum[j](exp(X[i, j] - m[i]))
        Y[i] = m[i] + log(l[i])
    }
"""

OPS[
    "for i in 0..64: for j in 0..32: e[i, j] = X[i, j] + 1.0; for i in 0..32: for j in 0..64: Y[i, j] = e[j, i]"
] = """
    op f(X: f32[64, 32]) -> Y: f32[32, 64] {
        e[i, j] = X[i, j] + 1.0
        Y[i, j] = e[j, i]
    }
"""

# Lines that make a nest with such a `Before` of another one's op.
MADE_BY = {
    "for i in 0..N: e[i] = X[i] + 1.0; Y[i] = e[i] * 2.0": (
        "for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0",
        "merge e.i, Y.i",
    ),
    "for i in 0..M: for a in 0..N: Xc[a, i] = X[a, i]; for j in 0..N: Y[i, j] = Xc[j, i]": (
        "for i in 0..M: for j in 0..N: Y[i, j] = X[j, i]",
        "cache_read X[a, b] at i as Xc",
    ),
}

OPS["for i in 0..64: for j in 0..8: three"] = """
    op f(X: f32[64, 8]) -> Y: f32[64, 8] {
        s[i, j] = X[i, j] + 1.0
        p[i, j] = exp(s[i, j])
        Y[i, j] = p[i, j]
    }
"""
MADE_BY[
    "for i in 0..64: alloc p[1, 8] in register: alloc s[1, 8] in register: for j in 0..8: s[i, j] = X[i, j] + 1.0; "
    "for j in 0..8: p[i, j] = exp(s[i, j]); for j in 0..8: Y[i, j] = p[i, j]"
] = (
    "for i in 0..64: for j in 0..8: three",
    "compute_at s, p at Y.i in register",
)

OPS["for i in 0..N: e[i] = W[i] + 1.0; for i in 0..N: Y[i] = X[i] * e[i]"] = """
    op f(X: f32[N], param W: f32[N]) -> Y: f32[N] {
        e[i] = W[i] + 1.0
        Y[i] = X[i] * e[i]
    }
"""

OPS["for i in 0..M: for k in 0..K: C[i] sum= i32(A[i, k]) * i32(x[k])"] = (
    "op f(A: i8[M, K], x: i8[K]) -> C: i32[M] { C[i] = sum[k](i32(A[i, k]) * i32(x[k])) }"
)

# What stands beside the op for the `Line` of a verb.
BESIDE = {
    "use": [
        "op halves(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] }",
        "schedule halves on llvm { split i by 2 }",
    ]
}


def parts_of(verb: str) -> dict[str, str]:
    """The lines `Before: ...`, `Line: ...`, `After: ...` of a verb's docstring."""
    doc = inspect.getdoc(VERBS[verb]) or ""
    parts = re.findall(r"^(Before|Line|After): +(.*(?:\n {9}.*)*)$", doc, re.MULTILINE)
    return {name: re.sub(r"\n +", " ", text) for name, text in parts}


def rendered(s: Stmt, full: bool) -> str:
    """A nest in the notation of the docstrings."""
    match s:
        case For():
            pipelined = f"pipelined {s.pipeline.depth} " if s.pipeline else ""
            kind = pipelined if s.kind == SERIAL else f"{s.kind} "
            extent = print_expr(s.extent, index_of)
            fetched = [print_expr(Load(p.buffer, p.index, I64), index_of) for p in s.prefetches]
            fetch = "".join(f"fetch {element}; " for element in fetched)
            return f"{kind}for {index_of(s.var)} in 0..{extent}: {fetch}{rendered(s.body, full)}"
        case If():
            return f"if {print_expr(s.condition, index_of)}: {rendered(s.body, full)}"
        case Let():
            return f"let {index_of(s.var)} = {print_expr(s.value, index_of)}: {rendered(s.body, full)}"
        case Alloc():
            return _allocation(s.buffer) + rendered(s.body, full)
        case Completed():
            return f"in the last trip of {', '.join(map(index_of, sorted(s.over)))}: {rendered(s.body, full)}"
        case Seq():
            return "; ".join(rendered(item, full) for item in s.items)
        case Store() | Accumulate():
            index = ", ".join(print_expr(i, index_of) for i in s.index)
            past = "stream " if isinstance(s, Store) and s.stream else ""
            steps = "=" if isinstance(s, Store) else f"{s.reducer}="
            start = s.start if isinstance(s, Accumulate) else None
            from_ = f" from {print_expr(start, index_of)}" if start and any(loads(start)) else ""
            step = f"{past}{s.buffer}[{index}] {steps} {print_expr(s.value, index_of)}{from_}"
            return step if full else f"S({index})"


def _allocation(b: Buffer) -> str:
    """A buffer, where something about it is out of the ordinary."""
    like = f" like {b.like}" if b.like else ""
    if b.scope == "global" and b.layout is None and b.fold is None:
        return ""
    where = "" if b.scope == "global" else f" in {b.scope}"
    layout = f" layout [{', '.join(map(print_expr, b.layout.dims))}]" if b.layout else ""
    align = f" align {', '.join(map(str, b.layout.align))}" if b.layout and b.layout.align else ""
    swizzle = f" {print_swizzle(b.layout.swizzle)}" if b.layout and b.layout.swizzle else ""
    fold = f" fold axis {b.fold[0]} by {b.fold[1]}" if b.fold else ""
    shape = ", ".join(print_expr(d, index_of) for d in b.shape)
    return f"alloc {b.name}[{shape}]{where}{like}{fold}{layout}{align}{swizzle}: "


@pytest.mark.parametrize("verb", VERBS)
def test_the_documented_example_is_what_happens(verb: str) -> None:
    parts = parts_of(verb)
    full = "[" in parts["Before"]
    plain, lines = MADE_BY.get(parts["Before"], (parts["Before"], ""))
    target = "cuda" if verb in ("bind", "distribute") else "llvm"
    before = replace(scheduled(OPS[plain], lines), target=target)
    assert rendered(before.body, full) == parts["Before"]
    beside = "".join(f"{op}\n" for op in BESIDE.get(verb, ()))
    (item,) = re.findall(r"op (\w+)", OPS[plain])
    setting = setting_of(f"{OPS[plain]}\n{beside}schedule {item} on llvm {{ {parts['Line']} }}", item)
    written = schedules_for(setting)[0].schedule
    after = apply_all(before, read_lines(written, setting))[-1].kernel
    assert rendered(after.body, full) == parts["After"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_method_with_its_documentation(verb: str) -> None:
    assert getattr(Schedule, verb).__doc__ == VERBS[verb].__doc__


def test_documented_errors_exist() -> None:
    import te.schedule

    folder = Path(te.schedule.__file__).parent
    written = set(
        re.findall(r'"([a-z]+(?:-[a-z]+)+)",', "".join(p.read_text() for p in folder.rglob("*.py")))
    )
    for verb, directive in VERBS.items():
        errors = (inspect.getdoc(directive) or "").split("Errors:")[1]
        listed = set(re.findall(r"[a-z]+(?:-[a-z]+)+", errors))
        assert listed, verb
        assert listed <= written, verb


PACKED = Layout((floor_div(Var("k"), integer(4)), Var("i"), floor_mod(Var("k"), integer(4))))
LINES: list[tuple[str, Directive]] = [
    ("split i by 8", Split("i", by=8)),
    ("split C.k by 256 into ko, ki", Split("C.k", by=256, into=("ko", "ki"))),
    ("split k parts 16 into ko, ki", Split("k", parts=16, into=("ko", "ki"))),
    ("split i by 8 tail shift", Split("i", by=8, tail=Tail.SHIFT)),
    ("tile i, j by 8, 16 into io, jo, ii, ji", Tile(("i", "j"), (8, 16), ("io", "jo", "ii", "ji"))),
    ("tile i, j by 8, 16 tail peel", Tile(("i", "j"), (8, 16), tail=Tail.PEEL)),
    ("fuse i, j into f", Fuse(("i", "j"), "f")),
    ("reorder io, jo, k, ii, ji", Reorder(("io", "jo", "k", "ii", "ji"))),
    ("unroll ii, ki", Unroll(("ii", "ki"))),
    ("vectorize m.j, e.j by 16", Vectorize(("m.j", "e.j"), by=16)),
    ("parallel Y.i", Parallel(("Y.i",))),
    ("inline e", Inline(("e",))),
    (
        "online j, l.k of m, l at Y.i by 64 into jo, ji",
        Online(("j", "l.k"), ("m", "l"), "Y.i", 64, ("jo", "ji")),
    ),
    ("rfactor ko of C as P", Rfactor("ko", of="C", as_="P")),
    ("rfactor C.k of C", Rfactor("C.k", of="C")),
    ("prefetch X at m.j ahead 2 of Y.i", Prefetch("X", at="m.j", ahead=2, of="Y.i")),
    ("prefetch X at j", Prefetch("X", at="j")),
    ("stream Y, Z", Stream(("Y", "Z"))),
    ("bind io to block.x order hilbert", Bind("io", to="block.x", order=BlockOrder.HILBERT)),
    ("bind C.ii to thread.y", Bind("C.ii", to="thread.y")),
    ("fold h by 2", Fold("h", by=2)),
    ("pipeline ko depth 3", Pipeline("ko", depth=3)),
    (
        "pipeline ko depth 3 producer 1 registers 40, 232",
        Pipeline("ko", depth=3, producer=1, registers=(40, 232)),
    ),
    ("fission k at 1", Fission("k", at=1)),
    ("merge e.j, Y_sum.k", Merge(("e.j", "Y_sum.k"))),
    ("compute_at m, e at Y.i in stack", ComputeAt(("m", "e"), "Y.i", Scope.STACK)),
    ("compute_at h at x keep Y.y", ComputeAt(("h",), "x", keep="Y.y")),
    ("compute_root e", ComputeRoot(("e",))),
    (
        "cache_read A[i, k] at ko as Ap in shared layout [k // 4, i, k % 4] fill 0",
        CacheRead(TensorAxes("A", ("i", "k")), "ko", "Ap", Scope.SHARED, PACKED, 0),
    ),
    ("cache_write C at jo as Ct in register", CacheWrite(TensorAxes("C"), "jo", "Ct", Scope.REGISTER)),
    ("set_scope e in local", SetScope("e", Scope.LOCAL)),
    ("layout F[i, k] as [k // 4, i, k % 4]", SetLayout(TensorAxes("F", ("i", "k")), PACKED)),
    ("align Ap axis 1 by 8", Align("Ap", 1, 8)),
    ("swizzle Ap by 8", Swizzle("Ap", 8)),
    ("swizzle Ap", Swizzle("Ap")),
    ("distribute p like Sf", Distribute("p", like="Sf")),
    ("precompute e, m", Precompute(("e", "m"))),
    ("use nn.softmax of H", Use("nn.softmax", of="H")),
    (
        "specialize M % 12 == 0 {\n    split i by 12\n}",
        Specialize("M % 12 == 0", (Split("i", by=12),)),
    ),
    ("tensorize ji, ki as vpdpbusd", Tensorize(("ji", "ki"), "vpdpbusd")),
]


@pytest.mark.parametrize(("text", "directive"), LINES, ids=[text for text, _ in LINES])
def test_text_and_directives_say_the_same(text: str, directive: Directive) -> None:
    from te.schedule.condition import Names

    assert print_directive(directive) == text
    assert read_directives(parse_directives(text), Names({}, {}, {"M": Var("M")})) == (directive,)


def test_clauses_may_stand_in_any_order() -> None:
    from te.schedule.condition import Names

    (read,) = read_directives(parse_directives("split i into a, b tail peel by 4"), Names({}, {}, {}))
    assert read == Split("i", by=4, into=("a", "b"), tail=Tail.PEEL)


@pytest.mark.parametrize(
    ("verb", "operands", "clauses", "code"),
    [
        ("split", ["i", "j"], {"by": [8]}, "directive-count"),
        ("split", [], {"by": [8]}, "directive-count"),
        ("split", ["i"], {"by": [8], "into": ["io"]}, "directive-count"),
        ("split", ["i"], {"by": ["eight"]}, "directive-value"),
        ("split", ["i"], {"by": [True]}, "directive-value"),
        ("split", ["i"], {"by": [2.5]}, "directive-value"),
        ("split", ["i"], {"by": [10**5000]}, "directive-value"),
        ("cache_read", [TensorAxes("X")], {"fill": [-(10**400)]}, "directive-value"),
        ("split", ["i"], {"by": [8], "into": ["i.o", "ii"]}, "directive-value"),
        ("split", ["i"], {"by": [8], "into": ["require", "ii"]}, "directive-value"),
        ("split", ["i"], {"by": [8], "tail": ["shft"]}, "directive-value"),
        ("split", ["i j"], {"by": [8]}, "directive-value"),
        ("tile", ["i", "j"], {}, "missing-clause"),
        ("fuse", ["i", "j"], {}, "missing-clause"),
        ("fuse", ["i", "j", "k"], {"into": ["f"]}, "directive-count"),
        ("reorder", ["i"], {}, "directive-count"),
    ],
)
def test_a_wrong_shape_is_refused(
    verb: str, operands: list[object], clauses: dict[str, list[object]], code: str
) -> None:
    values = {name: [Value(v) for v in given] for name, given in clauses.items()}
    with pytest.raises(ScheduleError) as caught:
        make(verb, [Value(o) for o in operands], values)
    assert [d.code for d in caught.value.diagnostics] == [code]
