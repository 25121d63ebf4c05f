// Who touched which bytes of a memory: what races are found by, and reads of what was never written.
//
// Each four bytes have a cell of the last accesses that a coming one may race with, at most one for each of
// `SLOTS`. Two accesses of the same bytes race if they are of different threads, one of them writes, not both are
// atomic, and none happens before the other: by a barrier of the block, or one of the warp that both were in
// (vector clocks, as in FastTrack, Flanagan and Freund, PLDI 2009, section 3, for the lanes of one warp).
// Blocks of a launch never wait for each other.
#pragma once
#include <cstddef>
#include <cstdint>

#include "findings.h"

// An access. It is none where `block` is 0.
struct Stamp {
    uint32_t block, epoch;
    uint32_t code : 24, mask : 4;  // of the cell's bytes
    Kind kind : 4;
    uint32_t clock : 22, thread : 10;
};

class Shadow {
public:
    // Cover so many bytes, all untouched. Memory is taken as it is used.
    void reserve(size_t bytes);
    void release();

    // Whether an access races with an earlier one, which is given in `other`; it is remembered. In shared memory
    // only accesses of the running block count, elsewhere those of the launch.
    bool races(size_t position, unsigned bytes, Stamp now, bool is_shared, Stamp& other);

    // The bytes (bit by bit) that were never written: in shared memory by this block. At most 32.
    unsigned unwritten(size_t position, unsigned bytes, bool is_shared = false);
    void set_written(size_t position, unsigned bytes, bool is_shared);

private:
    static constexpr unsigned SLOTS = 4;
    struct Cell {
        Stamp slots[SLOTS];
    };
    struct Written {
        uint32_t block, mask;
    };
    static bool find_race(const Cell& cell, const Stamp& now, bool is_shared, Stamp& other);
    static void remember(Cell& cell, const Stamp& now, bool is_shared);

    Cell* cells = nullptr;
    Written* written = nullptr;
    size_t covered = 0;  // cells
};
