"""Which tile of a product is summed up in registers: an estimate of the cycles that each takes.

A tile of R rows and V vectors takes, for each term, R V multiply-adds, R broadcasts and V loads, and leaves
some registers free for these. Tiles at the borders take as long as whole ones, so that what counts is how
many there are: 73 columns are two tiles of 64, or five of 16. Units are the time of one multiply-add of a
vector; docs/performance.md has what the estimate was measured against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

LATENCY = 8  # multiply-adds under way at once, below which each waits for the one before
LOOP = 1.5  # of each term: the counter, the branch, and the first line of the next row of B
TILE = 30.0  # of each tile: its loops, and a branch that is predicted wrong
NEXT = 0.25  # of each vector of B, where not all terms of its columns stay in the first-level cache
NEAR, FAR = 0.17, 0.3  # of each broadcast, where A lies in the second-level cache, and beyond it
BORDER = 1.03  # for each border with tiles that are not whole: code of its own
MOST_ROWS = 28  # of unrolled code
WAYS, WAY_BYTES = 8, 4096  # of the first-level cache, from whose one set rows of A that lie so apart are read


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows and columns that are summed up in registers."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a product, where they are known; `left_bytes` of all of A, `row_bytes` from one of its rows to the next."""

    rows: int | None
    columns: int | None
    terms: int | None
    element: int = 4
    left_bytes: int | None = None
    row_bytes: int | None = None


def best_tile(sizes: Sizes, lanes: int, registers: int, most_vectors: int, near_bytes: int) -> Tile:
    """The tile for which the estimate is lowest; `near_bytes`: of A, up to which it is read from near caches.

    >>> best_tile(Sizes(128, 128, 128, 4, 1 << 16, 1 << 9), 16, 32, 2, 1 << 19)
    Tile(rows=8, columns=32)
    >>> best_tile(Sizes(609, 73, 419, 4, 609 * 419 * 4, 419 * 4), 16, 32, 4, 1 << 20)
    Tile(rows=21, columns=16)
    """
    candidates = list(_candidates(sizes, registers, most_vectors))
    broadcast = _broadcast(sizes.left_bytes, near_bytes)
    rows, vectors = min(candidates, key=lambda tile: _estimate(sizes, tile[0], tile[1], lanes, broadcast))
    return Tile(rows, vectors * lanes)


def _broadcast(left_bytes: int | None, near_bytes: int) -> float:
    """What a broadcast takes beside the multiply-adds: nothing where A stays in the first-level cache."""
    if left_bytes is None or left_bytes > near_bytes:
        return FAR
    return 0.0 if left_bytes <= WAYS * WAY_BYTES // 2 else NEAR


def _candidates(sizes: Sizes, registers: int, most_vectors: int) -> Iterator[tuple[int, int]]:
    """Rows and vectors that fit the registers, with the vectors of B and an element of A; large ones first."""
    most_rows = MOST_ROWS if sizes.rows is None else max(1, min(MOST_ROWS, sizes.rows))  # a size may be 0
    most_rows = min(most_rows, _rows_in_cache(sizes.row_bytes))
    vectors = most_vectors
    while vectors:
        for rows in range(min(most_rows, (registers - vectors - 1) // vectors), 0, -1):
            yield rows, vectors
        vectors //= 2


def _rows_in_cache(row_bytes: int | None) -> int:
    """Of how many rows the first-level cache keeps a line each: where they lie 4 KiB apart, they share a set."""
    if row_bytes is None:
        return WAYS
    return WAYS * WAY_BYTES // gcd(row_bytes, WAY_BYTES)


def _estimate(sizes: Sizes, rows: int, vectors: int, lanes: int, broadcast: float) -> float:
    columns = vectors * lanes
    down, is_ragged_below = _tiles(sizes.rows, rows)
    across, is_ragged_aside = _tiles(sizes.columns, columns)
    terms = sizes.terms or 1024
    term = max(rows * vectors, LATENCY) + LOOP + broadcast * rows
    if sizes.terms is None or sizes.terms * columns * sizes.element > WAYS * WAY_BYTES // 2:
        term += NEXT * vectors
    whole = down * across * (terms * term + 2 * rows * vectors + TILE)
    masked = down * terms * vectors if is_ragged_aside else 0.0
    return float((whole + masked) * BORDER**is_ragged_below * BORDER**is_ragged_aside)


def _tiles(extent: int | None, size: int) -> tuple[float, bool]:
    """How many tiles an extent takes, and whether the last is not whole."""
    if extent is None:
        return 1000 / size, False
    return -(-extent // size), extent % size != 0
