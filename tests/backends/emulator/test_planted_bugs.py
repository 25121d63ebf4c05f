"""Each kind of mistake is found in a kernel that has it, at its line and with its threads, in every order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from te.backends.cuda.emulator.run import Settings
from te.backends.cuda.prelude import definitions
from tests.backends.emulator.running import Dim, launch, marked_line, needs_gxx

pytestmark = needs_gxx


@dataclass(frozen=True)
class Bug:
    """A kernel of `x` and `y`, 128 elements of f32 each, and what is to be found: `kind`, at the marked lines."""

    name: str
    kind: str
    source: str
    marks: tuple[str, ...] = ("here",)
    grid: Dim = 1
    block: Dim = 64
    shared: int = 0
    place: str | None = None
    thread: tuple[int, int, int] | None = None
    states: tuple[str, ...] = ()
    settings: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def kernel(body: str) -> str:
    return (
        'extern "C" __global__ void bug(const float* x, float* y) {\n'
        "    extern __shared__ __align__(16) unsigned char te_shared[];\n"
        "    float* s = reinterpret_cast<float*>(te_shared);\n"
        "    const int t = threadIdx.x;\n"
        f"{body}\n}}\n"
    )


def multiplying(body: str) -> str:
    """A kernel that has tiles for an instruction of tensor cores."""
    text = kernel(f"""
            float d[4] = {{}};
            const te_bf16 a[8] = {{}}, b[4] = {{}};
            {body}
            y[t] = d[0] + x[t];
        """)
    before = definitions("te_mma_m16n8k16_bf16(")
    return before.replace("mine.multiply);", "mine.multiply);  // here") + text


def loading(body: str) -> str:
    """A kernel that has 512 bytes to load tiles from."""
    text = kernel(f"""
            float d[4];
            if (t < 32) te_store(s + 4 * t, te_load<4>(x + 4 * t));
            __syncthreads();
            {body}
            y[t] = d[0];
        """)
    before = definitions("te_ldmatrix( te_store( te_load(")
    return before.replace("mine.load);", "mine.load);  // rows") + text


BUGS = [
    Bug(
        "no barrier between write and read",
        "race",
        kernel("""
            s[t] = x[t];  // write
            y[t] = s[63 - t];  // read
        """),
        marks=("write", "read"),
        shared=256,
    ),
    Bug(
        "no barrier before the next write",
        "race",
        kernel("""
            for (int k = 0; k < 2; k++) {
                s[t] = x[k * 64 + t];  // write
                __syncthreads();
                y[k * 64 + t] = s[63 - t];  // read
            }
        """),
        marks=("write", "read"),
        shared=256,
    ),
    Bug(
        "a barrier of the warp for what warps share",
        "race",
        kernel("""
            s[t] = x[t];  // write
            __syncwarp();
            y[t] = s[63 - t];  // read
        """),
        marks=("write", "read"),
        shared=256,
    ),
    Bug(
        "shuffles order no memory",
        "race",
        kernel("""
            s[t] = x[t];  // write
            __shfl_xor_sync(0xffffffffu, x[t], 1);
            y[t] = s[t ^ 1];  // read
        """),
        marks=("write", "read"),
        shared=256,
    ),
    Bug(
        "two threads write one element",
        "race",
        kernel("""
            y[t / 2] = x[t];  // here
        """),
        marks=("here", "here"),
    ),
    Bug(
        "two threads write one element of four",
        "race",
        kernel("""
            reinterpret_cast<float4*>(y)[t / 2] = make_float4(0, 0, t, 0);  // here
        """),
        marks=("here", "here"),
    ),
    Bug(
        "two blocks write one element",
        "race",
        kernel("""
            y[t] = x[t] + blockIdx.x;  // here
        """),
        marks=("here", "here"),
        grid=2,
    ),
    Bug(
        "a block reads what another writes",
        "race",
        kernel("""
            y[blockIdx.x * 64 + t] = x[t];  // write
            __syncthreads();
            if (t == 0) y[blockIdx.x * 64] += y[64 - blockIdx.x * 64];  // read
        """),
        marks=("write", "read"),
        grid=2,
        states=("y",),
    ),
    Bug(
        "an atomic operation and a plain one",
        "race",
        kernel("""
            if (t < 32) atomicAdd(&y[0], x[t]);  // atomic
            if (t == 40) y[0] += 1;  // plain
        """),
        marks=("atomic", "plain"),
        states=("y",),
    ),
    Bug(
        "different barriers",
        "divergent barrier",
        kernel("""
            if (t < 16)
                __syncthreads();  // one
            else
                __syncthreads();  // other
            y[t] = x[t];
        """),
        marks=("one", "other"),
    ),
    Bug(
        "some threads leave",
        "divergent barrier",
        kernel("""
            if (t >= 60) return;
            __syncthreads();  // here
            y[t] = x[t];
        """),
    ),
    Bug(
        "a lane of the mask has left",
        "divergent warp",
        kernel("""
            if (t == 7) return;
            y[t] = __shfl_xor_sync(0xffffffffu, x[t], 1);  // here
        """),
    ),
    Bug(
        "lanes at different places",
        "divergent warp",
        kernel("""
            if (t % 32 < 16)
                y[t] = __shfl_xor_sync(0xffffffffu, x[t], 1);  // one
            else
                y[t] = __shfl_xor_sync(0xffffffffu, x[t], 2);  // other
        """),
        marks=("one", "other"),
    ),
    Bug(
        "some lanes multiply without the others",
        "divergent warp",
        multiplying("""
            if (t == 40) return;
            te_mma_m16n8k16_bf16(d, a, b);
        """),
    ),
    Bug(
        "lanes multiply at different places",
        "divergent warp",
        multiplying("""
            if (t % 2)
                te_mma_m16n8k16_bf16(d, a, b);
            else
                te_mma_m16n8k16_bf16(d, a, b);
        """),
        marks=("here", "here"),
    ),
    Bug(
        "some lanes load tiles without the others",
        "divergent warp",
        loading("if (t < 40) te_ldmatrix<4, false>(d, s + 4 * (t % 32));"),
        marks=("rows",),
        shared=512,
    ),
    Bug(
        "a row of a tile that nobody has written",
        "uninitialized",
        loading("te_ldmatrix<4, false>(d, s + 4 * (t % 32) + 4);"),
        marks=(),
        shared=1024,
    ),
    Bug(
        "a row of a tile that does not begin at 16 bytes",
        "misaligned",
        loading("te_ldmatrix<4, false>(d, s + 4 * (t % 32) + 1);"),
        marks=(),
        shared=1024,
    ),
    Bug(
        "a product by half a warp",
        "part of a warp",
        multiplying("te_mma_m16n8k16_bf16(d, a, b);"),
        block=16,
    ),
    Bug(
        "a lane that is not in the mask",
        "lane not in its mask",
        kernel("""
            y[t] = __shfl_xor_sync(0x0000ffffu, x[t], 1);  // here
        """),
    ),
    Bug(
        "from a lane that takes no part",
        "shuffle from no lane",
        kernel("""
            if (t < 16) y[t] = __shfl_down_sync(0x0000ffffu, x[t], 4);  // here
        """),
    ),
    Bug(
        "a warp waits for its lanes, these for the block",
        "deadlock",
        kernel("""
            if (t < 16) __syncwarp();  // warp
            else __syncthreads();  // block
            y[t] = x[t];
        """),
        marks=("warp", "block"),
    ),
    Bug(
        "one element too many is read",
        "out of bounds",
        kernel("""
            y[t] = x[t + 65];  // here
        """),
        place="`x[128]`",
        thread=(63, 0, 0),
    ),
    Bug(
        "before the first element",
        "out of bounds",
        kernel("""
            if (t == 5) y[t - 6] = 1;  // here
        """),
        place="`y[-1]`",
        thread=(5, 0, 0),
    ),
    Bug(
        "one element too many in shared memory",
        "out of bounds",
        kernel("""
            s[t + 1] = x[t];  // here
        """),
        shared=256,
        place="byte 256 of the shared memory",
        thread=(63, 0, 0),
    ),
    Bug(
        "a row too many of a shared array",
        "index outside its array",
        kernel("""
            __shared__ float own[16][4];
            own[t / 4 + 1][t % 4] = x[t];  // here
        """),
        thread=(60, 0, 0),
    ),
    Bug(
        "too many registers",
        "index outside its array",
        kernel("""
            float own[4];
            for (int i = 0; i < 4; i++) own[i] = x[i];
            y[t] = own[t / 8];  // here
        """),
        block=33,
        thread=(32, 0, 0),
    ),
    Bug(
        "no multiple of 16",
        "misaligned",
        kernel("""
            if (t == 3) *reinterpret_cast<float4*>(y + t) = make_float4(0, 0, 0, 0);  // here
        """),
        place="`y[3]`",
        thread=(3, 0, 0),
    ),
    Bug(
        "shared memory that nobody wrote",
        "uninitialized",
        kernel("""
            if (t < 63) s[t] = x[t];
            __syncthreads();
            y[t] = s[t];  // here
        """),
        shared=256,
        place="byte 252 of the shared memory",
        thread=(63, 0, 0),
    ),
    Bug(
        "shared memory of an earlier block",
        "uninitialized",
        kernel("""
            if (blockIdx.x == 0) s[t] = x[t];
            y[blockIdx.x * 64 + t] = s[t];  // here
        """),
        grid=2,
        shared=256,
    ),
    Bug(
        "a result is read first",
        "uninitialized",
        kernel("""
            y[t] += x[t];  // here
        """),
        marks=("here",),
    ),
    Bug("a result is left out", "unwritten", kernel("if (t != 9) y[t] = x[t];"), marks=(), place="`y[9]`"),
    Bug(
        "an input is written",
        "write to an input",
        kernel("""
            const_cast<float*>(x)[t] = 0;  // here
        """),
        place="`x[0]`",
    ),
    Bug(
        "it never ends",
        "time limit",
        kernel("""
            while (((volatile const float*)x)[0] < 1e9f);  // here
        """),
        settings={"seconds": 0.3},
        block=1,
    ),
    Bug(
        "division by zero",
        "division by zero",
        kernel("""
            if (t == 4) y[t] = t / (int)x[0];  // here
        """),
        thread=(4, 0, 0),
    ),
    Bug(
        "more than a stack",
        "stack overflow",
        kernel("""
            volatile float own[1 << 18];
            own[t] = x[t];  // here
            y[t] = own[t];
        """),
        marks=(),
    ),
    Bug("a trap", "trap", kernel("if (t == 2) __trap();  // here"), thread=(2, 0, 0)),
]


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_it_is_found(bug, order):
    x, y = np.arange(128, dtype=np.float32), np.zeros(128, np.float32)
    found = launch(
        bug.source,
        "bug",
        bug.grid,
        bug.block,
        {"x": x, "y": y},
        states=bug.states,
        results=() if bug.states else ("y",),
        shared=bug.shared,
        settings=Settings(order, **bug.settings),
    )
    matching = [f for f in found if f.kind == bug.kind]
    assert matching, [f.kind for f in found]
    # Half of `y` is not written by most, and who does not wait reads what is not there yet; nothing else is wrong.
    assert {f.kind for f in found} <= {bug.kind, "unwritten", "uninitialized" if bug.kind == "race" else ""}
    finding = matching[0]
    lines = sorted(a.line for a in finding.actors if a.kind != "left")
    assert lines == sorted(marked_line(bug.source, mark) for mark in bug.marks) or not bug.marks
    if order == 0:
        assert bug.place in (None, finding.place)
        assert bug.thread is None or finding.actors[0].thread == bug.thread
    if bug.kind == "race":
        one, other = finding.actors
        assert (one.block, one.thread) != (other.block, other.thread)
    assert finding.diagnostic.message
