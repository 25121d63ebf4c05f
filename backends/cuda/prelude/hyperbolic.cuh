// sinh, cosh, tanh and their inverses, from exp, expm1 and log1p (in outline as fdlibm's e_sinh.c, s_asinh.c, ...).

// t / (t + 2) with t = exp(2|x|) - 1. exp is reduced to r >= 0, so that t = 2**n * (exp(r) - 1) + (2**n - 1) is a sum
// of what has one sign.
__device__ inline float te_tanh_f32(float x) {
    float bounded = te_at_most(fabsf(x), 10.0f);
    float doubled = bounded + bounded;
    float n = floorf(doubled * 1.4426950408889634f);
    float r = fmaf(n, -te_format<float>::log2_low, fmaf(n, -te_format<float>::log2_high, doubled));
    float scale = te_power_of_two(n);
    float tail = te_horner(
        r, 0.499999973f, 0.166667444f, 0.0416593147f, 0.00836498598f, 0.00132097626f, 0.000267998865f);
    float t = fmaf(scale, fmaf(tail, r * r, r), scale - 1.0f);
    float quotient = t / (t + 2.0f);
    // t/2 - t/2 * quotient is the same, and the rounding errors of the quotient count less for small t.
    float half = t * 0.5f;
    return copysignf(t < 1.0f ? fmaf(-half, quotient, half) : quotient, x);
}

// Beyond 1 as 1 - 2 / (t + 2).
__device__ inline double te_tanh_f64(double x) {
    double a = fabs(x);
    double bounded = te_at_most(a, 22.0);
    double t = te_quarter_of_expm1(bounded + bounded) * 4.0;
    bool is_small = a < 1.0;
    double part = (is_small ? t : 2.0) / (t + 2.0);
    double result = is_small ? part : 1.0 - part;
    return copysign(a < 3.725290298461914e-09 ? a : result, x);  // 2**-28
}

// A polynomial to 1, then (exp(|x|) - exp(-|x|)) / 2.
__device__ inline float te_sinh_f32(float x) {
    float a = fabsf(x);
    float z = x * x;
    float near_zero = fmaf(te_horner(z, 0.166666665f, 0.00833335016f, 0.000198361395f, 2.81707499e-06f) * z, x, x);
    te_exponent<float> reduced = te_exp_reduced(te_at_most(a, 89.5f));
    float scale = te_value(reduced.power, -2);
    float p = te_exp_less_one(reduced.r);
    // exp(|x|) / 4 = scale + scale * p, whose first part is exact
    float rest = fmaf(scale, p, -0.0625f / fmaf(scale, p, scale));
    return a < 1.0f ? near_zero : copysignf((scale + rest) * 2.0f, x);
}

// (t + t / (t + 1)) / 2 with t = exp(|x|) - 1. t + 1 may be infinite already while the result is not; its second term
// is nothing then.
__device__ inline double te_sinh_f64(double x) {
    double a = fabs(x);
    double quarter = te_quarter_of_expm1(te_at_most(a, 710.7));
    double t = quarter * 4.0;
    double result = (quarter + quarter / (t + 1.0)) * 2.0;
    return copysign(a < 3.725290298461914e-09 ? a : result, x);  // 2**-28
}

// 2 * (w + 1/16 / w) with w = exp(|x|) / 4, which overflows no sooner than the result.
template <class T>
__device__ inline T te_cosh_of(T x) {
    T bounded = te_at_most(te_absolute(x), T(double(te_format<T>::exp_highest) + 0.7));
    te_exponent<T> reduced = te_exp_reduced(bounded);
    T w = (te_exp_less_one(reduced.r) + T(1)) * te_value(reduced.power, -2);
    return (w + T(0.0625) / w) * T(2);
}

//@ T: f32 f64
__device__ inline @C te_cosh_@T(@C x) {
    return te_cosh_of(x);
}

// The inverses are log1p of a sum, whose rounding error is taken along; where x is large, log(x) + log(2), and x - 1
// has the logarithm of x.
template <class T>
__device__ inline T te_log1p_of_two(T x, T larger, T smaller, bool is_large) {
    te_sum<T> total = te_fast_two_sum(larger, smaller);
    return is_large ? te_log1p_of_sum(x - T(1), T(0), T(1)) : te_log1p_of_sum(total.high, total.low, T(0));
}

// log1p(|x| + x**2 / (1 + sqrt(1 + x**2))).
template <class T>
__device__ inline T te_asinh_of(T x) {
    T a = te_absolute(x);
    T rest = a * a / (te_square_root(te_fused(a, a, T(1))) + T(1));
    return te_with_sign(te_log1p_of_two(a, a, rest, a > T(1073741824)), x);
}

//@ T: f32 f64
__device__ inline @C te_asinh_@T(@C x) {
    return te_asinh_of(x);
}

// log1p(t + sqrt(2t + t**2)) with t = x - 1; NaN below 1.
template <class T>
__device__ inline T te_acosh_of(T x) {
    T t = x - T(1);
    T root = te_square_root(te_fused(t, t, t + t));
    return x < T(1) ? te_nan_like(x) : te_log1p_of_two(x, root, t, x > T(1073741824));
}

//@ T: f32 f64
__device__ inline @C te_acosh_@T(@C x) {
    return te_acosh_of(x);
}

// log1p(2|x| / (1 - |x|)) / 2, with the errors of the difference and of the quotient.
template <class T>
__device__ inline T te_atanh_of(T x) {
    T a = te_absolute(x);
    T below = T(1) - a;
    T below_low = (T(1) - below) - a;
    T inverse = T(1) / below;
    T doubled = a + a;
    T quotient = doubled * inverse;
    T low = (te_product_error(quotient, below, doubled) - quotient * below_low) * inverse;
    return te_with_sign(te_log1p_of_sum(quotient, a < T(1) ? low : T(0)) * T(0.5), x);
}

//@ T: f32 f64
__device__ inline @C te_atanh_@T(@C x) {
    return te_atanh_of(x);
}
