// Products of tiles of matrices by the lanes of a warp together: d += a b, as te/std/cuda.te says. Each lane gives
// the elements that it has of the tiles (schedule/fragments.py), in whole registers. PTX ISA, "mma.sync".

// One step for each element that a lane has: what an emulated instruction computes of it.
struct te_bf16_step {
    static const te_u32 infinite = 0x7f80;
    static __device__ inline float next(float total, te_bf16 a, te_bf16 b) {
        return te_fma_f32(te_cast_bf16_f32(a), te_cast_bf16_f32(b), total);
    }
};

struct te_f16_step {
    static const te_u32 infinite = 0x7c00;
    static __device__ inline float next(float total, te_f16 a, te_f16 b) {
        return te_fma_f32(te_cast_f16_f32(a), te_cast_f16_f32(b), total);
    }
};

// Of a factor the first 11 bits count.
struct te_tf32_step {
    static __device__ inline float next(float total, float a, float b) {
        const te_u32 kept = 0xffffe000u;
        return te_fma_f32(te_float(te_bits(a) & kept), te_float(te_bits(b) & kept), total);
    }
};

struct te_integer_step {
    static __device__ inline te_i32 next(te_i32 total, te_i32 a, te_i32 b) {
        return te_add_i32(total, a * b);
    }
};

// The emulator's: what the lanes of a warp give, and what the last of them that comes does for all.
template <class STEP, class C, class A, class B>
struct te_emulated_tiles {
    C* d;
    const A* a;
    const B* b;
#ifdef TE_EMULATED
    __attribute__((no_sanitize("thread", "bounds", "alignment"))) static void multiply(te_emulated_tiles** lanes) {
        const int own = 4 / sizeof(A);  // elements in a register
        for (int i = 0; i < 16; i++) {
            for (int j = 0; j < 8; j++) {
                C* total = lanes[i % 8 * 4 + j / 2]->d + i / 8 * 2 + j % 2;
                for (int k = 0; k < 8 * own; k++) {
                    const int member = k / own % 4, half = k / own / 4;
                    const A a = lanes[i % 8 * 4 + member]->a[(half * 2 + i / 8) * own + k % own];
                    const B b = lanes[j * 4 + member]->b[half * own + k % own];
                    *total = STEP::next(*total, a, b);
                }
            }
        }
    }
#endif
};

__device__ __forceinline__ void te_mma_m16n8k16_bf16(float* d, const te_bf16* a, const te_bf16* b) {
#ifdef TE_EMULATED
    te_emulated_tiles<te_bf16_step, float, te_bf16, te_bf16> mine = {d, a, b};
    emulated_together(mine, mine.multiply);
#elif defined(__CUDA_ARCH__)
    const te_u32* x = reinterpret_cast<const te_u32*>(a);
    const te_u32* y = reinterpret_cast<const te_u32*>(b);
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
#endif
}

__device__ __forceinline__ void te_mma_m16n8k16_f16(float* d, const te_f16* a, const te_f16* b) {
#ifdef TE_EMULATED
    te_emulated_tiles<te_f16_step, float, te_f16, te_f16> mine = {d, a, b};
    emulated_together(mine, mine.multiply);
#elif defined(__CUDA_ARCH__)
    const te_u32* x = reinterpret_cast<const te_u32*>(a);
    const te_u32* y = reinterpret_cast<const te_u32*>(b);
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
#endif
}

// The emulator's, of terms of which each lane says which of its elements of `a` take part.
template <class STEP, class T>
struct te_emulated_chosen {
    float* d;
    const T* a;
    const T* b;
    te_u32 kept;
#ifdef TE_EMULATED
    __attribute__((no_sanitize("thread", "bounds", "alignment"))) static void multiply(te_emulated_chosen** lanes) {
        for (int i = 0; i < 16; i++) {
            for (int j = 0; j < 8; j++) {
                float* total = lanes[i % 8 * 4 + j / 2]->d + i / 8 * 2 + j % 2;
                for (int k = 0; k < 16; k++) {
                    const int member = k / 2 % 4, half = k / 8, n = half * 4 + i / 8 * 2 + k % 2;
                    const te_emulated_chosen* row = lanes[i % 8 * 4 + member];
                    if (row->kept >> n & 1) {
                        *total = STEP::next(*total, row->a[n], lanes[j * 4 + member]->b[half * 2 + k % 2]);
                    }
                }
            }
        }
    }
#endif
};

// What is left where 0 times a factor is NaN: the terms come one by one, and rows that leave one out keep what they had.
// `rows` are the bits of the elements that the lane has of `x`, in registers as those of `y`.
//@ T: bf16 f16
__device__ __noinline__ te_vector<float, 4> te_mma_m16n8k16_@T_by_terms(
    te_vector<float, 4> d, te_vector<te_u32, 4> x, te_vector<te_u32, 2> y, te_u32 kept)
{
#ifdef __CUDA_ARCH__
    #pragma unroll 1
    for (int k = 0; k < 16; k++) {
        const te_u32 half = te_lane() % 4 != k / 2 % 4 ? 0 : k % 2 ? 0xffff0000u : 0xffffu;
        const te_u32 first = k < 8 ? half : 0, last = k < 8 ? 0 : half;
        const te_u32 left[4] = {x.at[0] & first, x.at[1] & first, x.at[2] & last, x.at[3] & last};
        const te_u32 right[2] = {y.at[0] & first, y.at[1] & last};
        const te_u32 rows = __shfl_sync(0xffffffffu, kept, te_lane() / 4 * 4 + k / 2 % 4) >> (k / 8 * 4 + k % 2);
        te_vector<float, 4> next = d;
        te_mma_m16n8k16_@T(next.at, reinterpret_cast<const te_@T*>(left), reinterpret_cast<const te_@T*>(right));
        d.at[0] = rows & 1 ? next.at[0] : d.at[0];
        d.at[1] = rows & 1 ? next.at[1] : d.at[1];
        d.at[2] = rows & 4 ? next.at[2] : d.at[2];
        d.at[3] = rows & 4 ? next.at[3] : d.at[3];
    }
#endif
    return d;
}

// Where rows leave out terms: bit `n` of `kept` says whether element `n` that the lane has of `a` takes part. What does
// not is taken as 0, if all of `b` is finite.
//@ T: bf16 f16
__device__ __forceinline__ void te_mma_m16n8k16_@T_where(float* d, const te_@T* a, const te_@T* b, te_u32 kept) {
#ifdef TE_EMULATED
    te_emulated_chosen<te_@T_step, te_@T> mine = {d, a, b, kept};
    emulated_together(mine, mine.multiply);
#elif defined(__CUDA_ARCH__)
    if (!__any_sync(0xffffffffu, kept != 0)) {
        return;
    }
    const te_u32* x = reinterpret_cast<const te_u32*>(a);
    const te_vector<te_u32, 2> y = *reinterpret_cast<const te_vector<te_u32, 2>*>(b);
    const te_u32 low = te_@T_step::infinite, high = low << 16;
    const bool is_finite = (y.at[0] & low) != low && (y.at[0] & high) != high && (y.at[1] & low) != low && (y.at[1] & high) != high;
    te_vector<te_u32, 4> some;
    #pragma unroll
    for (int n = 0; n < 4; n++) {
        some.at[n] = x[n] & ((kept >> 2 * n & 1 ? 0xffffu : 0u) | (kept >> (2 * n + 1) & 1 ? 0xffff0000u : 0u));
    }
    if (__all_sync(0xffffffffu, is_finite)) {
        te_mma_m16n8k16_@T(d, reinterpret_cast<const te_@T*>(some.at), b);
    } else {
        te_vector<float, 4> total = {{d[0], d[1], d[2], d[3]}};
        total = te_mma_m16n8k16_@T_by_terms(total, some, y, kept);
        d[0] = total.at[0];
        d[1] = total.at[1];
        d[2] = total.at[2];
        d[3] = total.at[3];
    }
#endif
}

__device__ __forceinline__ void te_mma_m16n8k32_i8(te_i32* d, const te_i8* a, const te_i8* b) {
#ifdef TE_EMULATED
    te_emulated_tiles<te_integer_step, te_i32, te_i8, te_i8> mine = {d, a, b};
    emulated_together(mine, mine.multiply);
#elif defined(__CUDA_ARCH__)
    const te_u32* x = reinterpret_cast<const te_u32*>(a);
    const te_u32* y = reinterpret_cast<const te_u32*>(b);
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
#endif
}

__device__ __forceinline__ void te_mma_m16n8k32_u8(te_i32* d, const te_u8* a, const te_u8* b) {
#ifdef TE_EMULATED
    te_emulated_tiles<te_integer_step, te_i32, te_u8, te_u8> mine = {d, a, b};
    emulated_together(mine, mine.multiply);
#elif defined(__CUDA_ARCH__)
    const te_u32* x = reinterpret_cast<const te_u32*>(a);
    const te_u32* y = reinterpret_cast<const te_u32*>(b);
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
#endif
}

__device__ __forceinline__ void te_mma_m16n8k32_u8_i8(te_i32* d, const te_u8* a, const te_i8* b) {
#ifdef TE_EMULATED
    te_emulated_tiles<te_integer_step, te_i32, te_u8, te_i8> mine = {d, a, b};
    emulated_together(mine, mine.multiply);
#elif defined(__CUDA_ARCH__)
    const te_u32* x = reinterpret_cast<const te_u32*>(a);
    const te_u32* y = reinterpret_cast<const te_u32*>(b);
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
#endif
}

__device__ __forceinline__ void te_mma_m16n8k32_i8_u8(te_i32* d, const te_i8* a, const te_u8* b) {
#ifdef TE_EMULATED
    te_emulated_tiles<te_integer_step, te_i32, te_i8, te_u8> mine = {d, a, b};
    emulated_together(mine, mine.multiply);
#elif defined(__CUDA_ARCH__)
    const te_u32* x = reinterpret_cast<const te_u32*>(a);
    const te_u32* y = reinterpret_cast<const te_u32*>(b);
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
#endif
}

__device__ __forceinline__ void te_mma_m16n8k8_tf32(float* d, const float* a, const float* b) {
#ifdef TE_EMULATED
    te_emulated_tiles<te_tf32_step, float, float, float> mine = {d, a, b};
    emulated_together(mine, mine.multiply);
#elif defined(__CUDA_ARCH__)
    const te_u32* x = reinterpret_cast<const te_u32*>(a);
    const te_u32* y = reinterpret_cast<const te_u32*>(b);
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
#endif
}

// Matrices of 8 rows of 16 bytes from shared memory, the address of each from a lane of its own: 32 bits of row
// `lane / 4` for each lane; transposed, two 16-bit elements of column `lane / 4`. PTX ISA, "ldmatrix".
template <int COUNT, bool TRANSPOSED>
struct te_emulated_rows {
    te_vector<te_u32, 4> row;
    te_u32* to;
#ifdef TE_EMULATED
    __attribute__((no_sanitize("thread", "bounds", "alignment"))) te_u32 half(int n) const {
        return row.at[n / 2] >> n % 2 * 16 & 0xffff;
    }
    __attribute__((no_sanitize("thread", "bounds", "alignment"))) static void load(te_emulated_rows** lanes) {
        for (int lane = 0; lane < 32; lane++) {
            for (int matrix = 0; matrix < COUNT; matrix++) {
                te_emulated_rows** rows = lanes + 8 * matrix;
                const int first = lane % 4 * 2;
                lanes[lane]->to[matrix] = TRANSPOSED
                    ? rows[first]->half(lane / 4) | rows[first + 1]->half(lane / 4) << 16
                    : rows[lane / 4]->row.at[lane % 4];
            }
        }
    }
#endif
};

template <int COUNT, bool TRANSPOSED>
__device__ __forceinline__ void te_ldmatrix(void* to, const void* row) {
    te_u32* x = reinterpret_cast<te_u32*>(to);
#ifdef TE_EMULATED
    te_emulated_rows<COUNT, TRANSPOSED> mine = {{}, x};
    if (te_lane() < 8 * COUNT) {
        mine.row = te_load<4>(reinterpret_cast<const te_u32*>(row));
    }
    emulated_together(mine, mine.load);
#elif defined(__CUDA_ARCH__)
    const te_u32 at = (te_u32)__cvta_generic_to_shared(row);
    if (COUNT == 4 && TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "r"(at) : "memory");
    } else if (COUNT == 4) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "r"(at) : "memory");
    } else if (COUNT == 2 && TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(x[0]), "=r"(x[1]) : "r"(at) : "memory");
    } else if (COUNT == 2) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(x[0]), "=r"(x[1]) : "r"(at) : "memory");
    } else if (TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(x[0]) : "r"(at) : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(x[0]) : "r"(at) : "memory");
    }
#endif
}
