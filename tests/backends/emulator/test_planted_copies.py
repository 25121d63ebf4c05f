"""Mistakes with asynchronous copies are found, whether those are made as early or as late as the rules allow."""

from __future__ import annotations

import numpy as np
import pytest

from te.backends.cuda.emulator.findings import Finding
from te.backends.cuda.emulator.run import Array, Call, Settings, compile_source
from te.backends.cuda.emulator.run import run as run_calls
from te.backends.cuda.prelude import definitions
from te.diagnostics import Source, Span
from tests.backends.emulator.running import marked_line, needs_gxx

pytestmark = needs_gxx

# Tiles of 64 elements, one a thread, are copied `DEPTH - 1` tiles ahead; each thread reads another one's element.
RIGHT = """
extern "C" __global__ void sums(const float* x, float* y, long long n) {
    extern __shared__ __align__(16) unsigned char te_shared[];
    float* s = reinterpret_cast<float*>(te_shared);
    const int t = threadIdx.x;
    float total = 0.0f;
    for (int k = 0; k < 2; k++) {
        if (k < n) {
            te_copy_async<4>(&s[k * 64 + t], &x[k * 64 + t]);  // first copies
        }
        te_commit_copies();  // first commit
    }
    for (int k = 0; k < n; k++) {
        te_wait_copies<1>();  // wait
        __syncthreads();  // barrier
        if (k + 2 < n) {
            te_copy_async<4>(&s[(k + 2) % 3 * 64 + t], &x[(k + 2) * 64 + t]);  // copy
        }
        te_commit_copies();  // commit
        total += s[k % 3 * 64 + 63 - t];  // read
    }
    y[t] = total;
}
"""
TILES = 6


def launch(
    text: str,
    symbol: str,
    threads: int,
    arrays: dict[str, np.ndarray],
    *scalars: int,
    roles: str,
    **settings: int,
) -> list[Finding]:
    """Findings name lines of the kernel: what it calls has no place in a `.te` file."""
    source = Source("kernel", text)
    first = text[: text.index('extern "C"')].count("\n") + 1

    def span_of(line: int) -> Span | None:
        return Span(source, 0, 1) if line >= first else None

    library = compile_source(text, span_of=span_of)
    given = [Array.of(name, a, role) for (name, a), role in zip(arrays.items(), roles.split(), strict=True)]
    call = Call(symbol, (1, 1, 1), (threads, 1, 1), 3 * 256, (*arrays, *scalars))
    return run_calls(library, given, [call], Settings(**settings))


def run(source: str, order: int, late: bool) -> tuple[list[str], list[set[int]], np.ndarray]:
    """The kinds of what is found, the lines of each, and the sums."""
    text = definitions(source) + source
    x, y = np.arange(TILES * 64, dtype=np.float32), np.zeros(64, np.float32)
    found = launch(
        text, "sums", 64, {"x": x, "y": y}, TILES, roles="input output", order=order, are_copies_late=late
    )
    return [f.kind for f in found], [{a.line for a in f.actors} for f in found], y


every_way = pytest.mark.parametrize(
    ("order", "late"), [(order, late) for order in (0, 1, 7) for late in (False, True)]
)


@every_way
def test_a_right_pipeline_has_no_finding(order: int, late: bool) -> None:
    kinds, _, y = run(RIGHT, order, late)
    assert kinds == []
    np.testing.assert_array_equal(y, np.arange(TILES * 64, dtype=np.float32).reshape(TILES, 64).sum(0)[::-1])


def without(mark: str) -> str:
    return "\n".join(line for line in RIGHT.split("\n") if not line.endswith(f"// {mark}"))


AGAIN = "te_copy_async<4>(&s[k * 64 + (t ^ 1)], &x[t]);  // again"
OVER = "te_copy_async<4>(&s[k % 3 * 64 + t], &x[t]);  // copy"
FIRST, LATER = {"first copies", "read"}, {"copy", "read"}
WAIT, BARRIER = "te_wait_copies<1>();  // wait", "__syncthreads();  // barrier"
BUGS = {
    "no wait": (without("wait"), "unfinished copy", FIRST),
    "a wait for too few": (RIGHT.replace("copies<1>", "copies<2>"), "unfinished copy", FIRST),
    "no barrier behind the wait": (without("barrier"), "race", FIRST),
    "the barrier before the wait": (
        without("barrier").replace(WAIT, f"{BARRIER}\n        {WAIT}"),
        "race",
        FIRST,
    ),
    "groups are closed only where something is copied": (
        without("commit").replace("64 + t]);  // copy", "64 + t]); te_commit_copies();  // copy"),
        "unfinished copy",
        LATER,
    ),
    "a slot too few": (RIGHT.replace("% 3", "% 2"), "race", LATER),
    "a copy into what is being read": (
        without("copy").replace("// read", f"// read\n        {OVER}"),
        "race",
        LATER,
    ),
    "a copy into what another copy fills": (
        without("first commit").replace("// first copies", f"// first copies\n            {AGAIN}"),
        "unfinished copy",
        {"first copies", "again"},
    ),
}


@every_way
@pytest.mark.parametrize("name", BUGS)
def test_each_mistake_is_found_in_every_way(name: str, order: int, late: bool) -> None:
    source, kind, marks = BUGS[name]
    kinds, lines, _ = run(source, order, late)
    text = definitions(source) + source
    wanted = {marked_line(text, mark) for mark in marks}
    assert (kind, wanted) in list(zip(kinds, lines, strict=True)), (kinds, lines, wanted)


SOURCE_CHANGES = """
extern "C" __global__ void sums(float* x, float* y) {
    extern __shared__ __align__(16) unsigned char te_shared[];
    float* s = reinterpret_cast<float*>(te_shared);
    const int t = threadIdx.x;
    te_copy_async<4>(&s[t], &x[t]);  // copy
    te_commit_copies();
    x[t] = 0.0f;  // change
    te_wait_copies<0>();
    __syncthreads();
    y[t] = s[63 - t];
}
"""


@every_way
def test_a_source_that_changes_under_a_copy(order: int, late: bool) -> None:
    text = definitions(SOURCE_CHANGES) + SOURCE_CHANGES
    arrays = {"x": np.ones(64, np.float32), "y": np.zeros(64, np.float32)}
    found = launch(text, "sums", 64, arrays, roles="state output", order=order, are_copies_late=late)
    assert [f.kind for f in found] == ["unfinished copy"]
    lines = {a.line: a.kind for a in found[0].actors}
    assert lines == {marked_line(text, "change"): "write", marked_line(text, "copy"): "copy"}
    assert "`x[" in found[0].place
    assert arrays["y"][0] == (0.0 if late else 1.0)


FILLED = """
extern "C" __global__ void filled(const float* x, float* y, long long n) {
    extern __shared__ __align__(16) unsigned char te_shared[];
    float* s = reinterpret_cast<float*>(te_shared);
    const int t = threadIdx.x;
    te_copy_async<16>(&s[4 * t], &x[4 * t], t < n ? 16 : 0);
    te_commit_copies();
    te_wait_copies<0>();
    __syncthreads();
    for (int j = 0; j < 4; j++) y[4 * t + j] = s[4 * (7 - t) + j];
}
"""


@pytest.mark.parametrize("late", [False, True])
def test_what_is_not_given_is_zero_and_not_read(late: bool) -> None:
    text = definitions(FILLED) + FILLED
    x, y = np.ones(20, np.float32), np.empty(32, np.float32)
    found = launch(text, "filled", 8, {"x": x, "y": y}, 5, roles="input output", are_copies_late=late)
    assert found == []
    np.testing.assert_array_equal(y.reshape(8, 4)[::-1, 0], [1, 1, 1, 1, 1, 0, 0, 0])


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [("&x[4 * t]", "&x[4 * t + 1]", "misaligned"), ("t < n", "t <= n", "out of bounds")],
)
def test_places_that_no_copy_may_have(old: str, new: str, kind: str) -> None:
    source = FILLED.replace(old, new)
    arrays = {"x": np.ones(20, np.float32), "y": np.empty(32, np.float32)}
    found = launch(definitions(source) + source, "filled", 8, arrays, 5, roles="input output")
    assert [f.kind for f in found][-1] == kind
