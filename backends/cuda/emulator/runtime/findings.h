// What the emulator finds wrong, and how it tells: one JSON object a line, on the standard output.
#pragma once
#include <cstdint>

enum class Kind : uint8_t { read, write, atomic, barrier, warp_barrier, left, other, copy };

struct Index3 {
    unsigned x, y, z;
};

// Who did something, and where in the code: an offset into the kernels' library, and the source line where the
// call told it (0 elsewhere).
struct Actor {
    Kind kind;
    Index3 block, thread;
    uint32_t code;
    int line;
};

// Where in memory: an array, the dynamic shared memory, the static one.
enum class Space { none, array, shared, statics };
struct Place {
    Space space;
    int array;
    int64_t offset;  // in bytes
    unsigned bytes;
};

extern int current_launch;  // its number in the request

constexpr Place NOWHERE = {Space::none, 0, 0, 0};

// Report something. A finding of the same `name` at the same places in the code is reported once.
void report(const char* name, const Place& place, const Actor* actors, int count);

// Begin a request: nothing is known yet, and so many findings are reported.
void forget_findings(int limit);

// Report, and end the request: what comes after would be damaged by it.
[[noreturn]] void fail(const char* name, const Place& place, const Actor* actors, int count);
