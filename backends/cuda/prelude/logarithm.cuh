// log, log2, log1p: x = 2**k * m with m in [3/4, 3/2) by the bits of x, and f = m - 1, exactly. For f32,
// log(1 + f) = f + f**2 * (-1/2 + f * P(f)); for f64, with s = f / (2 + f),
// log(1 + f) = f - (f**2/2 - s * (f**2/2 + s**2 * L(s**2))), as in fdlibm's e_log.c.

template <class T>
struct te_parts {  // x = 2**k * (1 + f) with -1/4 <= f < 1/2
    T k;
    T f;
};

// Of a normal number.
template <class T>
__device__ inline te_parts<T> te_split_normal(T x, T offset) {
    constexpr int mantissa = te_format<T>::mantissa;
    auto shifted = te_bits(x);
    decltype(shifted) one = 1;
    decltype(shifted) quarter = one << (mantissa - 2);
    shifted += 2 * quarter;  // [3/4, 3/2) and what is 2**k times as large have one exponent now
    // The biased exponent becomes a float as the mantissa of a number of 2**mantissa.
    auto exponent = (shifted >> mantissa) | ((one * (te_format<T>::bias + mantissa)) << mantissa);
    T k = te_float(exponent) - T(one << mantissa) - offset;
    auto fraction = shifted & ((one << mantissa) - 1);
    T m = te_float(fraction + ((one * te_format<T>::bias) << mantissa) - 2 * quarter);
    return {k, m - T(1)};
}

template <class T>
__device__ inline te_parts<T> te_split(T x) {
    T smallest = te_float(decltype(te_bits(x))(1) << te_format<T>::mantissa);  // of the normal numbers
    bool is_small = x < smallest;
    T offset = T(te_format<T>::bias + (is_small ? te_format<T>::mantissa : 0));
    return te_split_normal(is_small ? x * T(1ll << te_format<T>::mantissa) : x, offset);
}

// The logarithm's values at 0, infinity, NaN and below 0.
template <class T>
__device__ inline T te_log_whole_range(T x, T result) {
    if (x > T(0)) {
        return x == te_infinity_like(x) ? x : result;
    }
    return x == T(0) ? -te_infinity_like(x) : te_nan_like(x);
}

// f**2/2 and the rest of log(1 + f) = f - f**2/2 + rest.
__device__ inline te_sum<double> te_log_of_quotient(double f) {
    double s = f / (f + 2.0);
    double z = s * s;
    double square = f * f * 0.5;
    double tail = te_horner(
        z, 0.666666666666666, 0.4000000000005679, 0.2857142855580192, 0.22222224299536658, 0.18181665680156125,
        0.15391118790518765, 0.13173476597449074, 0.13843918060770455);
    return {square, s * fma(tail, z, square)};
}

// k * log(2) + log(1 + f) + correction.
__device__ inline float te_log_of_parts(te_parts<float> parts, float correction = -0.0f) {
    float f = parts.f;
    float tail = te_horner(
        f, 0.333334495f, -0.250000964f, 0.199908362f, -0.166472581f, 0.14478708f, -0.131621372f, 0.104630602f,
        -0.0450635865f);
    float rest = fmaf(tail, f, -0.5f) * (f * f) + correction;
    rest = fmaf(parts.k, te_format<float>::log2_low, rest);
    return fmaf(parts.k, te_format<float>::log2_high, f + rest);
}

__device__ inline double te_log_of_parts(te_parts<double> parts, double correction = -0.0) {
    te_sum<double> quotient = te_log_of_quotient(parts.f);
    double rest = fma(parts.k, te_format<double>::log2_low, quotient.low) + correction;
    return fma(parts.k, te_format<double>::log2_high, parts.f - (quotient.high - rest));
}

//@ T: f32 f64
__device__ inline @C te_log_@T(@C x) {
    return te_log_whole_range(x, te_log_of_parts(te_split(x)));
}

// log(1 + x + low) + doublings * log(2), where x + low is x, rounded: k is that of u = 1 + x rounded, and
// f = x / 2**k + (1 / 2**k - 1), so that f is x itself where k is 0.
template <class T>
__device__ inline T te_log1p_of_sum(T x, T low = T(-0.0), T doublings = T(-0.0)) {
    T u = x + T(1);
    te_parts<T> parts = te_split_normal(u, T(te_format<T>::bias));
    // u may be so large that 2**-k is subnormal: then what it lacks of 1 + x does not count.
    T scale = te_power_of_two(-te_at_most(parts.k, T(100)));
    T f = te_fused(te_two_sum(x, T(1)).low, scale, parts.f);
    return te_log_whole_range(u, te_log_of_parts(te_parts<T>{parts.k + doublings, f}, low * scale));
}

// Of -0 it is -0.
//@ T: f32 f64
__device__ inline @C te_log1p_@T(@C x) {
    return te_with_sign(te_log1p_of_sum(x), x);
}

// (log2(1 + f) - f), whose error counts less than that of their sum.
__device__ inline float te_log2_rest(float f) {
    return te_horner(
        f, 0.442695035f, -0.721347537f, 0.480900786f, -0.360674891f, 0.288383459f, -0.240146425f, 0.209106425f,
        -0.190301431f, 0.15068127f, -0.0643335971f);
}

__device__ inline float te_log2_f32(float x) {
    te_parts<float> parts = te_split(x);
    return te_log_whole_range(x, fmaf(te_log2_rest(parts.f), parts.f, parts.k + parts.f));
}

// log(1 + f) as a sum of two parts, times 1/log(2) in two parts (FreeBSD, e_log2.c).
__device__ inline double te_log2_f64(double x) {
    te_parts<double> parts = te_split(x);
    double f = parts.f;
    te_sum<double> quotient = te_log_of_quotient(f);
    double high = te_float(te_bits(f - quotient.high) & 0xffffffff00000000ull);
    double low = ((f - high) - quotient.high) + quotient.low;
    const double inverse_high = 1.44269504072144627571;
    const double inverse_low = 1.67517131648865118353e-10;
    double tail = (low + high) * inverse_low + low * inverse_high;
    return te_log_whole_range(x, parts.k + fma(high, inverse_high, tail));  // the product is exact
}
