#include "shadow.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "memory.h"
#include "threads.h"

static_assert(sizeof(Stamp) == 16, "four to a line of the caches");

template <class T> static T* map_zeros(size_t count) {
    void* memory = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) perror("shadow memory"), exit(1);
    return (T*)memory;
}

void Shadow::reserve(size_t bytes) {
    if (cells) return;
    covered = (bytes + 3) / 4;
    cells = map_zeros<Cell>(covered);
    written = map_zeros<Written>(covered);
}

void Shadow::release() {
    if (!cells) return;
    munmap(cells, covered * sizeof *cells);
    munmap(written, covered * sizeof *written);
    cells = nullptr;
    written = nullptr;
}

// For each cell that an access touches: its number, and which of its bytes.
template <class F> static void for_cells(size_t position, unsigned bytes, F visit) {
    for (size_t end = position + bytes; position < end;) {
        const unsigned first = position % 4, some = (unsigned)std::min<size_t>(4 - first, end - position);
        visit(position / 4, ((1u << some) - 1) << first);
        position += some;
    }
}

// ---------------------------------------------------------------- races

// An access that no later one can race with.
static bool is_over(const Stamp& s, const Stamp& now, bool is_shared) {
    if (is_shared) return s.block != now.block || s.epoch != now.epoch;
    return s.block < running.first_block;
}

static bool happens_before(const Stamp& s, const Stamp& now) {
    if (s.block != now.block) return false;
    if (s.epoch != now.epoch || s.thread == now.thread) return true;
    return s.thread / LANES == now.thread / LANES && running.thread->seen[s.thread % LANES] >= s.clock;
}

bool Shadow::find_race(const Cell& cell, const Stamp& now, bool is_shared, Stamp& other) {
    for (const Stamp& s : cell.slots) {
        if (!(s.mask & now.mask) || is_over(s, now, is_shared) || happens_before(s, now)) continue;
        if (s.kind == now.kind && s.kind != Kind::write) continue;
        other = s;
        return true;
    }
    return false;
}

// Keep an access in the place of one that says no more: whatever races with that races with it as well. Where
// there is none, a read goes, so that those kept are of two threads at least, and of two warps if there are such:
// one of them is then another than a coming writer.
void Shadow::remember(Cell& cell, const Stamp& now, bool is_shared) {
    unsigned own = 0;
    Stamp *of_own_warp = nullptr, *of_another = nullptr;
    for (Stamp& s : cell.slots) {
        const bool says_less = !(s.mask & ~now.mask) && (s.kind == now.kind || now.kind == Kind::write);
        if (is_over(s, now, is_shared) || (says_less && happens_before(s, now))) {
            s = now;
            return;
        }
        if (s.kind == Kind::write) continue;
        const bool is_own = s.block == now.block && s.thread / LANES == now.thread / LANES;
        own += is_own;
        (is_own ? of_own_warp : of_another) = &s;
    }
    Stamp* goes = own >= 2 || !of_another ? of_own_warp : of_another;
    if (!goes && now.kind == Kind::write) goes = &cell.slots[0];
    if (goes) *goes = now;
}

bool Shadow::races(size_t position, unsigned bytes, Stamp now, bool is_shared, Stamp& other) {
    bool found = false;
    for_cells(position, bytes, [&](size_t number, unsigned mask) {
        now.mask = mask;
        Cell& cell = cells[number];
        found = found || find_race(cell, now, is_shared, other);
        remember(cell, now, is_shared);
    });
    return found;
}

// ---------------------------------------------------------------- what was written

unsigned Shadow::unwritten(size_t position, unsigned bytes, bool is_shared) {
    unsigned missing = 0, done = 0;
    for_cells(position, bytes, [&](size_t number, unsigned mask) {
        unsigned has = 0;
        if (cells) {
            const Written& w = written[number];
            has = is_shared && w.block != running.block_number ? 0 : w.mask;
        }
        const unsigned lacks = mask & ~has;
        if (done < 32) missing |= (lacks >> __builtin_ctz(mask)) << done;
        done += __builtin_popcount(mask);
    });
    return missing;
}

void Shadow::set_written(size_t position, unsigned bytes, bool is_shared) {
    for_cells(position, bytes, [&](size_t number, unsigned mask) {
        Written& w = written[number];
        if (is_shared && w.block != running.block_number) w = {running.block_number, 0};
        w.mask |= mask;
    });
}
