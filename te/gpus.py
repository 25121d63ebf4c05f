"""What GPUs have, by compute capability: plain data.

The limits of a multiprocessor are those of the CUDA C++ Programming Guide's table of compute capabilities; how many
there are differs between cards of one capability, and is that of the one in `_LIMITS`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WARP", "Multiprocessor", "multiprocessor"]

WARP = 32  # threads


@dataclass(frozen=True, slots=True)
class Multiprocessor:
    """What one multiprocessor has; shared memory in bytes. `count` is how many of them a usual card has."""

    count: int
    warps: int
    blocks: int
    shared: int
    shared_of_block: int
    shared_reserved: int  # of each block, for the system
    registers: int = 65536
    registers_of_thread: int = 255


_LIMITS: dict[int, Multiprocessor] = {
    75: Multiprocessor(40, 32, 16, 64 << 10, 64 << 10, 0),  # T4
    80: Multiprocessor(108, 64, 32, 164 << 10, 163 << 10, 1 << 10),  # A100
    86: Multiprocessor(84, 48, 16, 100 << 10, 99 << 10, 1 << 10),  # A40
    89: Multiprocessor(142, 48, 24, 100 << 10, 99 << 10, 1 << 10),  # L40
    90: Multiprocessor(132, 64, 32, 228 << 10, 227 << 10, 1 << 10),  # H100, H200
    100: Multiprocessor(148, 64, 32, 228 << 10, 227 << 10, 1 << 10),  # B200
    120: Multiprocessor(170, 48, 24, 100 << 10, 99 << 10, 1 << 10),  # RTX 5090
}


def multiprocessor(sm: int) -> Multiprocessor:
    """Of a compute capability, 80 for 8.0; of one that is not in the table, of the next one below.

    >>> multiprocessor(80).count
    108
    """
    return _LIMITS[max(known for known in _LIMITS if known <= max(sm, min(_LIMITS)))]
