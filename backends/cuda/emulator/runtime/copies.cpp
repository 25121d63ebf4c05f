#include "copies.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "memory.h"
#include "threads.h"

extern bool is_checked;
bool copies_are_late;

struct Copy {
    uintptr_t to, from;
    unsigned bytes, given;  // what is not given is zero
    uint32_t code;
    unsigned group;
};

// Of each thread of the block, the oldest first.
static std::vector<Copy> under_way[MAX_THREADS];
static unsigned closed[MAX_THREADS];  // groups
static size_t count;                  // of all threads
// How many of them write each four bytes of the dynamic shared memory: mostly none, which is seen at once.
static uint16_t writers[SHARED_BYTES / 4];

extern "C" thread_local unsigned char te_shared[];

static void count_writer(const Copy& c, int by) {
    count += by;
    const uintptr_t offset = c.to - (uintptr_t)te_shared;
    for (uintptr_t at = offset; at < offset + c.bytes && at < SHARED_BYTES; at += 4) writers[at / 4] += by;
}

void forget_copies() {
    for (auto& copies : under_way) copies.clear();
    std::fill_n(closed, MAX_THREADS, 0);
    count = 0;
    memset(writers, 0, sizeof writers);
}

bool meets_copy(const Place& place, uintptr_t address, Kind kind, Actor& copy) {
    if (!count || (place.space == Space::array && kind == Kind::read)) return false;
    if (place.space == Space::shared) {
        bool is_written = false;
        for (int64_t at = place.offset & ~3; at < place.offset + place.bytes; at += 4) is_written |= writers[at / 4];
        if (!is_written) return false;
    }
    const uintptr_t end = address + place.bytes;
    for (unsigned n = 0; n < MAX_THREADS; n++) {
        for (const Copy& c : under_way[n]) {
            const bool is_target = address < c.to + c.bytes && c.to < end;
            const bool is_source = kind != Kind::read && address < c.from + c.given && c.from < end;
            if (!is_target && !is_source) continue;
            copy = {Kind::copy, running.block, thread_index(n), c.code, 0};
            return true;
        }
    }
    return false;
}

static void make(const Copy& c) {
    memcpy((void*)c.to, (const void*)c.from, c.given);
    memset((char*)c.to + c.given, 0, c.bytes - c.given);
}

static void check(const Copy& c) {
    if (!is_checked) return;
    if (c.given) check_access(c.from, c.given, Kind::read, c.code, false);
    check_access(c.to, c.bytes, Kind::write, c.code, true);
}

extern "C" {

void te_emulated_copy(void* to, const void* from, unsigned bytes, unsigned given) {
    const uint32_t code = code_offset(__builtin_return_address(0));
    const unsigned n = running.thread->number;
    const Copy copy = {(uintptr_t)to, (uintptr_t)from, bytes, given, code, closed[n]};
    if (given && copy.from % bytes) fail_misaligned(copy.from, bytes, code);
    check(copy);
    if (!copies_are_late) make(copy);
    under_way[n].push_back(copy);
    count_writer(copy, 1);
}

void te_emulated_commit_copies() { closed[running.thread->number]++; }

void te_emulated_wait_for_copies(unsigned pending) {
    const unsigned n = running.thread->number;
    std::vector<Copy>& copies = under_way[n];
    const auto is_left = [&](const Copy& c) { return c.group + pending >= closed[n]; };
    const auto left = std::find_if(copies.begin(), copies.end(), is_left);
    const std::vector<Copy> done(copies.begin(), left);
    copies.erase(copies.begin(), left);
    for (const Copy& copy : done) count_writer(copy, -1);
    for (const Copy& copy : done) {
        check(copy);  // seen by other threads behind a barrier only, from here on
        if (copies_are_late) make(copy);
    }
}
}
