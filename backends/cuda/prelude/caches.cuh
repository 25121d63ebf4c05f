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
