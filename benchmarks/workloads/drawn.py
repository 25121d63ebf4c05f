"""Forty shapes drawn by a seed, so that no rule of a schedule can have been made for them; floors as elsewhere."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from workload import Workload

from workloads.attention import attention
from workloads.convolution import conv, depthwise
from workloads.elementwise import bias_relu_mul, swiglu
from workloads.moves import sums, transpose
from workloads.products import few_rows, gelu, product
from workloads.rows import layer_norm, softmax

SEED = 20260
MOST_FLOPS, MOST_ELEMENTS = 2e9, 4e6


def _draw() -> list[Workload]:
    rng = random.Random(SEED)

    def size(low: int, high: int) -> int:
        """As often between 10 and 20 as between 1000 and 2000."""
        return round(low * (high / low) ** rng.random())

    def matrix(make: Callable[[int, int], Workload]) -> Callable[[], Workload]:
        def drawn() -> Workload:
            m = size(32, 8192)
            return make(m, size(32, min(8192, round(MOST_ELEMENTS / m))))

        return drawn

    def convolution() -> Workload:
        filters = rng.choice([1, 3, 5])
        return conv(size(3, 512), size(8, 512), size(7, 112), filters, rng.choice([1, 1, 2]))

    makers: list[tuple[int, Callable[[], Workload]]] = [
        (10, lambda: product(size(8, 2048), size(8, 2048), size(8, 2048))),
        (3, lambda: few_rows(size(1, 32), size(256, 4096), size(256, 4096))),
        (2, lambda: gelu(size(32, 512), size(256, 3072), size(256, 3072))),
        (3, matrix(softmax)),
        (3, matrix(layer_norm)),
        (2, matrix(bias_relu_mul)),
        (2, matrix(swiglu)),
        (3, matrix(transpose)),
        (2, matrix(lambda m, n: sums(0, m, n))),
        (2, matrix(lambda m, n: sums(1, m, n))),
        (4, convolution),
        (1, lambda: depthwise(size(16, 512), size(7, 112), rng.choice([3, 5]))),
        (3, lambda: attention(size(1, 16), size(32, 1024), rng.choice([32, 64, 80, 128]))),
    ]
    return [_small_enough(make) for count, make in makers for _ in range(count)]


def _small_enough(make: Callable[[], Workload]) -> Workload:
    """Drawn again until a call takes some milliseconds at most."""
    while True:
        drawn = make()
        if drawn.flops <= MOST_FLOPS:
            strongest = tuple(peer for peer in drawn.strongest if peer != "compile")
            name = f"drawn: {drawn.group}, {drawn.name}"
            return replace(drawn, group="drawn", name=name, strongest=strongest, compiles=False, quick=False)


WORKLOADS = _draw()
