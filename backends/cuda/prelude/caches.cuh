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

// Where the block is if blocks are started along a generalised Hilbert curve, which visits every block of a rectangle of
// any sides once: those that run at the same time are near each other (Červený, "Generalized Hilbert space-filling curve
// for rectangular domains of arbitrary sizes", 2018). A part of the curve fills a rectangle from a corner, its longer
// side `along` first; parts are of two or three smaller ones, and the block is in one of them.
__device__ __forceinline__ uint3 te_hilbert_block() {
    long long number = (long long)blockIdx.y * gridDim.x + blockIdx.x;
    int x = 0, y = 0;  // the corner
    int along_x = gridDim.x, along_y = 0, across_x = 0, across_y = gridDim.y;
    if (gridDim.x < gridDim.y) {
        along_x = across_y = 0;
        along_y = gridDim.y;
        across_x = gridDim.x;
    }
    for (;;) {
        const int length = abs(along_x + along_y), width = abs(across_x + across_y);
        const int step_x = (along_x > 0) - (along_x < 0), step_y = (along_y > 0) - (along_y < 0);
        const int side_x = (across_x > 0) - (across_x < 0), side_y = (across_y > 0) - (across_y < 0);
        if (width == 1) {
            return make_uint3(x + step_x * (int)number, y + step_y * (int)number, blockIdx.z);
        }
        if (length == 1) {
            return make_uint3(x + side_x * (int)number, y + side_y * (int)number, blockIdx.z);
        }
        int half_length = length / 2, half_width = width / 2;
        if (2LL * length > 3LL * width) {  // two parts, one behind the other
            half_length += half_length % 2 && length > 2;
            const long long first = (long long)half_length * width;
            if (number < first) {
                along_x = step_x * half_length;
                along_y = step_y * half_length;
            } else {
                number -= first;
                x += step_x * half_length;
                y += step_y * half_length;
                along_x -= step_x * half_length;
                along_y -= step_y * half_length;
            }
            continue;
        }
        half_width += half_width % 2 && width > 2;
        const long long first = (long long)half_width * half_length, second = (long long)length * (width - half_width);
        if (number < first) {  // up,
            along_x = side_x * half_width;
            along_y = side_y * half_width;
            across_x = step_x * half_length;
            across_y = step_y * half_length;
        } else if (number < first + second) {  // all along,
            number -= first;
            x += side_x * half_width;
            y += side_y * half_width;
            across_x = side_x * (width - half_width);
            across_y = side_y * (width - half_width);
        } else {  // and down again
            number -= first + second;
            x += step_x * (length - 1) + side_x * (half_width - 1);
            y += step_y * (length - 1) + side_y * (half_width - 1);
            along_x = -side_x * half_width;
            along_y = -side_y * half_width;
            across_x = -step_x * (length - half_length);
            across_y = -step_y * (length - half_length);
        }
    }
}
