"""distribute: register buffers whose elements are held by the threads that hold those of others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from te.backends.interp.loop import run_kernel
from te.diagnostics import ScheduleError
from te.ir.loop import Alloc, Kernel, rewrite_stmt, walk_stmt
from te.ir.print import print_kernel
from te.ir.verify import InvalidIR, verify_kernel
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from te.schedule.schedule import Schedule
from tests.schedule.scheduling import assert_same, program, random_inputs, refused, scheduled

THREE = """
op f(X: f32[M, N]) -> Y: f32[M, N] {
    s[i, j] = X[i, j] + 1.0
    p[i, j] = s[i, j] * s[i, j]
    Y[i, j] = p[i, j] - 2.0
}
"""
TURNED = (
    THREE.replace("p[i, j] - 2.0", "p[i, j] - s[i, N - 1 - j]").replace("[M, N]", "[64, 8]").replace("N", "8")
)
PLACED = """
tile Y.i, Y.j by 4, 8 into io, jo, ii, ji
compute_at s, p at jo in register
bind io to block.x
"""
THREADS = """
bind s.i to thread.y
bind s.j to thread.x
bind p.i to thread.y
bind p.j to thread.x
bind ii to thread.y
bind ji to thread.x
"""
SIZES = [{"M": 9, "N": 17}, {"M": 4, "N": 8}, {"M": 1, "N": 1}]


def on_gpu(text: str) -> Kernel:
    return replace(nest(program(text)), target="cuda")


@pytest.mark.parametrize("lines", [PLACED, PLACED + THREADS])
def test_it_is_written_down_and_changes_no_result(lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_VERIFY", "1")
    plain = on_gpu(THREE)
    kernel = scheduled(plain, lines + "distribute p like s")
    assert "alloc p: f32[4, 8] in register from [4 * io, 8 * jo] like s:" in print_kernel(kernel)
    assert_same(plain, kernel, *SIZES)
    assert scheduled(kernel, "distribute p like s") is kernel


def test_it_reaches_the_backend() -> None:
    """Where a body is written twice, each copy is like the other buffer's copy."""
    plain = on_gpu(THREE)
    kernel = scheduled(plain, PLACED + "distribute p like s")
    final = finalize(kernel)
    verify_kernel(final)
    like = {s.buffer.name: s.buffer.like for s, _ in walk_stmt(final.body) if isinstance(s, Alloc)}
    spread = {name: other for name, other in like.items() if other}
    assert spread
    assert all(name.replace("p", "s", 1) == other for name, other in spread.items())
    for sizes in SIZES:
        inputs = random_inputs(plain.program, sizes)
        expected = run_kernel(plain, inputs, sizes)["Y"]
        np.testing.assert_array_equal(run_kernel(final, inputs, sizes)["Y"], expected)


def test_a_line_that_moves_its_buffer_takes_the_mark_along() -> None:
    kernel = scheduled(on_gpu(THREE), PLACED + "distribute p like s\nunroll p.i\nvectorize p.j")
    assert "in register from [4 * io, 8 * jo] like s:" in print_kernel(kernel)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("compute_at s, p at Y.i\ndistribute p like s", "`p` is in global, and not in registers"),
        (PLACED + "distribute p like p", "it is the same buffer"),
        (PLACED + "set_scope s in shared\ndistribute p like s", "`s` is in shared, and not in registers"),
        (
            PLACED + THREADS.replace("bind s.j to thread.x", "") + "distribute p like s",
            "stands in a loop bound to thread.x, and",
        ),
        (
            PLACED
            + THREADS.replace("s.i to thread.y", "s.i to thread.x").replace("s.j to thread.x", "s.j to lane")
            + "distribute p like s",
            "stands in a loop bound to",
        ),
        (
            PLACED + "distribute p like s\nbind s.j to thread.x",
            "`p` is distributed like `s`, and after this line",
        ),
        (
            PLACED + "distribute p like s\nset_scope p in local",
            "`p` is distributed like `s`, and after this line",
        ),
        (PLACED + "distribute p like s\ncompute_root s", "`p` is distributed like `s`, and after this line"),
        (PLACED + "distribute p like s\ndistribute s like p", "`s` is not there where `p` is allocated"),
    ],
)
def test_refused(lines: str, reason: str) -> None:
    found = refused(on_gpu(THREE), lines)
    assert found.code == "distribute-refused"
    assert reason in found.message


def test_buffers_of_one_shape() -> None:
    text = THREE.replace("s[i, j] * s[i, j]", "s[i, j] + (s[i, j + 1] else 0.0)")
    found = refused(on_gpu(text), PLACED + "distribute p like s")
    assert found.code == "distribute-refused"
    assert "have different shapes" in found.message


def test_a_thread_has_its_own_elements_only() -> None:
    lines = """
    compute_at s, p at Y.i in register
    bind s.j to thread.x
    bind p.j to thread.x
    bind Y.j to thread.x
    distribute p like s
    """
    assert scheduled(on_gpu(TURNED.replace("8 - 1 - j", "j")), lines)
    found = refused(on_gpu(TURNED), lines)
    assert found.message == (
        "`p` cannot be distributed like `s`: nothing proves that one thread has the same element in "
        "`s[i, j]` and `s[i, 7 - j]`"
    )


def test_a_thread_that_has_several_elements() -> None:
    text = THREE.replace("[M, N]", "[64, 32]")
    lines = "compute_at s, p at Y.i in register\n"
    for stage in "spY":
        lines += f"split {stage}.j by 4 into {stage}o, {stage}n\n"
    for stage in "spY":
        lines += f"bind {stage}o to thread.x\n"
    kernel = scheduled(on_gpu(text), lines + "distribute p like s")
    assert_same(on_gpu(text), kernel, {})
    strided = lines.replace("bind po", "bind pn")
    assert refused(on_gpu(text), strided + "distribute p like s").code == "distribute-refused"


def test_a_cpu_has_no_such_threads() -> None:
    assert refused(THREE, "compute_at s, p at Y.i\ndistribute p like s").code == "distribute-refused"
    with pytest.raises(ScheduleError, match=r"the target `llvm\.avx2` has no threads"):
        Schedule(program(THREE), "llvm.avx2").distribute("p", like="s")
    assert "distribute p like s" in str(Schedule("f", "cuda").distribute("p", like="s"))


def test_the_verifier_sees_a_partner_that_is_gone() -> None:
    kernel = scheduled(on_gpu(THREE), PLACED + "distribute p like s")
    body = rewrite_stmt(
        kernel.body,
        lambda s: (
            replace(s, buffer=replace(s.buffer, like="q")) if isinstance(s, Alloc) and s.buffer.like else s
        ),
    )
    with pytest.raises(InvalidIR, match="no such buffer is around it"):
        verify_kernel(replace(kernel, body=body))
