// exp, exp2, expm1, sigmoid: x = n*log(2) + r with |r| <= log(2)/2, log(2) in two parts (Cody and Waite), a minimax
// polynomial for exp(r), and 2**n put into the exponent field.

template <class T>
struct te_power {  // 2**n, with n as a float and, shifted by te_format::shifter, as `shifted`
    T n;
    T shifted;
};

// 2**(n + plus), which must be a normal number.
template <class T>
__device__ inline T te_value(te_power<T> power, int plus = 0) {
    auto bits = te_bits(power.shifted);
    decltype(bits) bias = te_format<T>::bias + plus;
    return te_float((bits << te_format<T>::mantissa) + (bias << te_format<T>::mantissa));
}

// x * 2**n, rounded once, whatever n: in two factors, the second of which may round.
template <class T>
__device__ inline T te_times(te_power<T> power, T x) {
    T half = te_fused(power.n, T(0.5), te_format<T>::shifter);
    te_power<T> first = {power.n, half};
    te_power<T> second = {power.n, power.shifted - (half - te_format<T>::shifter)};
    return x * te_value(first) * te_value(second);
}

// 2**n for a whole n.
template <class T>
__device__ inline te_power<T> te_whole_power(T n) {
    return {n, n + te_format<T>::shifter};
}

// 2**n, a normal number, for a whole n.
template <class T>
__device__ inline T te_power_of_two(T n) {
    return te_value(te_whole_power(n));
}

template <class T>
__device__ inline te_power<T> te_rounded_power(T x) {
    T shifted = x + te_format<T>::shifter;
    return {shifted - te_format<T>::shifter, shifted};
}

template <class T>
struct te_exponent {  // x = n*log(2) + r
    te_power<T> power;
    T r;
};

template <class T>
__device__ inline te_exponent<T> te_exp_reduced(T x) {
    T shifted = te_fused(x, T(1.4426950408889634), te_format<T>::shifter);
    T n = shifted - te_format<T>::shifter;
    T r = te_fused(n, -te_format<T>::log2_high, x);  // exact
    return {{n, shifted}, te_fused(n, -te_format<T>::log2_low, r)};
}

// (exp(r) - 1 - r) / r**2, |r| <= 0.347.
__device__ inline float te_exp_tail(float r) {
    return te_horner(r, 0.49999994f, 0.166665196f, 0.0416683927f, 0.00836878084f, 0.00138144731f);
}

__device__ inline double te_exp_tail(double r) {
    return te_horner(
        r, 0.5, 0.16666666666666677, 0.041666666666666505, 0.008333333333321606, 0.0013888888888962938,
        0.00019841269886208433, 2.4801587169769812e-05, 2.7557244103614272e-06, 2.755740300090209e-07,
        2.5109081621636523e-08, 2.0875310657140833e-09);
}

// exp(r) - 1 for |r| <= log(2)/2.
template <class T>
__device__ inline T te_exp_less_one(T r) {
    return te_fused(te_exp_tail(r), r * r, r);
}

template <class T>
__device__ inline T te_exp_of(T x) {
    T bounded = te_at_least(te_at_most(x, te_format<T>::exp_highest), te_format<T>::exp_lowest);
    te_exponent<T> reduced = te_exp_reduced(bounded);
    return te_times(reduced.power, te_exp_less_one(reduced.r) + T(1));
}

//@ T: f32 f64
__device__ inline @C te_exp_@T(@C x) {
    return te_exp_of(x);
}

// exp for arguments whose result is a normal number: without the bounds, in one factor.
template <class T>
__device__ inline T te_exp_in_range(T x) {
    te_exponent<T> reduced = te_exp_reduced(x);
    return (te_exp_less_one(reduced.r) + T(1)) * te_value(reduced.power);
}

// 2**r, |r| <= 0.501.
__device__ inline float te_exp2_fraction(float r) {
    float rest = te_horner(
        r, 0.693147182f, 0.240226507f, 0.0555032715f, 0.00961800292f, 0.00134005432f, 0.000154765788f);
    return fmaf(rest, r, 1.0f);
}

__device__ inline double te_exp2_fraction(double r) {
    double rest = te_horner(
        r, 0.6931471805599453, 0.24022650695910072, 0.0555041086648217, 0.009618129107628496, 0.0013333558146389846,
        0.00015403530393339973, 1.5252733856856038e-05, 1.3215486833887537e-06, 1.0178050933038369e-07,
        7.054887964217802e-09, 4.456717833880332e-10, 2.5742184065126838e-11);
    return fma(rest, r, 1.0);
}

template <class T>
__device__ inline T te_exp2_of(T x) {
    x = te_at_most(x, T(te_format<T>::bias + 2));
    x = te_at_least(x, T(-te_format<T>::bias - te_format<T>::mantissa - 2));
    te_power<T> power = te_rounded_power(x);
    return te_times(power, te_exp2_fraction(x - power.n));
}

//@ T: f32 f64
__device__ inline @C te_exp2_@T(@C x) {
    return te_exp2_of(x);
}

// (exp(x) - 1) / 4, which is finite a little beyond the largest exp(x). x > -100.
template <class T>
__device__ inline T te_quarter_of_expm1(T x) {
    te_exponent<T> reduced = te_exp_reduced(x);
    T scale = te_value(reduced.power, -2);
    return te_fused(scale, te_exp_less_one(reduced.r), scale - T(0.25));
}

template <class T>
__device__ inline T te_expm1_of(T x) {
    T bounded = te_at_least(te_at_most(x, T(double(te_format<T>::exp_highest) + 0.4)), T(-50));
    T result = te_quarter_of_expm1(bounded) * T(4);
    return te_absolute(x) < T(8.673617379884035e-19) ? x : result;  // 2**-60: keeps -0 and subnormals
}

//@ T: f32 f64
__device__ inline @C te_expm1_@T(@C x) {
    return te_expm1_of(x);
}

// 1 / (1 + exp(-x)), with exp(-x) = 2**n * (1 + p) as 1 / ((1 + 2**n) + 2**n * p). 1 + 2**n is exact, or 2**n is so
// large that 1 is added to the smaller part. Where 1 is nothing beside exp(-x), all of 2**n but a factor is applied
// to the quotient, in the end: it may be subnormal.
template <class T>
__device__ inline T te_sigmoid_of(T x) {
    T bounded = te_at_least(te_at_most(-x, -te_format<T>::exp_lowest), T((1.0 - te_format<T>::bias) * 0.693));
    te_exponent<T> reduced = te_exp_reduced(bounded);
    T n = te_at_most(reduced.power.n, T(te_format<T>::mantissa + 8));
    T scale = te_power_of_two(n);
    bool is_large = scale > T(1ll << te_format<T>::mantissa);
    T first = is_large ? scale : T(0);
    T second = is_large ? T(1) : scale + T(1);
    T quotient = T(1) / (first + te_fused(scale, te_exp_less_one(reduced.r), second));
    return quotient * te_power_of_two(n - reduced.power.n);
}

//@ T: f32 f64
__device__ inline @C te_sigmoid_@T(@C x) {
    return te_sigmoid_of(x);
}
