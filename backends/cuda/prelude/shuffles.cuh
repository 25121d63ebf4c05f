// Threads of a warp that exchange registers.

__device__ inline te_u32 te_lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}

// What the lane has whose number differs in one bit. All lanes of a run of WIDTH, a power of two, take part.
template <int WIDTH, class T>
__device__ inline T te_swapped(T x, int bit) {
    const te_u32 run = WIDTH == 32 ? 0xffffffffu : ((1u << WIDTH % 32) - 1) << (te_lane() / WIDTH * WIDTH);
    return (T)__shfl_xor_sync(run, x, bit);
}
