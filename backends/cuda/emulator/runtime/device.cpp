// What the kernels call by name (include/te_emulated.h), but for barriers and shuffles (threads.cpp).

#include <cstring>

#include "memory.h"
#include "threads.h"

bool is_checked;  // whether the request's library is instrumented

extern "C" {

Index3 te_emulated_thread() { return running.thread->index; }
Index3 te_emulated_block() { return running.block; }
Index3 te_emulated_block_dim() { return running.block_dim; }
Index3 te_emulated_grid_dim() { return running.grid_dim; }

void te_emulated_atomic(const void* address, unsigned bytes) {
    if (is_checked)
        check_access((uintptr_t)address, bytes, Kind::atomic, code_offset(__builtin_return_address(0)), true);
}

uint64_t te_emulated_load(const void* address, unsigned bytes) {
    uint64_t bits = 0;
    memcpy(&bits, address, bytes);
    return bits;
}

void te_emulated_store(void* address, uint64_t bits, unsigned bytes) { memcpy(address, &bits, bytes); }

void te_emulated_trap(int line) {
    const Actor mine = actor(*running.thread, Kind::other, code_offset(__builtin_return_address(0)), line);
    fail("trap", NOWHERE, &mine, 1);
}
}
