#include "fibers.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)

// The System V ABI keeps six registers, and the stack pointer, across a call: 2 ns, where `swapcontext` makes two
// system calls for the signal mask.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
    .text
    .type emulator_switch, @function
emulator_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .size emulator_switch, .-emulator_switch
)");
constexpr size_t SAVED = 6, RETURN_ADDRESS = 6;  // in words

#elif defined(__aarch64__)

// AAPCS64 keeps x19 to x30 and the low halves of v8 to v15.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
    .text
    .type emulator_switch, %function
emulator_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size emulator_switch, .-emulator_switch
)");
constexpr size_t SAVED = 20, RETURN_ADDRESS = 11;

#endif

#if defined(__x86_64__) || defined(__aarch64__)

void prepare_context(Context& context, char* low, size_t bytes, void (*entry)()) {
    // As `emulator_switch` leaves a stack; `entry` finds it as a call would: on x86-64, 8 bytes below a multiple of 16.
    constexpr size_t above = RETURN_ADDRESS == SAVED ? 2 : 0;
    uintptr_t* frame = (uintptr_t*)((uintptr_t)(low + bytes) & ~uintptr_t(15)) - above - SAVED;
    memset(frame, 0, (SAVED + above) * sizeof *frame);
    frame[RETURN_ADDRESS] = (uintptr_t)entry;
    context.stack_pointer = frame;
}

void switch_context(Context& from, Context& to) { emulator_switch(&from.stack_pointer, to.stack_pointer); }

#else

void prepare_context(Context& context, char* low, size_t bytes, void (*entry)()) {
    getcontext(&context.registers);
    context.registers.uc_stack.ss_sp = low;
    context.registers.uc_stack.ss_size = bytes;
    context.registers.uc_link = nullptr;
    makecontext(&context.registers, entry, 0);
}

void switch_context(Context& from, Context& to) { swapcontext(&from.registers, &to.registers); }

#endif
