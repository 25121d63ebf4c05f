"""What a compiled kernel takes of a multiprocessor, and how many of its blocks fit there.

Registers, spills and memory are what ptxas says, the limits stand in `te.gpus`; how they are allocated is as in
NVIDIA's occupancy calculator.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from te.gpus import WARP, multiprocessor

__all__ = ["Resources", "Usage", "occupancy", "usages"]


_REGISTER_UNIT = 256  # a warp's registers are allocated in steps of this
_WARP_UNIT = 4  # a multiprocessor's quarters have a quarter of the registers each, and as many warps
_SHARED_UNIT = 128


@dataclass(frozen=True, slots=True)
class Usage:
    """What ptxas says of a function. `stack`, `spill_stores` and `spill_loads` are bytes."""

    symbol: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    static_shared: int


@dataclass(frozen=True, slots=True)
class Resources:
    """A launch on a multiprocessor. `occupancy` is the part of its warps that it can hold, `limiter` what limits it."""

    usage: Usage
    threads: int
    shared: int
    blocks: int
    occupancy: float
    limiter: str

    def __str__(self) -> str:
        u = self.usage
        spills = (
            f"spills {u.spill_stores} + {u.spill_loads} B" if u.spill_stores + u.spill_loads else "no spills"
        )
        return (
            f"{u.symbol}: {u.registers} registers, {spills}, {self.shared} B of shared memory, {self.threads} threads; "
            f"{self.blocks} blocks a multiprocessor, occupancy {self.occupancy:.0%} (limited by {self.limiter})"
        )


_FUNCTION = re.compile(r"Compiling entry function '(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(.*)")
_SHARED = re.compile(r"(\d+) bytes smem")


def usages(log: str) -> tuple[Usage, ...]:
    """What ptxas (`-v`) said of each `__global__` function.

    >>> usages('''ptxas info    : Compiling entry function 'scale' for 'sm_80'
    ... ptxas info    : Function properties for scale
    ...     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
    ... ptxas info    : Used 12 registers, used 0 barriers, 360 bytes cmem[0]''')[0].registers
    12
    """
    found: list[Usage] = []
    symbol, stack = "", (0, 0, 0)
    for line in log.splitlines():
        if match := _FUNCTION.search(line):
            symbol, stack = match[1], (0, 0, 0)
        elif match := _STACK.search(line):
            stack = (int(match[1]), int(match[2]), int(match[3]))
        elif (match := _USED.search(line)) and symbol:
            shared = _SHARED.search(match[2])
            found.append(Usage(symbol, int(match[1]), *stack, int(shared[1]) if shared else 0))
            symbol = ""
    return tuple(found)


def occupancy(usage: Usage, block: Sequence[int], shared: int, sm: int) -> Resources:
    """How a launch of blocks of this shape with so many bytes of dynamic shared memory fits a multiprocessor.

    >>> u = Usage("k", registers=128, stack=0, spill_stores=0, spill_loads=0, static_shared=0)
    >>> r = occupancy(u, (256, 1, 1), 0, 80)
    >>> r.blocks, r.occupancy, r.limiter
    (2, 0.25, 'registers')
    """
    has = multiprocessor(sm)
    threads = block[0] * block[1] * block[2]
    warps = -(-threads // WARP)
    bytes = usage.static_shared + shared
    unit = 256 if sm < 80 else _SHARED_UNIT
    of_block = _up(bytes + has.shared_reserved, unit)
    of_warp = _up(usage.registers * WARP, _REGISTER_UNIT)
    fitting = {
        "warps": has.warps // warps,
        "blocks": has.blocks,
        "registers": has.registers // of_warp // _WARP_UNIT * _WARP_UNIT // warps,
        "shared memory": has.shared // of_block if of_block else has.blocks,
    }
    limiter = min(fitting, key=lambda what: fitting[what])
    blocks = fitting[limiter]
    return Resources(usage, threads, bytes, blocks, blocks * warps / has.warps, limiter)


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
