#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "copies.h"
#include "shadow.h"
#include "threads.h"

// The dynamic shared memory, under the name that the kernels know. What overruns it is found in the margin.
extern "C" {
alignas(1024) thread_local unsigned char te_shared[SHARED_BYTES];
}

size_t page_bytes() {
    static const size_t bytes = sysconf(_SC_PAGESIZE);
    return bytes;
}

static size_t whole_pages(size_t bytes) { return (bytes + page_bytes() - 1) / page_bytes() * page_bytes(); }

// Two writes at the same time of the same value harm nobody: tiles that overlap do that. What is there now is the
// other's value; whether this one's is the same is seen when the thread comes here again.
static struct {
    bool is_pending;
    uintptr_t address;
    unsigned char before[16];
    Place place;
    Actor actors[2];
} second_write;

// ---------------------------------------------------------------- arrays

// One range of addresses for all, so that one shadow serves them.
constexpr size_t SPACE_BYTES = size_t(64) << 30;
constexpr size_t GUARD_PAGES = 16;  // a wrong index by a row or so still hits no other array

static uintptr_t space, space_end;  // the end of what is mapped
static std::vector<Array> arrays;
static Shadow array_shadow(false);
static int file;

void begin_arrays(int file_with_them) {
    if (!space) {
        void* reserved =
            mmap(nullptr, SPACE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (reserved == MAP_FAILED) perror("memory"), exit(1);
        space = (uintptr_t)reserved;
    }
    file = file_with_them;
    second_write.is_pending = false;  // of a request that failed
    arrays.clear();
    space_end = space + GUARD_PAGES * page_bytes();
}

void map_array(size_t offset, size_t bytes, Role role) {
    const size_t mapped = whole_pages(bytes);
    if (mapped) {
        const int access = role == Role::input ? PROT_READ : PROT_READ | PROT_WRITE;
        void* at = mmap((void*)space_end, mapped, access, MAP_SHARED | MAP_FIXED, file, (off_t)offset);
        if (at == MAP_FAILED) perror("an array"), exit(1);
    }
    const uintptr_t high = space_end + mapped, low = (high - bytes) & ~uintptr_t(15);
    arrays.push_back({low, low + bytes, role});
    space_end = high + GUARD_PAGES * page_bytes();
    if (role == Role::output || role == Role::workspace) memset((void*)low, 0xff, bytes);
}

void end_arrays() {
    mmap((void*)space, space_end - space, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    array_shadow.release();
}

const Array& array(int number) { return arrays[number]; }

Place nearest_array(uintptr_t address) {
    static size_t last;  // mostly it is the same again
    if (last < arrays.size() && address - arrays[last].low < arrays[last].high - arrays[last].low)
        return {Space::array, (int)last, (int64_t)(address - arrays[last].low), 1};
    Place nearest = NOWHERE;
    uintptr_t least = GUARD_PAGES * page_bytes();
    for (size_t n = 0; n < arrays.size(); n++) {
        const Array& a = arrays[n];
        const uintptr_t distance = address < a.low ? a.low - address : address >= a.high ? address - a.high : 0;
        if (distance >= least) continue;
        least = distance;
        last = n;
        nearest = {Space::array, (int)n, (int64_t)(address - a.low), 1};
    }
    return nearest;
}

void report_unwritten() {
    for (size_t n = 0; n < arrays.size(); n++) {
        const Array& a = arrays[n];
        if (a.role != Role::output) continue;
        for (uintptr_t at = a.low; at < a.high; at += 4) {
            const unsigned bytes = (unsigned)std::min<uintptr_t>(4, a.high - at);
            const unsigned missing = array_shadow.unwritten(at - space, bytes);
            if (!missing) continue;
            const int64_t offset = at - a.low + __builtin_ctz(missing);
            report("unwritten", {Space::array, (int)n, offset, 1}, nullptr, 0);
            break;
        }
    }
}

// ---------------------------------------------------------------- shared memory

static Shadow dynamic_shadow(true), static_shadow(true);
static size_t dynamic_bytes, static_bytes;
static uintptr_t statics;

void set_shared_memory(size_t dynamic, uintptr_t static_memory, size_t static_size) {
    dynamic_bytes = dynamic;
    if (static_size > STATIC_SHARED_BYTES) {
        fprintf(stderr, "static shared memory of %zu bytes, and a GPU has %zu\n", static_size, STATIC_SHARED_BYTES);
        exit(2);
    }
    statics = static_memory;
    static_bytes = static_size;
    dynamic_shadow.reserve(SHARED_BYTES);
    static_shadow.reserve(STATIC_SHARED_BYTES);
}

void poison_shared_memory() {
    memset(te_shared, 0xff, dynamic_bytes);
    if (static_bytes) memset((void*)statics, 0xff, static_bytes);
}

// ---------------------------------------------------------------- accesses

static Actor past_actor(Stamp s) {
    return {s.kind(), block_index(s.block()), thread_index(s.thread()), s.code(), 0};
}

void settle_second_write() {
    if (!second_write.is_pending) return;
    second_write.is_pending = false;
    if (memcmp((void*)second_write.address, second_write.before, second_write.place.bytes))
        report("race", second_write.place, second_write.actors, 2);
}

static void check_at(Shadow& shadow, const Place& place, uintptr_t address, size_t position, Kind kind, uint32_t code) {
    const Thread& t = *running.thread;
    Actor copy;
    if (meets_copy(place, address, kind, copy)) {
        const Actor both[] = {actor(t, kind, code), copy};
        return report("unfinished copy", place, both, 2);
    }
    const Stamp now = make_stamp(running.block_number, running.epoch, t.number, t.clock, kind, code);
    const Verdict verdict = shadow.access(position, place.bytes, now);
    const bool is_defined = place.space == Space::array && arrays[place.array].role == Role::state;
    if (!verdict.races && (!verdict.is_unwritten || is_defined)) return;
    const Actor actors[] = {actor(t, kind, code), past_actor(verdict.other)};
    if (verdict.is_unwritten && !is_defined) report("uninitialized", place, actors, 1);
    if (!verdict.races) return;
    if (kind != Kind::write || verdict.other.kind() != Kind::write || place.bytes > sizeof second_write.before)
        return report("race", place, actors, 2);
    second_write = {true, address, {}, place, {actors[0], actors[1]}};
    memcpy(second_write.before, (void*)address, place.bytes);
}

[[noreturn]] static void fail_access(const char* name, const Place& place, Kind kind, uint32_t code) {
    const Actor mine = actor(*running.thread, kind, code);
    fail(name, place, &mine, 1);
}

static void check_array_access(uintptr_t address, const Place& place, Kind kind, uint32_t code) {
    const Array& a = arrays[place.array];
    if (address < a.low || address + place.bytes > a.high) fail_access("out of bounds", place, kind, code);
    if (a.role == Role::input) {
        if (kind != Kind::read) fail_access("write to an input", place, kind, code);
        return;  // nobody writes it: there is nothing to race with
    }
    array_shadow.reserve(space_end - space);
    check_at(array_shadow, place, address, address - space, kind, code);
}

// What lies so near to the shared memory and is none of the rest is meant for it.
constexpr size_t MARGIN = 64 << 10;

// Which memory an address is of, or would be.
static Place place_of(uintptr_t address, unsigned bytes) {
    const uintptr_t in_statics = address - statics, in_dynamic = address - (uintptr_t)te_shared;
    if (address - space < space_end - space) {
        Place place = nearest_array(address);
        place.bytes = bytes;
        return place;
    }
    if (in_statics < static_bytes) return {Space::statics, 0, (int64_t)in_statics, bytes};
    if (in_dynamic + MARGIN < SHARED_BYTES + 2 * MARGIN) return {Space::shared, 0, (int64_t)in_dynamic, bytes};
    return {Space::none, 0, 0, bytes};
}

void fail_misaligned(uintptr_t address, unsigned bytes, uint32_t code) {
    fail_access("misaligned", place_of(address, bytes), Kind::other, code);
}

// A kernel may read its library's own constants, and what is on its stack is its own.
void check_access(uintptr_t address, unsigned bytes, Kind kind, uint32_t code, bool is_aligned) {
    running.code = code;
    settle_second_write();
    if (address - (uintptr_t)running.stack < STACK_BYTES) return;
    if (is_aligned && address % bytes) fail_misaligned(address, bytes, code);
    const Place place = place_of(address, bytes);
    const size_t end = (size_t)place.offset + bytes;  // enormous where it begins before the memory
    switch (place.space) {
        case Space::array: return check_array_access(address, place, kind, code);
        case Space::statics:
            if (end <= static_bytes) return check_at(static_shadow, place, address, place.offset, kind, code);
            break;
        case Space::shared:
            if (end <= dynamic_bytes && place.offset >= 0)
                return check_at(dynamic_shadow, place, address, place.offset, kind, code);
            break;
        case Space::none:
            if (code_offset((const void*)address) && kind == Kind::read) return;
    }
    fail_access("out of bounds", place, kind, code);
}
