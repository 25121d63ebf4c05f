// Functions of floats that take an instruction or a few. No operation is reordered or contracted: sources are
// compiled with `-fmad=false`, and what is to be fused says so.

__device__ inline te_u32 te_bits(float a) {
    return __float_as_uint(a);
}

__device__ inline te_u64 te_bits(double a) {
    return (te_u64)__double_as_longlong(a);
}

__device__ inline float te_float(te_u32 bits) {
    return __uint_as_float(bits);
}

__device__ inline double te_float(te_u64 bits) {
    return __longlong_as_double((te_i64)bits);
}

__device__ inline float te_infinity_f32() {
    return __uint_as_float(0x7f800000u);
}

__device__ inline double te_infinity_f64() {
    return __longlong_as_double(0x7ff0000000000000ll);
}

__device__ inline float te_nan_f32() {
    return __uint_as_float(0x7fc00000u);
}

__device__ inline double te_nan_f64() {
    return __longlong_as_double(0x7ff8000000000000ll);
}

// NaN if one is NaN, and -0 < +0, so that no order of a reduction shows.
__device__ inline float te_min_f32(float a, float b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    float least;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(least) : "f"(a), "f"(b));
    return least;
#else
    return te_min_of_floats(a, b);
#endif
}

__device__ inline float te_max_f32(float a, float b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    float greatest;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(greatest) : "f"(a), "f"(b));
    return greatest;
#else
    return te_max_of_floats(a, b);
#endif
}

__device__ inline double te_min_f64(double a, double b) {
    return te_min_of_floats(a, b);
}

__device__ inline double te_max_f64(double a, double b) {
    return te_max_of_floats(a, b);
}

// Of two zeros the result has the sign of both, or the one that is asked for: both bits or either.
template <class T>
__device__ inline T te_min_of_floats(T a, T b) {
    if (a == b) {
        return te_float(te_bits(a) | te_bits(b));
    }
    return a != a || a < b ? a : b;
}

template <class T>
__device__ inline T te_max_of_floats(T a, T b) {
    if (a == b) {
        return te_float(te_bits(a) & te_bits(b));
    }
    return a != a || a > b ? a : b;
}

// -1, 0 or 1; NaN stays, and of -0 it is +0.
//@ T: f32 f64
__device__ inline @C te_sign_@T(@C a) {
    return a > 0 ? (@C)1 : a < 0 ? (@C)-1 : a + (@C)0;
}

//@ T: f32 f64
__device__ inline @C te_abs_@T(@C a) {
    return fabs@F(a);
}

//@ T: f32 f64
__device__ inline @C te_floor_@T(@C a) {
    return floor@F(a);
}

//@ T: f32 f64
__device__ inline @C te_ceil_@T(@C a) {
    return ceil@F(a);
}

//@ T: f32 f64
__device__ inline @C te_trunc_@T(@C a) {
    return trunc@F(a);
}

// Halves go to the even neighbour.
//@ T: f32 f64
__device__ inline @C te_round_@T(@C a) {
    return rint@F(a);
}

//@ T: f32 f64
__device__ inline @C te_sqrt_@T(@C a) {
    return sqrt@F(a);
}

//@ T: f32 f64
__device__ inline @C te_rsqrt_@T(@C a) {
    return (@C)1 / sqrt@F(a);
}

// a * b + c, rounded once.
//@ T: f32 f64
__device__ inline @C te_fma_@T(@C a, @C b, @C c) {
    return fma@F(a, b, c);
}

//@ T: f32 f64
__device__ inline bool te_isnan_@T(@C a) {
    return a != a;
}

//@ T: f32 f64
__device__ inline bool te_isinf_@T(@C a) {
    return fabs@F(a) == te_infinity_@T();
}

//@ T: f32 f64
__device__ inline bool te_isfinite_@T(@C a) {
    return fabs@F(a) < te_infinity_@T();  // no comparison with NaN holds
}

// x ** 0.5: the square root, but +0 of -0, and infinity of -infinity (IEEE 754-2019, 9.2.1).
//@ T: f32 f64
__device__ inline @C te_root_@T(@C x) {
    return x == -te_infinity_@T() ? te_infinity_@T() : sqrt@F(x + (@C)0);
}
