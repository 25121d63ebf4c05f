// What code calls that `g++ -fsanitize=thread,bounds,alignment` compiles: at each access to memory, and where an index
// is outside its array or an address not aligned. The compiler is asked for the calls alone: nothing of its own
// sanitizers' libraries is linked.

#include "memory.h"
#include "threads.h"

extern "C" {

#define ACCESS(name, bytes, kind, is_aligned)                                                         \
    void name(void* address) {                                                                        \
        check_access((uintptr_t)address, bytes, kind, code_offset(__builtin_return_address(0)), is_aligned); \
    }
#define ACCESSES(bytes)                                                  \
    ACCESS(__tsan_read##bytes, bytes, Kind::read, true)                  \
    ACCESS(__tsan_write##bytes, bytes, Kind::write, true)                \
    ACCESS(__tsan_volatile_read##bytes, bytes, Kind::read, true)         \
    ACCESS(__tsan_volatile_write##bytes, bytes, Kind::write, true)       \
    ACCESS(__tsan_unaligned_read##bytes, bytes, Kind::read, false)       \
    ACCESS(__tsan_unaligned_write##bytes, bytes, Kind::write, false)
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void* address, size_t bytes) {
    check_access((uintptr_t)address, (unsigned)bytes, Kind::read, code_offset(__builtin_return_address(0)), false);
}
void __tsan_write_range(void* address, size_t bytes) {
    check_access((uintptr_t)address, (unsigned)bytes, Kind::write, code_offset(__builtin_return_address(0)), false);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

// ---------------------------------------------------------------- -fsanitize=bounds,alignment

struct SourcePlace {
    const char* file;
    uint32_t line, column;
};
struct TypeDescriptor;
struct OutOfBounds {
    SourcePlace place;
    const TypeDescriptor *array, *index;
};
struct TypeMismatch {
    SourcePlace place;
    const TypeDescriptor* type;
    unsigned char log_alignment, kind;
};

void __ubsan_handle_out_of_bounds(OutOfBounds* data, uintptr_t) {
    const Actor mine =
        actor(*running.thread, Kind::other, code_offset(__builtin_return_address(0)), (int)data->place.line);
    fail("index outside its array", NOWHERE, &mine, 1);
}

void __ubsan_handle_type_mismatch_v1(TypeMismatch* data, uintptr_t address) {
    fail_misaligned(address, 1u << data->log_alignment, code_offset(__builtin_return_address(0)));
}
}
