// What the elementary functions are made of. Their methods and coefficients are those of te's CPU backend
// (te/backends/llvm/math, which names the sources), so that results agree to the bit with a CPU that has FMA.

template <class T>
struct te_sum {  // a number as an unevaluated sum
    T high;
    T low;
};

// What the methods know of a float type. `shifter`, added, rounds to an integer in the low bits of the sum;
// log2_high has so few bits that its product with an exponent is exact.
template <class T>
struct te_format;

template <>
struct te_format<float> {
    static constexpr int mantissa = 23;
    static constexpr int bias = 127;
    static constexpr float shifter = 12582912.0f;
    static constexpr float log2_high = 0.693145751953125f;
    static constexpr float log2_low = 1.42860682030941723212e-6f;
    static constexpr float exp_lowest = -104.0f;  // below, exp is 0
    static constexpr float exp_highest = 89.0f;  // above, it is infinite
};

template <>
struct te_format<double> {
    static constexpr int mantissa = 52;
    static constexpr int bias = 1023;
    static constexpr double shifter = 6755399441055744.0;
    static constexpr double log2_high = 0.6931471803691238;
    static constexpr double log2_low = 1.9082149292705877e-10;
    static constexpr double exp_lowest = -746.0;
    static constexpr double exp_highest = 710.0;
};

//@ T: f32 f64
__device__ inline @C te_fused(@C a, @C b, @C c) {
    return fma@F(a, b, c);
}

//@ T: f32 f64
__device__ inline @C te_absolute(@C x) {
    return fabs@F(x);
}

//@ T: f32 f64
__device__ inline @C te_square_root(@C x) {
    return sqrt@F(x);
}

//@ T: f32 f64
__device__ inline @C te_with_sign(@C size, @C sign) {
    return copysign@F(size, sign);
}

//@ T: f32 f64
__device__ inline @C te_infinity_like(@C) {
    return te_infinity_@T();
}

//@ T: f32 f64
__device__ inline @C te_nan_like(@C) {
    return te_nan_@T();
}

// The number within a bound; NaN stays.
template <class T>
__device__ inline T te_at_most(T x, T high) {
    return high < x ? high : x;
}

template <class T>
__device__ inline T te_at_least(T x, T low) {
    return low > x ? low : x;
}

// The polynomial; the constant coefficient comes first.
template <class T>
__device__ inline T te_horner(T, T coefficient) {
    return coefficient;
}

template <class T, class... Rest>
__device__ inline T te_horner(T x, T coefficient, Rest... rest) {
    return te_fused(te_horner(x, rest...), x, coefficient);
}

// The rounded sum and its error, exactly (Knuth).
template <class T>
__device__ inline te_sum<T> te_two_sum(T a, T b) {
    T total = a + b;
    T of_b = total - a;
    return {total, (a - (total - of_b)) + (b - of_b)};
}

// The same where |a| >= |b| or a is 0 (Dekker).
template <class T>
__device__ inline te_sum<T> te_fast_two_sum(T a, T b) {
    T total = a + b;
    return {total, b - (total - a)};
}

// `product - a * b`, for a number near to the product.
template <class T>
__device__ inline T te_product_error(T a, T b, T product) {
    return te_fused(-a, b, product);
}

// The rounded product and its error, exactly where nothing over- or underflows.
template <class T>
__device__ inline te_sum<T> te_two_product(T a, T b) {
    T product = a * b;
    return {product, -te_product_error(a, b, product)};
}
