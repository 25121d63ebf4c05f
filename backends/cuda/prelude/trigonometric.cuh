// sin, cos, tan: x = n*pi/2 + r with |r| <= pi/4 (a little more), then polynomials for sin(r) and cos(r), of which
// n mod 4 chooses. f32 below 2**14 is reduced in f32, else in f64; from 2**20 on in integers (Payne and Hanek).

template <class T, class N>
struct te_angle {  // x = quadrant * pi/2 + r + low; of the quadrant the last two bits count
    N quadrant;
    T r;
    T low;
};

// The bits of 2/pi, after 64 zeros.
__device__ const te_u64 te_two_over_pi[20] = {
    0x0000000000000000ull, 0xa2f9836e4e441529ull, 0xfc2757d1f534ddc0ull, 0xdb6295993c439041ull, 0xfe5163abdebbc561ull,
    0xb7246e3a424dd2e0ull, 0x06492eea09d1921cull, 0xfe1deb1cb129a73eull, 0xe88235f52ebb4484ull, 0xe99c7026b45f7e41ull,
    0x3991d639835339f4ull, 0x9c845f8bbdf9283bull, 0x1ff897ffde05980full, 0xef2f118b5a0a6d1full, 0x6d367ecf27cb09b7ull,
    0x4f463f669e5fea2dull, 0x7527bac7ebe5f17bull, 0x3d0739f78a5292eaull, 0x6bfb5fb11f8d5d08ull, 0x56033046fc7b6babull};

// 64 bits of 2/pi from bit `start` on.
__device__ inline te_u64 te_bits_of_two_over_pi(int start) {
    int word = start >> 6;
    int shift = start & 63;
    te_u64 following = shift ? te_two_over_pi[word + 1] >> (64 - shift) : 0;
    return te_two_over_pi[word] << shift | following;
}

// Of a finite number from 2**20 on: x * 2/pi modulo 4, from the 192 bits of 2/pi that matter.
__device__ inline te_angle<double, te_u64> te_reduce_large(double x) {
    // x = mantissa * 2**(exponent - 1075); the first bit of 2/pi that matters has weight 2 in the product.
    te_u64 bits = te_bits(fabs(x));
    te_u64 mantissa = (bits & 0xfffffffffffffull) | 0x10000000000000ull;
    int start = (int)(bits >> 52) - (1075 + 2 - 64);  // counts from the zeros
    te_u64 first = te_bits_of_two_over_pi(start);
    te_u64 second = te_bits_of_two_over_pi(start + 64);
    te_u64 third = te_bits_of_two_over_pi(start + 128);
    te_u64 lower = second * mantissa + __umul64hi(third, mantissa);
    te_u64 carry = lower < second * mantissa;
    te_u64 upper = first * mantissa + __umul64hi(second, mantissa) + carry;
    // Two bits of quadrant, 126 of fraction, which goes to -1/2 .. 1/2.
    te_u64 quadrant = (upper + (1ull << 61)) >> 62;
    te_i64 fraction = (te_i64)(upper - (quadrant << 62));
    const te_u64 mask = (1ull << 43) - 1;
    double top = (double)(fraction >> 22) * 9.094947017729282e-13;  // 2**-40
    double middle = (double)((lower >> 43 | (te_u64)fraction << 21) & mask) * 1.0339757656912846e-25;  // 2**-83
    double bottom = (double)(lower & mask) * 1.1754943508222875e-38;  // 2**-126
    te_sum<double> turns = te_two_sum(top, middle);
    turns = te_fast_two_sum(turns.high, turns.low + bottom);
    te_sum<double> r = te_two_product(turns.high, 1.5707963267948966);
    r = te_fast_two_sum(r.high, r.low + (turns.high * 6.123233995736766e-17 + turns.low * 1.5707963267948966));
    if (x < 0.0) {
        return {0 - quadrant, -r.high, -r.low};
    }
    return {quadrant, r.high, r.low};
}

// With r good to 2**-30, and low = 0 below 2**20: pi/2 in two parts, of which the first has 33 bits.
__device__ inline te_angle<double, te_u64> te_reduce_short(double x) {
    if (fabs(x) >= 1048576.0 && fabs(x) < te_infinity_f64()) {
        return te_reduce_large(x);
    }
    double shifted = fma(x, 0.6366197723675814, te_format<double>::shifter);
    double n = shifted - te_format<double>::shifter;
    double r = fma(n, -6.077100506506192e-11, fma(n, -1.5707963267341256, x));  // the inner one is exact
    return {te_bits(shifted), r, 0.0};
}

// pi/2 in three parts of 33 bits and a rest.
__device__ inline te_angle<double, te_u64> te_reduce(double x) {
    if (fabs(x) >= 1048576.0 && fabs(x) < te_infinity_f64()) {
        return te_reduce_large(x);
    }
    double shifted = fma(x, 0.6366197723675814, te_format<double>::shifter);
    double n = shifted - te_format<double>::shifter;
    te_sum<double> r = te_two_sum(fma(n, -1.5707963267341256, x), n * -6.077100506303966e-11);
    te_sum<double> rest = te_two_sum(r.low, n * -2.0222662487111665e-21);
    r = te_fast_two_sum(r.high, rest.high);
    return {te_bits(shifted), r.high, r.low + (rest.low + n * -8.4784276603689e-32)};
}

__device__ inline te_angle<float, te_u32> te_reduce_by_f64(float x) {
    te_angle<double, te_u64> wide = te_reduce_short(x);
    float r = (float)wide.r;
    return {(te_u32)wide.quadrant, r, (float)(wide.r - (double)r)};
}

// pi/2 as a sum of three f32: x - n * (the first) is exact below 2**14. With low = 0, r is rounded.
__device__ inline te_angle<float, te_u32> te_reduce(float x) {
    if (fabsf(x) >= 16384.0f) {
        return te_reduce_by_f64(x);
    }
    float shifted = fmaf(x, 0.6366197723675814f, te_format<float>::shifter);
    float n = shifted - te_format<float>::shifter;
    float r = fmaf(n, -1.5707963705062866f, x);
    r = fmaf(n, 1.7151245100058819e-15f, fmaf(n, 4.371138828673793e-08f, r));
    return {te_bits(shifted), r, 0.0f};
}

// The same with r + low as a sum of two.
__device__ inline te_angle<float, te_u32> te_reduce_in_two(float x) {
    if (fabsf(x) >= 16384.0f) {
        return te_reduce_by_f64(x);
    }
    float shifted = fmaf(x, 0.6366197723675814f, te_format<float>::shifter);
    float n = shifted - te_format<float>::shifter;
    te_sum<float> product = te_two_product(n, 4.371138828673793e-08f);
    te_sum<float> r = te_two_sum(fmaf(n, -1.5707963705062866f, x), product.high);
    return {te_bits(shifted), r.high, fmaf(n, 1.7151245100058819e-15f, r.low + product.low)};
}

// sin(r + low), |r| <= 0.786; `low` counts for f64 only. (fdlibm, k_sin.c)
__device__ inline float te_sin_of(float r, float) {
    float z = r * r;
    return fmaf(te_horner(z, -0.166666552f, 0.00833217613f, -0.000195169734f), z * r, r);
}

__device__ inline double te_sin_of(double r, double low) {
    double z = r * r;
    double cube = z * r;
    double rest = te_horner(
        z, 0.008333333333322389, -0.00019841269829783988, 2.755731368221409e-06, -2.5050756393906828e-08,
        1.5896685606151917e-10);
    return r - ((z * (low * 0.5 - cube * rest) - low) - cube * -0.16666666666666632);
}

// cos(r + low): 1 - r**2/2 with its error kept. (fdlibm, k_cos.c)
__device__ inline float te_cos_of(float r, float) {
    float z = r * r;
    return fmaf(te_horner(z, 0.0416666456f, -0.00138873653f, 2.4438119e-05f), z * z, fmaf(z, -0.5f, 1.0f));
}

__device__ inline double te_cos_of(double r, double low) {
    double z = r * r;
    double rest = te_horner(
        z, 0.0416666666666666, -0.001388888888887407, 2.4801587289446334e-05, -2.7557314341225543e-07,
        2.087572167447757e-09, -1.135956094290782e-11);
    double half = z * 0.5;
    double one = 1.0 - half;
    return one + (((1.0 - one) - half) + (z * z * rest - r * low));
}

// sin(x + quarter * pi/2).
template <class T>
__device__ inline T te_circular(T x, int quarter) {
    auto angle = te_reduce(x);
    auto quadrant = angle.quadrant + quarter;
    T result = quadrant & 1 ? te_cos_of(angle.r, angle.low) : te_sin_of(angle.r, angle.low);
    return quadrant & 2 ? -result : result;
}

//@ T: f32 f64
__device__ inline @C te_sin_@T(@C x) {
    return x == 0 ? x : te_circular(x, 0);
}

//@ T: f32 f64
__device__ inline @C te_cos_@T(@C x) {
    return te_circular(x, 1);
}

// tan(r) as a sum of two, or -1 / tan(r) with the errors of the sum and of the quotient.
__device__ inline float te_tan_f32(float x) {
    te_angle<float, te_u32> angle = te_reduce_in_two(x);
    float r = angle.r;
    float z = r * r;
    float low = fmaf(angle.low, z, angle.low);  // the derivative of tan is 1 + tan**2
    float tail = te_horner(
        z, 0.333333508f, 0.133326251f, 0.0540644233f, 0.0212580697f, 0.0109004112f, 5.15316762e-06f, 0.00441905826f);
    te_sum<float> tangent = te_fast_two_sum(r, fmaf(tail * z, r, low));
    float quotient = -1.0f / tangent.high;
    float error = te_product_error(quotient, tangent.high, -1.0f);
    float inverse = fmaf(quotient, fmaf(quotient, tangent.low, -error), quotient);
    return x == 0 ? x : angle.quadrant & 1 ? inverse : tangent.high;
}

// sin(r) / cos(r), or where n is odd -cos(r) / sin(r).
__device__ inline double te_tan_f64(double x) {
    te_angle<double, te_u64> angle = te_reduce(x);
    double sine = te_sin_of(angle.r, angle.low);
    double cosine = te_cos_of(angle.r, angle.low);
    bool is_odd = angle.quadrant & 1;
    return x == 0 ? x : (is_odd ? -cosine : sine) / (is_odd ? sine : cosine);
}
