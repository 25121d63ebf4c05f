// The memory of a request: its arrays, each between pages that nothing may touch, and the blocks' shared memory.
#pragma once
#include <cstddef>
#include <cstdint>

#include "findings.h"

constexpr size_t SHARED_BYTES = 227 << 10;  // the most that a block can have on sm_90
constexpr size_t STATIC_SHARED_BYTES = 48 << 10;

size_t page_bytes();

// input: the kernels may read it; output, workspace: undefined at first; state: defined, and may be written.
enum class Role : uint8_t { input, output, workspace, state };

struct Array {
    uintptr_t low, high;  // its bytes
    Role role;
};

// Map the arrays of a request from a file: so many bytes from an offset, a multiple of the page size, on.
// Each ends at a page's end or up to 15 bytes before it, so that it begins at a multiple of 16.
void begin_arrays(int file);
void map_array(size_t offset, size_t bytes, Role role);
void end_arrays();
const Array& array(int number);

// Let the next blocks have so many bytes of dynamic shared memory; the static ones are the library's.
void set_shared_memory(size_t dynamic_bytes, uintptr_t statics, size_t static_bytes);
void poison_shared_memory();

// The array next to an address, and the distance: negative before it. For accesses that hit a guard page.
Place nearest_array(uintptr_t address);

// Bytes of the outputs that no kernel has written are findings.
void report_unwritten();

// What the instrumented code does to memory.
void check_access(uintptr_t address, unsigned bytes, Kind kind, uint32_t code, bool is_aligned);

// A thread goes on to something else than an access, or another thread runs.
void settle_second_write();

[[noreturn]] void fail_misaligned(uintptr_t address, unsigned bytes, uint32_t code);
