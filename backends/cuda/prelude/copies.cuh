// Asynchronous copies from global to shared memory (PTX ISA, section 9.7.9.25, from sm_80 on).

// 4, 8 or 16 bytes, aligned to so many; of those, the first `given` are copied, and the others are zero.
template <int BYTES>
__device__ __forceinline__ void te_copy_async(void* to, const void* from, int given = BYTES) {
#ifdef TE_EMULATED
    __pipeline_memcpy_async(to, from, BYTES, BYTES - given);
#else
    const unsigned place = (unsigned)__cvta_generic_to_shared(to);
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(given) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(place), "l"(from), "n"(BYTES), "r"(given) : "memory");
#endif
}

// The copies that this thread has begun since it last did this are a group.
__device__ __forceinline__ void te_commit_copies() {
#ifdef TE_EMULATED
    __pipeline_commit();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait for all groups of this thread but the last `PENDING`.
template <int PENDING>
__device__ __forceinline__ void te_wait_copies() {
#ifdef TE_EMULATED
    __pipeline_wait_prior(PENDING);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}
