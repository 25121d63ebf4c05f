// Hints to the caches: none changes what is computed.

// Bring what lies there to the second-level cache (PTX ISA, `prefetch`).
__device__ __forceinline__ void te_prefetch(const void* from) {
#ifndef TE_EMULATED
    asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
#endif
}

// An unsigned type of so many bytes, or several.
template <int BYTES>
struct te_unsigned;

template <>
struct te_unsigned<1> {
    typedef unsigned char type;
};

template <>
struct te_unsigned<2> {
    typedef unsigned short type;
};

template <>
struct te_unsigned<4> {
    typedef unsigned int type;
};

template <>
struct te_unsigned<8> {
    typedef uint2 type;
};

template <>
struct te_unsigned<16> {
    typedef uint4 type;
};

// Store what is not read again soon, so that it displaces nothing in the caches.
template <class T>
__device__ __forceinline__ void te_store_past(T* to, T value) {
    typedef typename te_unsigned<sizeof(T)>::type bits;
    union {
        T value;
        bits as;
    } both = {value};
    __stcs(reinterpret_cast<bits*>(to), both.as);
}

template <class T, int N>
__device__ __forceinline__ void te_store_past(T* to, te_vector<T, N> elements) {
    te_store_past(reinterpret_cast<te_vector<T, N>*>(to), elements);
}

// Where the block is if blocks are started in groups of 8 rows, column by column in each: those that run at the same
// time then read few rows and few columns, which stay in the second-level cache. All blocks change places with others.
__device__ __forceinline__ uint3 te_grouped_block() {
    const unsigned long long rows = 8, of_group = rows * gridDim.x;
    const unsigned long long number = (unsigned long long)blockIdx.y * gridDim.x + blockIdx.x;
    const unsigned first = (unsigned)(number / of_group * rows), inside = (unsigned)(number % of_group);
    const unsigned here = gridDim.y - first < rows ? gridDim.y - first : rows;
    return make_uint3(inside / here, first + inside % here, blockIdx.z);
}
