"""bind: loops on the levels of a GPU."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.diagnostics import ScheduleError
from te.ir.loop import BINDINGS, Kernel
from te.ir.verify import verify_kernel
from te.schedule.finalize import finalize
from te.schedule.forms import Binding
from te.schedule.nest import nest
from te.schedule.schedule import Schedule
from tests.backends.emulator.running import needs_gxx
from tests.schedule.scheduling import (
    MATMUL,
    PLANE,
    assert_same,
    loops,
    program,
    random_inputs,
    refused,
    scheduled,
)

TILES = """
tile i, j by 4, 8 into io, jo, ii, ji
bind io to block.y
bind jo to block.x order grouped
bind ii to thread.y
bind ji to thread.x
"""


def on_gpu(text: str, **options: object) -> Kernel:
    return replace(nest(program(text, **options)), target="cuda.sm_90")  # type: ignore[arg-type]  # sizes


def test_loops_are_bound() -> None:
    assert (
        loops(on_gpu(MATMUL), TILES)
        .replace("order ", "")
        .startswith(
            "\nblock.y for C.io < (M + 3) // 4:\n  block.x for C.jo < (N + 7) // 8 (grouped):\n    thread.y"
        )
    )


@pytest.mark.parametrize("text", [MATMUL, PLANE])
def test_bound_loops_compute_the_same(text: str) -> None:
    plain = on_gpu(text)
    kernel = scheduled(plain, TILES)
    sizes = [{"M": 5, "N": 9, "K": 3}, {"M": 4, "N": 8, "K": 1}, {"M": 1, "N": 1, "K": 0}]
    sizes = [{n: s[n] for n in plain.program.sizes} for s in sizes]
    assert_same(plain, kernel, *sizes)
    final = finalize(kernel)
    verify_kernel(final)
    for values in sizes:
        inputs = random_inputs(plain.program, values)
        for name, array in run_kernel(plain, inputs, values).items():
            np.testing.assert_array_equal(run_kernel(final, inputs, values, order="shuffled")[name], array)


def test_a_part_computed_in_a_bound_loop_is_its_own() -> None:
    text = "op f(X: f32[N]) -> Y: f32[N] { e[i] = X[i] + 1.0; Y[i] = e[i] * e[i] }".replace("; ", "\n")
    plain = on_gpu(text)
    kernel = scheduled(
        plain, "split Y.i by 4\ncompute_at e at Y.io\nbind io to block.x\nbind Y.ii to thread.x"
    )
    assert_same(plain, kernel, {"N": 9}, {"N": 1}, {"N": 4})
    inputs = random_inputs(plain.program, {"N": 9})
    found = run_kernel(finalize(kernel), inputs, {"N": 9}, order="reverse")
    np.testing.assert_array_equal(found["Y"], run_kernel(plain, inputs, {"N": 9})["Y"])


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("bind k to block.x", "parallel-reduction"),
        ("bind i to block.x\nbind j to block.x", "kind-nesting"),
        ("bind i to thread.x\nbind j to block.x", "kind-nesting"),
        ("bind j to warp\nbind i to lane", "kind-nesting"),
        ("bind i to thread.x order hilbert", "directive-value"),
        ("bind i to block.x\nsplit i by 4", "loop-kind"),
        ("bind i to block.x\nbind i to block.y", "loop-kind"),
        ("vectorize i by 4\nbind j to thread.x", "kind-nesting"),
        ("split i by 4 tail shift\nbind io to block.x", "parallel-dependence"),
        ("bind k to threads.x", "directive-value"),
        ("bind i to block.z order hilbert", "directive-value"),
    ],
)
def test_refused(lines: str, code: str) -> None:
    assert refused(on_gpu(MATMUL), lines).code == code


def test_messages() -> None:
    diagnostic = refused(on_gpu(MATMUL), "bind i to thread.x\nbind j to block.x")
    assert diagnostic.message == "`C.j` cannot be bound to block.x: `C.i`, around it, is bound to thread.x"
    diagnostic = refused(on_gpu(MATMUL), "bind i to thread.x order hilbert")
    assert diagnostic.message == "`order` is for blocks, and `C.i` is bound to thread.x"


def test_a_cpu_has_no_such_levels() -> None:
    assert refused(MATMUL, "bind i to block.x").code == "bind-target"
    with pytest.raises(ScheduleError, match=r"the target `llvm\.avx2` has no `block\.x`"):
        Schedule(program(MATMUL), "llvm.avx2").bind("i", to="block.x")
    schedule = Schedule(program(MATMUL), "cuda").bind("i", to="block.x", order="grouped")
    assert "bind i to block.x order grouped" in str(schedule)
    assert schedule.steps()[-1].kernel.target == "cuda"


def test_an_order_of_planes_takes_both_axes_once_all_lines_are_there() -> None:
    text = f"{MATMUL}\nschedule matmul on cuda {{ %s }}"
    te.build(text % "bind i to block.y order hilbert; bind j to block.x", target="cuda")
    for lines in ("bind i to block.y order hilbert", "bind i to block.x order grouped; bind j to thread.x"):
        with pytest.raises(ScheduleError, match=r"of `C\.i` changes nothing"):
            te.build(text % lines, target="cuda")


def test_threads_of_a_cpu_are_refused() -> None:
    assert refused(on_gpu(MATMUL), "parallel i").code == "parallel-target"
    assert refused(on_gpu(MATMUL), "bind i to block.x\nparallel j").code == "parallel-target"


def test_every_binding_has_its_place() -> None:
    assert set(Binding) == set(BINDINGS)


@pytest.mark.parametrize(
    "lines",
    [
        "split Y.i by 2; bind Y.ii to thread.z; split Z.i by 8; bind Z.ii to warp",
        "split Y.i by 33; split Y.io by 31 into a, b; bind Y.b to thread.y; bind Y.ii to thread.x; "
        "split Z.i by 8; bind Z.ii to lane",
    ],
    ids=["along z", "of an odd number"],
)
def test_whole_warps_are_no_more_than_a_block_may_have(lines: str) -> None:
    op = "op f(X: f32[N]) -> Y: f32[N], Z: f32[N] { Y[i] = X[i] + 1.0; Z[i] = X[i] * 2.0 }"
    kernel = te.build(f"{op}\nschedule f on cuda {{ {lines} }}", target="cuda").ir("final")
    counts = {kind: int(n) for kind, n in re.findall(r"(thread\.[xyz]) for \S+ < (\d+)", kernel)}
    assert counts.get("thread.z", 1) <= 64
    assert prod(counts.values()) <= 1024
    assert prod(counts.values()) % 32 == 0


PREFETCHES = {
    "of a warp": (
        """
        op f(X: u8[M, N]) -> Y: u8[M, N] {
            odd[i]  = any[j](X[i, j] % 2 == 1)
            Y[i, j] = where(odd[i], X[i, j], 255 - X[i, j])
        }
        """,
        "compute_at Y at odd.j; split Y.j by 2 into j_b, j_t; bind odd.i to warp; bind Y.j_t to lane; "
        "prefetch X at odd.j of odd.i",
    ),
    "of a block": (
        """
        op f(X: u8[M, N]) -> Y: u8[M, N] {
            s[i]    = max[j](X[i, j])
            Y[i, j] = X[i, j] - s[i]
        }
        """,
        "compute_at Y at s.j; split Y.j by 2 into j_b, j_t; bind s.i to block.y; bind Y.j_b to block.x; "
        "bind Y.j_t to lane; prefetch X at s.j of s.i",
    ),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_gxx) for name in PREFETCHES])
def test_a_loop_outside_of_threads_fetches_nothing_of_theirs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop over terms is exchanged with the bound one that names what is fetched."""
    monkeypatch.setenv("TE_VERIFY", "1")
    op, lines = PREFETCHES[name]
    kernel = te.build(f"{op}\nschedule f on cuda {{ {lines} }}", target="cuda-emulated")
    x = np.random.default_rng(0).integers(0, 255, (7, 5)).astype(np.uint8)
    np.testing.assert_array_equal(kernel(x), te.build(op, "none")(x))
