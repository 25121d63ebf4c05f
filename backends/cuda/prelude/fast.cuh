// Functions of f32 under `math="fast"`: shorter code with larger errors (te/backends/llvm/math/fast.py). NaN stays NaN,
// infinity gives the limit (of sin and cos NaN), and no argument a result outside the function's range.

// 1 / (1 + exp(-x)). Where exp(-x) is not finite, x is taken for -88.
__device__ inline float te_fast_sigmoid_f32(float x) {
    float bounded = te_at_least(te_at_most(-x, 88.0f), -87.0f);
    float shifted = fmaf(bounded, 1.4426950408889634f, te_format<float>::shifter);
    float n = shifted - te_format<float>::shifter;
    float factor = te_horner(
        fmaf(n, -0.6931471805599453f, bounded), 1.0f, 0.999999701f, 0.499991426f, 0.166676475f, 0.0418988869f,
        0.00829002291f);
    return 1.0f / fmaf(factor, te_value(te_power<float>{n, shifted}), 1.0f);
}

__device__ inline float te_fast_tanh_f32(float x) {
    x = te_at_least(te_at_most(x, 8.0f), -8.0f);
    float z = x * x;
    float above = te_horner(
        z, 0.999999981f, 0.129792719f, 0.00298591397f, 9.87913185e-06f, -1.47056059e-08f, 2.35120024e-11f);
    return x * above / te_horner(z, 1.0f, 0.46312588f, 0.0240281378f, 0.000237210411f);
}

__device__ inline float te_fast_erf_f32(float x) {
    x = te_at_least(te_at_most(x, 3.93f), -3.93f);
    float z = x * x;
    float above = te_horner(
        z, 1.12837915f, 0.190759251f, 0.0527866533f, 0.00377844537f, 0.000284764209f, 2.04192305e-06f);
    float below = te_horner(
        z, 1.0f, 0.502388711f, 0.114247015f, 0.0149951276f, 0.00116489618f, 3.80012561e-05f);
    return te_at_least(te_at_most(x * above / below, 1.0f), -1.0f);
}

// exp(-a**2) * G(q) / (1 + 2a) with a = |x|, in f32, with a**2 as a sum of two.
__device__ inline float te_fast_erfc_f32(float x) {
    float a = te_at_most(fabsf(x), 10.1f);
    float square = a * a;
    te_exponent<float> reduced = te_exp_reduced(-square);
    float r = reduced.r + te_product_error(a, a, square);
    float scaled = fmaf(a, 2.0f, 1.0f);
    float shifted = a + 2.0f;
    float inverse = 1.0f / (scaled * shifted);
    float g = te_horner(
        (a - 2.0f) * scaled * inverse, 1.27697839f, -0.0927639809f, -0.166031425f, 0.164055347f, -0.0542042951f,
        -0.00805987536f, 0.008631671f, 0.00131351933f, -0.00122991749f, -0.000400570555f);
    g = g * (shifted * inverse);
    float part = te_times(reduced.power, fmaf(g, te_exp_less_one(r), g));
    return x < 0.0f ? 2.0f - part : part;
}

// sin(x + turned * pi) as (-1)**n * sin(r), x = (n - turned)*pi + r; the result is bounded whatever x.
__device__ inline float te_fast_circular(float x, float turned) {
    const float shifter = te_format<float>::shifter;
    float shifted = fmaf(x, 0.3183098861837907f, turned == 0.0f ? shifter : turned);
    shifted = turned == 0.0f ? shifted : shifted + shifter;
    float turns = (shifted - shifter) - turned;
    float r = fmaf(turns, 8.742277657347586e-08f, fmaf(turns, -3.1415927410125732f, x));
    r = te_at_least(te_at_most(r, 1.5708f), -1.5708f);
    float z = r * r;
    float tail = te_horner(z, -0.166666594f, 0.008333063f, -0.000198093484f, 2.60518484e-06f);
    float sine = fmaf(tail * z, r, r);
    return te_float(te_bits(sine) ^ (te_bits(shifted) << 31));
}

__device__ inline float te_fast_sin_f32(float x) {
    return te_fast_circular(x, 0.0f);
}

__device__ inline float te_fast_cos_f32(float x) {
    return te_fast_circular(x, 0.5f);
}

// 2**(y * log2(x)), all in f32: the error grows with the exponent of the result.
__device__ inline float te_fast_pow_f32(float x, float y) {
    te_parts<float> parts = te_split(fabsf(x));
    float logarithm = fmaf(te_log2_rest(parts.f), parts.f, parts.k + parts.f);
    float exponent = te_at_least(te_at_most(y * logarithm, 200.0f), -200.0f);
    te_power<float> power = te_rounded_power(exponent);
    float magnitude = te_times(power, te_exp2_fraction(exponent - power.n));
    bool is_usual = x > 0.0f && x < te_infinity_f32() && fabsf(y) < te_infinity_f32();
    return is_usual ? magnitude : te_pow_special(x, y, magnitude);
}
