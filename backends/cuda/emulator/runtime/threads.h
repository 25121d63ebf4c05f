// The threads of a block: which one runs, what the others wait for, in which order they go on.
#pragma once
#include <cstdint>
#include <vector>

#include "fibers.h"
#include "findings.h"

constexpr unsigned MAX_THREADS = 1024, LANES = 32;
constexpr unsigned STACK_BYTES = 256 << 10;  // of address space; pages are taken when they are used

enum class Wait : uint8_t { none, barrier, warp, left };

struct Thread {
    Context context;
    unsigned number, lane, warp;
    Index3 index;
    char* stack;
    Wait wait;
    int line;                 // of the barrier it waits at
    uint32_t code;            // where that was called
    unsigned mask;            // of lanes, for a warp's
    uint64_t value;           // what it gives to the others, then what it gets
    unsigned source;          // of a shuffle: the lane to take from
    uint32_t clock;           // how often it has met lanes of its warp
    uint32_t seen[LANES];     // of their clocks: what they did up to there happened before
};

// One run of a grid. `order` 0 runs threads and blocks forward, 1 backward, any other shuffled by it.
struct Grid {
    Index3 blocks, threads;
    void (*body)(void*);
    void* argument;
    unsigned order;
};

struct Running {
    Thread* thread;
    Index3 block, block_dim, grid_dim;
    uint32_t block_number;   // counted over all launches; none is 0
    uint32_t first_block;    // the number of this launch's first
    uint32_t epoch;          // how many barriers this block has passed
    char* stack;             // of the thread
    uint32_t code;           // where the kernel last told that it is
};
extern Running running;

// Run all blocks, one after the other. False if the request has failed.
bool run_grid(const Grid& grid);

// Let the launches of a request begin.
void begin_request();

// Where code was called from, as an offset into the kernels' library.
uint32_t code_offset(const void* address);
void set_code_base(uintptr_t base, uintptr_t bytes);

Actor actor(const Thread& thread, Kind kind, uint32_t code, int line = 0);
Index3 block_index(uint32_t number);   // of a block of this launch
Index3 thread_index(unsigned number);  // in a block of this launch
