"""Transposes in registers: rows as vectors to columns as vectors, by shuffles.

A square block takes log2 steps of half as many pairs as it has rows. Those of the first kind interleave
two vectors within each 16 bytes, as `unpcklps` and `zip1` do: a bit of the row's number becomes the
lowest of the place in 16 bytes, whose highest becomes one of the row's. Those of the second kind do
the same with whole 16 bytes, as `vshuff32x4` does, in the other direction. Both together are the
transpose, and each step is one instruction on all targets.
"""

from __future__ import annotations

from collections.abc import Sequence

from te.backends.llvm.emitter import Emitter
from te.backends.llvm.values import Value

QUARTER_BITS = 128  # of an AVX-512 register: what cheap shuffles do not cross
POISON = -1


def transposed(emit: Emitter, rows: Sequence[Value], columns: int) -> list[Value]:
    """The columns of a matrix, of which `rows` are vectors of `columns` elements."""
    bits = rows[0].dtype.bits
    widest = max(2, emit.module.vector_bits // max(8, bits))
    side = min(widest, _power_of_two(max(len(rows), columns)))
    pieces: list[list[Value]] = [[] for _ in range(columns)]
    for top in range(0, len(rows), side):
        band = rows[top : top + side]
        for left in range(0, columns, side):
            square = [_part(emit, row, left, side) for row in band]
            square += [square[-1]] * (side - len(band))  # of these nothing is used
            for number, column in enumerate(_square(emit, square)[: columns - left]):
                pieces[left + number].append(column)
    return [_joined(emit, parts, len(rows)) for parts in pieces]


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def _part(emit: Emitter, row: Value, left: int, side: int) -> Value:
    """So many elements of a vector; what lies beyond its end is undefined."""
    if left == 0 and row.lanes == side:
        return row
    return emit.shuffle(row, [i if i < row.lanes else POISON for i in range(left, left + side)])


def _square(emit: Emitter, rows: list[Value]) -> list[Value]:
    side = len(rows)
    group = min(side, QUARTER_BITS // max(8, rows[0].dtype.bits))
    distance = group // 2
    while distance:
        rows = _step(emit, rows, distance, *_interleaved(side, group))
        distance //= 2
    distance = group
    while distance < side:
        rows = _step(emit, rows, distance, *_every_other(side, group))
        distance *= 2
    return rows


def _step(
    emit: Emitter, rows: list[Value], distance: int, first: list[int], second: list[int]
) -> list[Value]:
    """Two vectors of every two that are so far apart."""
    result = list(rows)
    for number in range(len(rows)):
        if not number & distance:
            a, b = rows[number], rows[number | distance]
            result[number] = emit.shuffle(a, first, b)
            result[number | distance] = emit.shuffle(a, second, b)
    return result


def _interleaved(side: int, group: int) -> tuple[list[int], list[int]]:
    """The lower and the upper halves of each group, element by element."""

    def half(offset: int) -> list[int]:
        places = (start + offset + i for start in range(0, side, group) for i in range(group // 2))
        return [lane for place in places for lane in (place, side + place)]

    return half(0), half(group // 2)


def _every_other(side: int, group: int) -> tuple[list[int], list[int]]:
    """The even groups of both vectors, and the odd ones."""

    def groups(parity: int) -> list[int]:
        starts = range(parity * group, 2 * side, 2 * group)
        return [start + i for start in starts for i in range(group)]

    return groups(0), groups(1)


def _joined(emit: Emitter, parts: list[Value], lanes: int) -> Value:
    """The first lanes of vectors put together."""
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [_pair(emit, *pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return _part(emit, parts[0], 0, lanes)


def _pair(emit: Emitter, a: Value, b: Value) -> Value:
    if b.lanes < a.lanes:
        b = _part(emit, b, 0, a.lanes)
    return emit.shuffle(a, list(range(a.lanes + b.lanes)), b)
