#include "shadow.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

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

// No later access can race with it.
template <bool is_shared> static bool is_over(Stamp s, Stamp now) {
    return is_shared ? s.when != now.when : s.block() < running.first_block;
}

static bool happens_before(Stamp s, Stamp now) {
    if (s.when != now.when) return s.block() == now.block();  // an earlier epoch
    if (s.thread() == now.thread()) return true;
    return s.thread() / LANES == now.thread() / LANES && running.thread->seen[s.thread() % LANES] >= s.clock();
}

// Whoever is in another group of threads than a coming writer is not ordered with it by anything but a barrier
// that ends the epoch, or the launch.
template <bool is_shared> static bool is_same_group(Stamp a, Stamp b) {
    return a.block() == b.block() && (!is_shared || a.thread() / LANES == b.thread() / LANES);
}

// An access takes the place of one that says no more: whatever races with that races with it as well. Where there
// is none, a read goes, so that those kept are of two threads at least, and of two groups if there are such.
template <bool is_shared> void Shadow::access_cell(size_t number, Stamp now, Verdict& verdict) {
    Written& w = written[number];
    const unsigned has = is_shared && w.block != now.block() ? 0 : w.mask;
    if (now.kind() != Kind::write && now.mask() & ~has) verdict.is_unwritten = true;
    if (now.kind() != Kind::read) w = {now.block(), has | now.mask()};

    Stamp *replaced = nullptr, *of_own_group = nullptr, *of_another = nullptr;
    unsigned own = 0;
    for (Stamp& slot : cells[number].slots) {
        const Stamp s = slot;
        if (is_over<is_shared>(s, now)) {
            replaced = replaced ? replaced : &slot;
            continue;
        }
        const bool is_before = happens_before(s, now);
        const bool conflicts = s.kind() != now.kind() || s.kind() == Kind::write;
        if (!is_before && conflicts && s.mask() & now.mask() &&
            (!verdict.races || verdict.other.kind() == Kind::write)) {
            verdict.races = true;
            verdict.other = s;  // rather one that is no write: two writes may be of the same value
        }
        if (is_before && !(s.mask() & ~now.mask()) && (s.kind() == now.kind() || now.kind() == Kind::write)) {
            replaced = &slot;
        } else if (s.kind() != Kind::write) {
            const bool is_own = is_same_group<is_shared>(s, now);
            own += is_own;
            (is_own ? of_own_group : of_another) = &slot;
        }
    }
    if (!replaced) replaced = own >= 2 || !of_another ? of_own_group : of_another;
    if (!replaced && now.kind() == Kind::write) replaced = &cells[number].slots[0];
    if (replaced) *replaced = now;
}

Verdict Shadow::access(size_t position, unsigned bytes, Stamp now) {
    Verdict verdict = {};
    for (const size_t end = position + bytes; position < end;) {
        const unsigned first = position % 4, some = (unsigned)std::min<size_t>(4 - first, end - position);
        const Stamp part = {now.when, now.what | (uint64_t)((1u << some) - 1) << first << 24};
        if (is_shared)
            access_cell<true>(position / 4, part, verdict);
        else
            access_cell<false>(position / 4, part, verdict);
        position += some;
    }
    return verdict;
}

unsigned Shadow::unwritten(size_t position, unsigned bytes) const {
    const unsigned wanted = ((1u << bytes) - 1) << position % 4;
    const unsigned lacks = cells ? wanted & ~written[position / 4].mask : wanted;
    return lacks >> position % 4;
}
