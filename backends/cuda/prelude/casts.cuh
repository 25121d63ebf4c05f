// te_cast_FROM_TO: integers wrap; a float rounds once, ties to even; float to integer truncates, saturates and takes
// NaN to 0; to bool is `!= 0`.

//@ S: i8 i16 i32 i64 u8 u16 u32 u64 bool; T: i8 i16 i32 i64 u8 u16 u32 u64
__device__ inline te_@T te_cast_@S_@T(@CS x) {
    return (te_@T)x;
}

//@ S: i8 i16 i32 i64 u8 u16 u32 u64 bool; T: f32 f64
__device__ inline @C te_cast_@S_@T(@CS x) {
    return (@C)x;
}

//@ S: i8 i16 i32 i64 u8 u16 u32 u64 f32 f64; T: bool
__device__ inline bool te_cast_@S_@T(@CS x) {
    return x != 0;
}

__device__ inline double te_cast_f32_f64(float x) {
    return x;
}

__device__ inline float te_cast_f64_f32(double x) {
    return (float)x;
}

//@ S: f32 f64; T: i8 i16 i32 i64 u8 u16 u32 u64
__device__ inline te_@T te_cast_@S_@T(@CS x) {
    if (x <= (@CS)@MIN) {
        return @MIN;
    }
    if (x >= (@CS)@MAX) {
        return @MAX;
    }
    return x == x ? (te_@T)x : 0;
}

// The upper half of an f32.
__device__ inline float te_cast_bf16_f32(te_bf16 x) {
    return __uint_as_float((te_u32)x << 16);
}

__device__ inline te_bf16 te_cast_f32_bf16(float x) {
    te_u32 bits = __float_as_uint(x);
    if (x != x) {
        return (te_bf16)((bits >> 16) | 0x40);
    }
    return (te_bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

__device__ inline float te_cast_f16_f32(te_f16 x) {
#ifdef __CUDA_ARCH__
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x));
    return wide;
#else
    return te_widen<5, 10, true>(x);
#endif
}

__device__ inline te_f16 te_cast_f32_f16(float x) {
#ifdef __CUDA_ARCH__
    te_f16 half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
    return half;
#else
    return (te_f16)te_narrow<5, 10, true>(x);
#endif
}

__device__ inline float te_cast_f8e4m3_f32(te_f8e4m3 x) {
    return te_widen<4, 3, false>(x);
}

__device__ inline te_f8e4m3 te_cast_f32_f8e4m3(float x) {
    return (te_f8e4m3)te_narrow<4, 3, false>(x);
}

__device__ inline float te_cast_f8e5m2_f32(te_f8e5m2 x) {
    return te_widen<5, 2, true>(x);
}

__device__ inline te_f8e5m2 te_cast_f32_f8e5m2(float x) {
    return (te_f8e5m2)te_narrow<5, 2, true>(x);
}

// A float's bits are `exponent << FRACTION | fraction` behind its sign, and another format is a shift and an addition
// to the exponent. Of subnormal numbers an addition of floats makes normal ones, to a number whose last bit is worth
// as much as theirs. (F. Giesen, "Float->half variants", 2012.)
template <int EXPONENT, int FRACTION, bool HAS_INFINITY>
__device__ inline float te_widen(te_u32 bits) {
    const te_u32 bias = (1 << (EXPONENT - 1)) - 1;
    const te_u32 width = EXPONENT + FRACTION;
    te_u32 size = bits & ((1u << width) - 1);
    te_u32 sign = (bits & (1u << width)) << (31 - width);
    te_u32 shifted = size << (23 - FRACTION);
    te_u32 wide = shifted + ((127 - bias) << 23);
    if (shifted < (1u << 23)) {
        const te_u32 first = (128 - bias) << 23;
        wide = __float_as_uint(__uint_as_float(shifted + first) - __uint_as_float(first));
    }
    if (HAS_INFINITY && shifted >= (((1u << EXPONENT) - 1) << 23)) {
        wide = shifted | 0x7f800000u;
    }
    if (!HAS_INFINITY && size == (1u << width) - 1) {
        wide = 0x7fc00000u;
    }
    return __uint_as_float(wide | sign);
}

// What is too large is infinite, or NaN where the format has no infinity.
template <int EXPONENT, int FRACTION, bool HAS_INFINITY>
__device__ inline te_u32 te_narrow(float x) {
    const te_u32 bias = (1 << (EXPONENT - 1)) - 1;
    const te_u32 width = EXPONENT + FRACTION;
    const te_u32 dropped = 23 - FRACTION;
    const te_u32 nan = HAS_INFINITY ? (((1u << EXPONENT) - 1) << FRACTION) | (1u << (FRACTION - 1)) : (1u << width) - 1;
    te_u32 bits = __float_as_uint(x);
    te_u32 size = bits & 0x7fffffffu;
    te_u32 sign = (bits >> (31 - width)) & (1u << width);
    te_u32 odd = (size >> dropped) & 1;
    te_u32 result = (size + ((1u << (dropped - 1)) - 1) - ((127 - bias) << 23) + odd) >> dropped;
    if (size < ((128 - bias) << 23)) {
        const te_u32 unit = (128 - bias + dropped) << 23;
        result = __float_as_uint(__uint_as_float(size) + __uint_as_float(unit)) - unit;
    }
    if (size > 0x7f800000u || (!HAS_INFINITY && result >= nan)) {
        result = nan;
    } else if (HAS_INFINITY && result > (((1u << EXPONENT) - 1) << FRACTION)) {
        result = ((1u << EXPONENT) - 1) << FRACTION;
    }
    return result | sign;
}

// A narrow float goes through f32, which holds it.
//@ S: f16 bf16 f8e4m3 f8e5m2; T: i8 i16 i32 i64 u8 u16 u32 u64 f64 bool f16 bf16 f8e4m3 f8e5m2
__device__ inline @C te_cast_@S_@T(@CS x) {
    return te_cast_f32_@T(te_cast_@S_f32(x));
}

// Integers that are no f32 are infinite in these formats, or NaN.
//@ S: i8 i16 i32 i64 u8 u16 u32 u64 bool; T: f16 f8e4m3 f8e5m2
__device__ inline @C te_cast_@S_@T(@CS x) {
    return te_cast_f32_@T((float)x);
}

//@ S: i8 i16 u8 u16 bool; T: bf16
__device__ inline te_bf16 te_cast_@S_bf16(@CS x) {
    return te_cast_f32_bf16((float)x);
}

// Rounded to odd, and again to a type at least two bits narrower, a number is what one rounding gives (Boldo &
// Melquiond, "Emulation of FMA and correctly rounded sums", 2008, theorem 3).
//@ S: i32 u32; T: bf16
__device__ inline te_bf16 te_cast_@S_bf16(@CS x) {
    return te_cast_f32_bf16((float)te_odd_integer(x, 24));
}

//@ S: i64 u64; T: bf16
__device__ inline te_bf16 te_cast_@S_bf16(@CS x) {
    return te_cast_f32_bf16(te_round_to_odd((double)te_odd_integer(x, 53)));
}

//@ S: f64; T: f16 bf16 f8e4m3 f8e5m2
__device__ inline @C te_cast_f64_@T(double x) {
    return te_cast_f32_@T(te_round_to_odd(x));
}

// An integer that has more than `kept` bits, rounded to odd.
template <class T>
__device__ inline T te_odd_integer(T x, int kept) {
    const T dropped = (T)1 << (8 * sizeof(T) - kept);
    T rest = x & (dropped - 1);
    T upper = x >> kept;
    bool is_small = upper == 0 || upper == (T)-1;
    return is_small || rest == 0 ? x : (x ^ rest) | dropped;
}

// The f32 neighbour of an f64 whose last bit is 1, unless the f64 is an f32.
__device__ inline float te_round_to_odd(double x) {
    float rounded = (float)x;
    te_u32 bits = __float_as_uint(rounded);
    if (bits & 1) {
        return rounded;
    }
    // A float's bits grow with its magnitude.
    bits += fabs((double)rounded) < fabs(x);
    bits -= fabs((double)rounded) > fabs(x);
    return __uint_as_float(bits);
}
