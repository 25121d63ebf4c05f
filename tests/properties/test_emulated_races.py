"""The emulator's race detector beside the definition: all pairs of accesses, and what happens before what.

One kernel plays scripts, so that each example is a run and no compilation: at a step, each thread reads an
element of shared or global memory, writes a number of its own there or changes it by an atomic operation, or waits,
for its block, its warp or some lanes of it.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from te.backends.cuda.emulator.run import Settings
from tests.backends.emulator.running import launch, needs_gxx

pytestmark = needs_gxx

PLAYER = """
extern "C" __global__ void play(const int* script, const int* places, float* memory, float* sink, long long steps) {
    extern __shared__ __align__(16) unsigned char te_shared[];
    float* shared = reinterpret_cast<float*>(te_shared);
    const int threads = blockDim.x;
    float seen = 0.0f;
    for (long long step = 0; step < steps; step++) {
        const long long mine = (step * gridDim.x + blockIdx.x) * threads + threadIdx.x;
        const int place = places[mine];
        switch (script[mine]) {
            case 1: seen += shared[place]; break;
            case 2: shared[place] = (float)mine; break;
            case 3: atomicAdd(&shared[place], 1.0f); break;
            case 4: seen += memory[place]; break;
            case 5: memory[place] = (float)mine; break;
            case 6: atomicAdd(&memory[place], 1.0f); break;
            case 7: __syncthreads(); break;
            case 8: __syncwarp(); break;
            case 9: __syncwarp(0x00000003u); break;
        }
    }
    sink[blockIdx.x * threads + threadIdx.x] = seen;
}
"""
READ, WRITE, ATOMIC = 0, 1, 2
BLOCK, WARP, PAIR = 7, 8, 9
BLOCKS, THREADS, PLACES = 2, 36, 3  # a warp, and four lanes of another
FEW = (0, 1, 2, 5, 32, 33)  # the threads that do something


@st.composite
def scripts(draw):
    """Steps: what and where each of a few threads does, or what all wait for."""
    steps = []
    for _ in range(draw(st.integers(2, 12))):
        if draw(st.integers(0, 2)) == 0:
            wait = draw(st.sampled_from([BLOCK, WARP, WARP, PAIR]))
            steps.append(wait)
            continue
        space = draw(st.sampled_from([1, 1, 4]))
        actors = draw(st.sets(st.sampled_from(list(product(range(BLOCKS), FEW))), max_size=9))
        steps.append(
            {
                actor: (
                    space + draw(st.sampled_from([READ, READ, WRITE, ATOMIC])),
                    draw(st.integers(0, PLACES - 1)),
                )
                for actor in sorted(actors)
            }
        )
    return steps


def waiting(step):
    return [(b, t) for b in range(BLOCKS) for t in range(THREADS) if step != PAIR or t < 2]


def racing_places(steps):
    """The memory and place of every race: clocks of all threads, kept as the definition says."""
    everybody = list(product(range(BLOCKS), range(THREADS)))
    # Of each thread: for all others, up to which of their steps it knows that they are over.
    knows = {me: dict.fromkeys(everybody, -1) for me in everybody}
    past, races = [], set()
    for number, step in enumerate(steps):
        if isinstance(step, int):
            groups = {}
            for block, thread in waiting(step):
                groups.setdefault((block, 0 if step == BLOCK else thread // 32), []).append((block, thread))
            for group in groups.values():
                joined = {who: max(knows[me][who] for me in group) for who in everybody}
                joined |= dict.fromkeys(group, number)
                for me in group:
                    knows[me] = dict(joined)
            continue
        for me, (what, place) in step.items():
            is_shared, kind = what < 4, (what - 1) % 3
            memory = (is_shared, me[0] if is_shared else 0, place)
            for when, who, other, there in past:
                is_harmless = kind == other and kind != WRITE
                if there == memory and who != me and not is_harmless and knows[me][who] < when:
                    races.add((is_shared, place))
            past.append((number, me, kind, memory))
    return races


@given(scripts(), st.integers(0, 4))
def test_races_are_found_where_there_are_some_and_nowhere_else(steps, order):
    script = np.zeros((len(steps), BLOCKS, THREADS), np.int32)
    places = np.zeros_like(script)
    for number, step in enumerate(steps):
        acts = dict.fromkeys(waiting(step), (step, 0)) if isinstance(step, int) else step
        for (block, thread), (what, place) in acts.items():
            script[number, block, thread], places[number, block, thread] = what, place
    found = launch(
        PLAYER,
        "play",
        BLOCKS,
        THREADS,
        {
            "script": script,
            "places": places,
            "memory": np.zeros(PLACES, np.float32),
            "sink": np.zeros((BLOCKS, THREADS), np.float32),
        },
        len(steps),
        states=["memory"],
        results=["sink"],
        shared=4 * PLACES,
        settings=Settings(order, most_findings=1000),
    )
    races = [f for f in found if f.kind == "race"]
    assert {f.kind for f in found} <= {"race", "uninitialized"}
    expected = racing_places(steps)
    places_found = {
        (f.shared is not None, f.shared // 4 if f.shared is not None else f.index[0]) for f in races
    }
    # The same two lines are told once, wherever they race: so some place, and no wrong one.
    assert places_found <= expected
    assert bool(places_found) == bool(expected)
