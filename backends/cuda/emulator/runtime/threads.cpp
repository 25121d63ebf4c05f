// The scheduler. A thread runs until it waits or ends; then the next one that can run does. What is ready at the
// same time goes on in the order that the launch asks for, so that other orders show other interleavings.

#include "threads.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "copies.h"
#include "memory.h"

Running running = {nullptr, {}, {}, {}, 0, 1, 0, nullptr, 0};

static Thread threads[MAX_THREADS];
static char* stacks;  // each with a page before it that nothing may touch
static Context outside;
static const Grid* grid;
static unsigned count, live, arrived;  // threads in the block, not ended, at the block's barrier
static std::vector<unsigned> ready;    // in the order in which they will run, from `next` on
static size_t next;
static bool has_failed;
static uint64_t random_state;

static uintptr_t code_base, code_bytes;

void set_code_base(uintptr_t base, uintptr_t bytes) {
    code_base = base;
    code_bytes = bytes;
}

uint32_t code_offset(const void* address) {
    const uintptr_t offset = (uintptr_t)address - code_base;
    return offset < code_bytes ? (uint32_t)offset : 0;
}

Index3 thread_index(unsigned number) {
    const Index3 dim = running.block_dim;
    return {number % dim.x, number / dim.x % dim.y, number / dim.x / dim.y};
}

Index3 block_index(uint32_t number) {
    const Index3 dim = running.grid_dim;
    const uint64_t n = number - running.first_block;
    return {unsigned(n % dim.x), unsigned(n / dim.x % dim.y), unsigned(n / dim.x / dim.y)};
}

Actor actor(const Thread& thread, Kind kind, uint32_t code, int line) {
    return {kind, running.block, thread.index, code, line};
}

// ---------------------------------------------------------------- orders

static uint64_t random_number() {  // xorshift64*
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 2685821657736338717ull;
}

template <class T> static void arrange(T* first, T* last) {
    if (grid->order == 1) std::reverse(first, last);
    if (grid->order < 2) return;
    for (size_t left = last - first; left > 1; left--) std::swap(first[left - 1], first[random_number() % left]);
}

// ---------------------------------------------------------------- running

static void enter(Thread& thread) {
    running.thread = &thread;
    running.stack = thread.stack;
}

void fail(const char* name, const Place& place, const Actor* actors, int count) {
    report(name, place, actors, count);
    has_failed = true;
    static Context abandoned;
    switch_context(running.thread ? running.thread->context : abandoned, outside);
    abort();  // nobody goes on with it
}

static Actor waiting_actor(const Thread& t) {
    if (t.wait == Wait::left) return actor(t, Kind::left, 0);
    return actor(t, t.wait == Wait::barrier ? Kind::barrier : Kind::warp_barrier, t.code, t.line);
}

[[noreturn]] static void fail_divergent_warp(const Thread& waits, const Thread& other) {
    const Actor actors[] = {waiting_actor(waits), waiting_actor(other)};
    fail("divergent warp", NOWHERE, actors, 2);
}

[[noreturn]] static void fail_deadlock() {
    Actor waiting[8];
    int shown = 0;
    for (unsigned n = 0; n < count; n++) {
        const Thread& t = threads[n];
        if (t.wait == Wait::left) continue;
        for (unsigned lane = 0; t.wait == Wait::warp && lane < LANES; lane++) {
            const unsigned number = t.warp * LANES + lane;
            if (!(t.mask >> lane & 1) || number >= count) continue;
            const Thread& other = threads[number];
            const bool is_elsewhere = other.line != t.line || other.code != t.code;
            if (other.wait == Wait::warp && is_elsewhere) fail_divergent_warp(t, other);
        }
        // One for each place where some wait.
        const auto same = [&](const Actor& a) { return a.line == t.line && a.code == t.code; };
        if (shown < 8 && !std::any_of(waiting, waiting + shown, same)) waiting[shown++] = waiting_actor(t);
    }
    fail("deadlock", NOWHERE, waiting, shown);
}

// Go on with the next thread that can run; return when this one can again.
static void leave() {
    settle_second_write();
    Thread& mine = *running.thread;
    if (next == ready.size()) {
        if (live) fail_deadlock();
        switch_context(mine.context, outside);
        return;
    }
    Thread& other = threads[ready[next++]];
    if (&other == &mine) return;
    enter(other);
    switch_context(mine.context, other.context);
}

static void wake(std::vector<unsigned>& woken) {
    if (next == ready.size()) ready.clear(), next = 0;
    arrange(woken.data(), woken.data() + woken.size());
    for (unsigned n : woken) {
        threads[n].wait = Wait::none;
        ready.push_back(n);
    }
}

static void wait(Wait kind, int line, uint32_t code) {
    Thread& mine = *running.thread;
    mine.wait = kind;
    mine.line = line;
    mine.code = code;
}

// ---------------------------------------------------------------- the block's barrier

static uint64_t predicates;

static void release_barrier() {
    if (live < count) {  // those that have ended never come
        const auto first = [](Wait kind) {
            return std::find_if(threads, threads + count, [=](const Thread& t) { return t.wait == kind; });
        };
        const Thread &waits = *first(Wait::barrier), &gone = *first(Wait::left);
        const Actor actors[] = {waiting_actor(waits), waiting_actor(gone)};
        fail("divergent barrier", NOWHERE, actors, 2);
    }
    static std::vector<unsigned> woken;
    woken.clear();
    for (unsigned n = 0; n < count; n++) {
        threads[n].value = predicates;
        woken.push_back(n);
    }
    arrived = 0;
    predicates = 0;
    running.epoch++;
    wake(woken);
}

extern "C" int te_emulated_barrier(int predicate, int line) {
    const uint32_t code = code_offset(__builtin_return_address(0));
    Thread& mine = *running.thread;
    for (unsigned n = 0; arrived && n < count; n++) {
        const Thread& other = threads[n];
        if (other.wait != Wait::barrier) continue;
        if (other.line == line) break;  // so are all others
        const Actor actors[] = {actor(mine, Kind::barrier, code, line),
                                actor(other, Kind::barrier, other.code, other.line)};
        fail("divergent barrier", NOWHERE, actors, 2);
    }
    wait(Wait::barrier, line, code);
    arrived++;
    predicates += predicate != 0;
    if (arrived == live) release_barrier();
    leave();
    return (int)mine.value;
}

// ---------------------------------------------------------------- what the lanes of a warp do together

// Wait for the lanes of `mask`. The last one to come runs `together` for them. An instruction of a whole warp has no
// line: where it is called tells it from others.
template <class F> static void meet(unsigned mask, int line, uint32_t code, F together) {
    Thread& mine = *running.thread;
    Thread* warp = threads + mine.warp * LANES;
    if (!(mask >> mine.lane & 1)) {
        const Actor actors[] = {actor(mine, Kind::warp_barrier, code, line)};
        fail("lane not in its mask", NOWHERE, actors, 1);
    }
    wait(Wait::warp, line, code);
    mine.mask = mask;
    bool is_complete = true;
    for (unsigned lane = 0; lane < LANES; lane++) {
        if (!(mask >> lane & 1) || mine.warp * LANES + lane >= count) continue;
        const Thread& other = warp[lane];
        if (other.wait == Wait::left) fail_divergent_warp(mine, other);
        // It may wait for some others first, and for these afterwards.
        is_complete &= other.wait == Wait::warp && other.line == line && other.mask == mask;
        is_complete &= line || other.code == code;
    }
    if (is_complete) {
        static std::vector<unsigned> woken;
        woken.clear();
        for (unsigned lane = 0; lane < LANES; lane++)
            if (mask >> lane & 1 && mine.warp * LANES + lane < count) woken.push_back(mine.warp * LANES + lane);
        together(warp, woken);
        wake(woken);
    }
    leave();
}

extern "C" void te_emulated_warp_barrier(unsigned mask, int line) {
    const uint32_t code = code_offset(__builtin_return_address(0));
    meet(mask, line, code, [](Thread*, const std::vector<unsigned>& lanes) {
        // What any of them did before is done before what any of them does now.
        uint32_t seen[LANES] = {};
        for (unsigned n : lanes) {
            threads[n].seen[threads[n].lane] = threads[n].clock++;
            for (unsigned lane = 0; lane < LANES; lane++) seen[lane] = std::max(seen[lane], threads[n].seen[lane]);
        }
        for (unsigned n : lanes) memcpy(threads[n].seen, seen, sizeof seen);
    });
}

extern "C" uint64_t te_emulated_shuffle(unsigned mask, uint64_t bits, unsigned source, int line) {
    const uint32_t code = code_offset(__builtin_return_address(0));
    Thread& mine = *running.thread;
    mine.value = bits;
    mine.source = source & (LANES - 1);
    meet(mask, line, code, [](Thread* warp, const std::vector<unsigned>& lanes) {
        uint64_t given[LANES];
        for (unsigned lane = 0; lane < LANES; lane++) given[lane] = warp[lane].value;
        for (unsigned n : lanes) {
            Thread& lane = threads[n];
            const unsigned number = lane.warp * LANES + lane.source;
            if (lane.mask >> lane.source & 1 && number < count) {
                lane.value = given[lane.source];
                continue;
            }
            lane.value = ~uint64_t(0);  // undefined: as memory that was never written
            const Actor actors[] = {actor(lane, Kind::other, lane.code, lane.line)};
            report("shuffle from no lane", {Space::none, 0, lane.source, 0}, actors, 1);
        }
    });
    return mine.value;
}

extern "C" unsigned te_emulated_ballot(unsigned mask, int predicate, int line) {
    const uint32_t code = code_offset(__builtin_return_address(0));
    Thread& mine = *running.thread;
    mine.value = predicate != 0;
    meet(mask, line, code, [](Thread*, const std::vector<unsigned>& lanes) {
        uint64_t votes = 0;
        for (unsigned n : lanes) votes |= threads[n].value << threads[n].lane;
        for (unsigned n : lanes) threads[n].value = votes;
    });
    return (unsigned)mine.value;
}

extern "C" void te_emulated_together(void* mine, void (*run)(void**)) {
    const uint32_t code = code_offset(__builtin_return_address(0));
    running.thread->value = (uint64_t)mine;
    meet(~0u, 0, code, [run](Thread* warp, const std::vector<unsigned>& lanes) {
        if (lanes.size() < LANES) {
            const Actor actors[] = {waiting_actor(threads[lanes[0]])};
            fail("part of a warp", NOWHERE, actors, 1);
        }
        void* given[LANES];
        for (unsigned lane = 0; lane < LANES; lane++) given[lane] = (void*)warp[lane].value;
        run(given);
    });
}

// ---------------------------------------------------------------- blocks

static void thread_main() {
    grid->body(grid->argument);
    Thread& mine = *running.thread;
    mine.wait = Wait::left;
    live--;
    if (live && arrived == live) release_barrier();
    for (unsigned lane = 0; lane < LANES && mine.warp * LANES + lane < count; lane++) {
        const Thread& other = threads[mine.warp * LANES + lane];
        if (other.wait == Wait::warp && other.mask >> mine.lane & 1) fail_divergent_warp(other, mine);
    }
    leave();
    abort();
}

static void make_stacks() {
    const size_t stride = STACK_BYTES + page_bytes();
    void* memory = mmap(nullptr, MAX_THREADS * stride, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) perror("stacks"), exit(1);
    stacks = (char*)memory;
    for (unsigned n = 0; n < MAX_THREADS; n++) {
        threads[n].stack = stacks + n * stride + page_bytes();
        if (mprotect(threads[n].stack, STACK_BYTES, PROT_READ | PROT_WRITE)) perror("stacks"), exit(1);
    }
}

static void run_block() {
    count = live = grid->threads.x * grid->threads.y * grid->threads.z;
    arrived = 0;
    predicates = 0;
    running.epoch = 0;
    forget_copies();
    ready.resize(count);
    std::iota(ready.begin(), ready.end(), 0);
    arrange(ready.data(), ready.data() + count);
    for (unsigned n = 0; n < count; n++) {
        Thread& t = threads[n];
        t.number = n;
        t.lane = n % LANES;
        t.warp = n / LANES;
        t.index = thread_index(n);
        t.wait = Wait::none;
        t.clock = 1;
        memset(t.seen, 0, sizeof t.seen);
        prepare_context(t.context, t.stack, STACK_BYTES, thread_main);
    }
    next = 1;
    enter(threads[ready[0]]);
    switch_context(outside, running.thread->context);
    running.thread = nullptr;
}

void begin_request() {
    has_failed = false;  // blocks are counted on: what an earlier request left in the shadows is of no block now
}

bool run_grid(const Grid& what) {
    if (!stacks) make_stacks();
    grid = &what;
    random_state = 0x9e3779b97f4a7c15ull * (what.order + 1) | 1;
    running.grid_dim = what.blocks;
    running.block_dim = what.threads;
    const uint32_t blocks = what.blocks.x * what.blocks.y * what.blocks.z;
    std::vector<uint32_t> numbers(blocks);
    std::iota(numbers.begin(), numbers.end(), running.first_block);
    arrange(numbers.data(), numbers.data() + blocks);
    for (uint32_t number : numbers) {
        running.block_number = number;
        running.block = block_index(number);
        poison_shared_memory();
        run_block();
        if (has_failed) break;
    }
    running.first_block += blocks;
    return !has_failed;
}
