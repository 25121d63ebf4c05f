"""Shared buffers that lie in the same bytes are never in use together, whatever a block does."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from te.ir.expr import Const, Load, Var, compare, integer
from te.ir.loop import Alloc, Buffer, For, If, Seq, Stmt, Store, bodies, direct_exprs, seq, walk_stmt
from te.ir.types import F32
from te.ir.visit import loads
from te.schedule.finalize.gpu.arena import ALIGNMENT, WORTHWHILE, end_of, overlapping, place_shared

NAMES = ("a", "b", "c", "d")
MOST = 1 << 20
Sizes = st.lists(st.sampled_from([3, 64, 255, 256, 300, 1024]), min_size=len(NAMES), max_size=len(NAMES))


def written(pair: tuple[str, str]) -> Stmt:
    to, source = pair
    return Store(to, (integer(0),), Load(source, (integer(0),), F32), to)


def looped(s: Stmt) -> Stmt:
    return For("i", Var("N"), s)


def chosen(sides: tuple[Stmt, Stmt]) -> Stmt:
    return If(compare("<", Var("N"), integer(5)), *sides)


def nested(inner: st.SearchStrategy[Stmt]) -> st.SearchStrategy[Stmt]:
    return st.one_of(
        inner.map(looped),
        st.tuples(inner, inner).map(chosen),
        st.lists(inner, min_size=2, max_size=4).map(lambda items: seq(*items)),
    )


Statements = st.recursive(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).map(written), nested, max_leaves=10
)


def used(s: Stmt, sides: Iterator[bool]) -> Iterator[str]:
    """The buffers in use, one access after the other; loops make two trips."""
    for e in direct_exprs(s):
        yield from (load.buffer for load in loads(e))
    match s:
        case Store():
            yield s.buffer
        case If(body=body, otherwise=otherwise):
            assert otherwise is not None
            yield from used(body if next(sides) else otherwise, sides)
        case _:
            for _ in range(2 if isinstance(s, For) else 1):
                for body in bodies(s):
                    yield from used(body, sides)


@given(items=st.lists(Statements, min_size=1, max_size=5), sizes=Sizes, data=st.data())
def test_buffers_in_the_same_bytes_are_not_in_use_together(
    items: list[Stmt], sizes: list[int], data: st.DataObject
) -> None:
    body = seq(Store("Y", (integer(0),), Const(0.0, F32), "Y"), *items)
    assert isinstance(body, Seq)
    inner: Stmt = body
    for name, size in zip(NAMES, sizes, strict=True):
        inner = Alloc(Buffer(name, F32, (integer(size),), "shared"), inner)
    placed = place_shared(inner, MOST)
    buffers = {s.buffer.name: s.buffer for s, _ in walk_stmt(placed) if isinstance(s, Alloc)}
    assert all(b.place % ALIGNMENT == 0 and end_of(b) <= MOST for b in buffers.values())
    overlaps = overlapping(placed)
    for name, others in overlaps.items():
        assert all(
            end_of(b) - b.place >= WORTHWHILE for b in (buffers[name], *map(buffers.__getitem__, others))
        )
    sides = iter(lambda: data.draw(st.booleans()), None)
    trace = [name for name in used(body, sides) if name in buffers]
    for name, others in overlaps.items():
        for other in others & set(trace):
            mine = [n for n, used_now in enumerate(trace) if used_now == name]
            its = [n for n, used_now in enumerate(trace) if used_now == other]
            assert not mine or mine[-1] < its[0] or its[-1] < mine[0], (name, other, trace)
