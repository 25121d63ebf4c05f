// Who touched which bytes of a memory: what races are found by, and reads of what was never written.
//
// Each four bytes have a cell with the last accesses that a coming one may race with, at most `SLOTS`. Two accesses
// of the same bytes race if they are of different threads, not both reads or both atomic, and none happens before
// the other: by a barrier of the block, or one of the warp that both were in (vector clocks, as in FastTrack,
// Flanagan and Freund, PLDI 2009, section 3, for the lanes of one warp). Blocks of a launch never wait for each
// other.
#pragma once
#include <cstddef>
#include <cstdint>

#include "findings.h"

// An access: none where `when` is 0. Two words, which stay in registers: as bit-fields in memory they cost more
// than all the rest.
struct Stamp {
    uint64_t when;  // block << 32 | epoch
    uint64_t what;  // thread << 54 | clock << 32 | kind << 28 | mask of the cell's bytes << 24 | code

    uint32_t block() const { return (uint32_t)(when >> 32); }
    unsigned thread() const { return (unsigned)(what >> 54); }
    uint32_t clock() const { return (uint32_t)(what >> 32) & 0x3fffff; }
    Kind kind() const { return (Kind)(what >> 28 & 15); }
    unsigned mask() const { return (unsigned)(what >> 24) & 15; }
    uint32_t code() const { return (uint32_t)what & 0xffffff; }
};

inline Stamp make_stamp(uint32_t block, uint32_t epoch, unsigned thread, uint32_t clock, Kind kind, uint32_t code) {
    return {(uint64_t)block << 32 | epoch, (uint64_t)thread << 54 | (uint64_t)(clock & 0x3fffff) << 32 |
                                               (uint64_t)kind << 28 | (code & 0xffffff)};
}

// What is wrong with an access.
struct Verdict {
    bool is_unwritten, races;
    Stamp other;  // what it races with
};

class Shadow {
public:
    // `is_shared`: it is of memory that each block has anew, so that no other block's accesses matter.
    explicit Shadow(bool is_shared) : is_shared(is_shared) {}

    // Cover so many bytes, all untouched. Memory is taken as it is used.
    void reserve(size_t bytes);
    void release();

    // Look at an access, and remember it.
    Verdict access(size_t position, unsigned bytes, Stamp now);

    // Which of at most four bytes, which lie in one cell, nobody has written, bit by bit.
    unsigned unwritten(size_t position, unsigned bytes) const;

private:
    static constexpr unsigned SLOTS = 4;
    struct alignas(64) Cell {
        Stamp slots[SLOTS];
    };
    struct Written {
        uint32_t block, mask;
    };
    template <bool is_shared> void access_cell(size_t number, Stamp now, Verdict& verdict);

    const bool is_shared;
    Cell* cells = nullptr;
    Written* written = nullptr;
    size_t covered = 0;  // cells
};
