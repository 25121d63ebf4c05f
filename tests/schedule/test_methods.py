"""The clause `by` of copies: vectors everywhere, and what GPUs copy by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from te.ir.print import print_kernel
from te.schedule.finalize import finalize
from tests.schedule.scheduling import MATMUL, PLANE, assert_same, loops, program, refused, scheduled
from tests.schedule.test_bind import on_gpu

TILES = """
tile i, j by 8, 16 into io, jo, ii, ji
split k by 8 into ko, ki
reorder io, jo, ko, ki, ii, ji
"""
SIZES = [{"M": 9, "N": 17, "K": 11}, {"M": 8, "N": 16, "K": 8}, {"M": 1, "N": 1, "K": 0}]


def test_the_innermost_loop_of_a_copy_runs_in_vectors() -> None:
    text = loops(MATMUL, TILES + "cache_read B[k, j] at ko as Bs by vector")
    assert "for Bs.k < 8:" in text
    assert "vector for Bs.j < 16:" in text


def test_a_long_loop_is_split_by_what_64_bytes_hold() -> None:
    text = loops(MATMUL, "cache_read B[k, j] as Bs by vector")
    assert "for Bs.jo < (N + 15) // 16:" in text
    assert "vector for Bs.ji < 16:" in text


def test_a_copy_of_one_element_has_no_loop() -> None:
    scheduled(MATMUL, "cache_read A at k as a in stack by vector")


def test_copies_of_copies_and_parts_written_back() -> None:
    lines = (
        TILES
        + """
    cache_read A[i, k] at ko as As in shared by vector
    cache_read B[k, j] at ko as Bs in shared by vector
    cache_read As at ki as Ar in stack
    cache_read Bs at ki as Br in stack by vector
    cache_write C at jo as Ct in stack by vector
    """
    )
    plain = scheduled(program(MATMUL), "")
    kernel = scheduled(plain, lines)
    assert "vector for Br.j < 16:" in print_kernel(kernel)  # its axes are those of B
    assert_same(plain, kernel, *SIZES)
    assert_same(plain, finalize(kernel), *SIZES)


GPU_LINES = {
    "cp_async": "cache_read A[i, k] at ko as As in shared by cp_async",
    "ldmatrix": "cache_read A[i, k] at ko as As in shared\ncache_read As at ki as Ar in register by ldmatrix",
}


@pytest.mark.parametrize("name", GPU_LINES)
def test_gpus_copy_by_instructions_of_their_own(name: str) -> None:
    plain = on_gpu(MATMUL)
    kernel = scheduled(plain, TILES + GPU_LINES[name])
    assert f"# by {name.split()[-1]}" in print_kernel(kernel)
    assert_same(plain, kernel, *SIZES)


REFUSED = {
    "a CPU": ("llvm", GPU_LINES["cp_async"], "the target `llvm` has no `cp_async`"),
    "an older GPU": ("cuda.sm_75", GPU_LINES["cp_async"], "the target `cuda.sm_75` has no `cp_async`"),
    "a newer GPU": (
        "cuda.sm_90",
        "cache_read A[i, k] at ko as As in shared by tma",
        "the target `cuda.sm_90` has no `tma`",
    ),
    "any GPU": ("cuda", "cache_write C at jo in shared by tma", "the target `cuda` has no `tma`"),
    "written": (
        "cuda.sm_90",
        "cache_write C at jo in shared by cp_async",
        "`cp_async` writes nothing back",
    ),
    "memories": (
        "cuda.sm_90",
        "cache_read A at ko in register by cp_async",
        "`cp_async` copies from global to shared memory, and this is a copy from global memory to registers",
    ),
    "filling": (
        "cuda.sm_90",
        "cache_read A at ko in shared fill 1 by cp_async",
        "`cp_async` fills with zeros, and not with 1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_methods_that_do_not_fit_are_refused(name: str) -> None:
    target, line, message = REFUSED[name]
    found = refused(replace(on_gpu(MATMUL), target=target), TILES + line)
    assert found.code == "copy-method"
    assert found.message.endswith(message)


@pytest.mark.parametrize("target", ["cuda.sm_90a", "cuda.fast", "other"])
def test_other_targets_are_no_bugs(target: str) -> None:
    kernel = replace(on_gpu(MATMUL), target=target)
    scheduled(kernel, TILES + "cache_read A at ko in shared by vector")
    if target == "cuda.sm_90a":
        scheduled(kernel, TILES + GPU_LINES["cp_async"])


def test_filling_with_zeros_is_what_asynchronous_copies_do() -> None:
    plain = on_gpu(PLANE)
    kernel = scheduled(plain, "split i by 4\ncache_read X at io as Xs in shared fill 0 by cp_async")
    assert_same(plain, kernel, {"M": 9, "N": 3})
