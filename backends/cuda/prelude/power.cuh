// x ** y: 2**(y * log2|x|), with the sign and the special cases of C's pow (IEEE 754-2019, 9.2.1). f32: the logarithm
// and the product in f64. f64: log2|x| as a sum of two numbers, because a product of up to 1075 multiplies its error.

__device__ inline float te_positive_pow(float size, float y) {
    te_parts<float> parts = te_split(size);
    double f = parts.f;
    // s = f / (2 + f): a quotient of f32 numbers, and one step of Newton's.
    double inverse = 1.0f / (parts.f + 2.0f);
    double s = f * inverse;
    s = fma(fma(-s, f + 2.0, f), inverse, s);
    double tail = te_horner(
        s * s, 2.8853900818364315, 0.9617966212966146, 0.5770924181635954, 0.41120269423919026, 0.3484468615830581);
    double logarithm = fma(s, tail, (double)parts.k);
    double exponent = te_at_least(te_at_most((double)y * logarithm, 200.0), -200.0);
    double n = rint(exponent);
    return te_times(te_whole_power((float)n), te_exp2_fraction((float)(exponent - n)));
}

// The product of two sums of two.
__device__ inline te_sum<double> te_product_of_sums(te_sum<double> a, te_sum<double> b) {
    te_sum<double> product = te_two_product(a.high, b.high);
    return {product.high, product.low + (a.high * b.low + a.low * b.high)};
}

// log2 of a positive finite number as a sum of two.
__device__ inline te_sum<double> te_log2_in_two(double size) {
    te_parts<double> parts = te_split(size);
    double f = parts.f;
    // s = f / (2 + f) as a sum of two.
    double below = f + 2.0;
    double below_low = f - (below - 2.0);
    double s = f / below;
    te_sum<double> back = te_two_product(s, below);
    double s_low = ((f - back.high) - back.low - s * below_low) / below;
    // log(1 + f) = 2s + s**3 * (2/3 + s**2 * tail)
    te_sum<double> z = te_two_product(s, s);
    z.low = z.low + s * s_low * 2.0;
    double tail = te_horner(
        z.high, 0.3999999999999972, 0.28571428571579865, 0.22222222190793564, 0.18181821567008213, 0.1538440458935736,
        0.1334120300120895, 0.11591480569455236, 0.12576835502331335);
    te_sum<double> factor = te_fast_two_sum(0.6666666666666666, tail * z.high);
    factor.low = factor.low + 3.700743415417188e-17;
    te_sum<double> third = te_product_of_sums(te_product_of_sums(z, {s, s_low}), factor);
    te_sum<double> total = te_fast_two_sum(s * 2.0, third.high);
    total = te_fast_two_sum(total.high, total.low + (s_low * 2.0 + third.low));
    // times 1/log(2), plus k
    te_sum<double> scaled = te_product_of_sums(total, {1.4426950408889634, 2.0355273740931033e-17});
    total = te_two_sum(parts.k, scaled.high);
    return te_fast_two_sum(total.high, total.low + scaled.low);
}

__device__ inline double te_positive_pow(double size, double y) {
    te_sum<double> logarithm = te_log2_in_two(size);
    // Huge y would overflow in the exact product; their result is 0, 1 or infinite all the same.
    double bounded = te_at_least(te_at_most(y, 1.2676506002282294e30), -1.2676506002282294e30);  // 2**100
    te_sum<double> product = te_two_product(logarithm.high, bounded);
    double error = product.low + logarithm.low * bounded;
    double exponent = te_at_least(te_at_most(product.high, 1100.0), -1100.0);
    error = fabs(product.high) < 1100.0 ? error : 0.0;
    te_power<double> power = te_rounded_power(exponent);
    return te_times(power, te_exp2_fraction((exponent - power.n) + error));
}

// Where x is not finite and above 0, or y is infinite; `magnitude` is the power of |x|, if that is no limit.
template <class T>
__device__ inline T te_pow_special(T x, T y, T magnitude) {
    const T infinity = te_infinity_like(x);
    T size = te_absolute(x);
    if (y == T(0) || (te_absolute(y) == infinity ? size : x) == T(1)) {  // (-1) ** inf is 1 too
        return T(1);
    }
    if (x != x || y != y) {
        return x + y;
    }
    // Floats beyond 2**mantissa are even integers; so count infinities. Odd: an integer, and y/2 is none.
    bool is_integer = te_whole(y) == y;
    bool is_odd = is_integer && te_whole(y * T(0.5)) != y * T(0.5);
    if (x < T(0) && size < infinity && !is_integer) {
        return te_nan_like(x);
    }
    if (size == T(0) || size == infinity) {
        magnitude = (size == T(0)) != (y < T(0)) ? T(0) : infinity;
    }
    bool is_negative = te_with_sign(T(1), x) < T(0);  // -0 too
    return is_negative && is_odd ? -magnitude : magnitude;
}

//@ T: f32 f64
__device__ inline @C te_whole(@C x) {
    return trunc@F(x);
}

template <class T>
__device__ inline T te_pow_of(T x, T y) {
    T magnitude = te_positive_pow(te_absolute(x), y);
    bool is_usual = x > T(0) && x < te_infinity_like(x) && te_absolute(y) < te_infinity_like(x);
    return is_usual ? magnitude : te_pow_special(x, y, magnitude);
}

//@ T: f32 f64
__device__ inline @C te_pow_@T(@C x, @C y) {
    return te_pow_of(x, y);
}
