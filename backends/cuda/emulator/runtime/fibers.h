// Fibers: a stack and the registers that outlive a call. Each thread of the GPU is one.
#pragma once
#include <cstddef>

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

struct Context {
#if defined(__x86_64__) || defined(__aarch64__)
    void* stack_pointer;
#else
    ucontext_t registers;
#endif
};

// Make `context` one that begins with `entry`, which must not return, on the stack that ends at `top`.
void prepare_context(Context& context, char* low, size_t bytes, void (*entry)());

// Leave the running context, which is kept in `from`, and go on in `to`.
void switch_context(Context& from, Context& to);
