// erf and erfc. erf: x + x * Q(x**2) near 0; beyond, for f32, 1 - exp(-a * S(a)) with a = |x| (after N. Juffa), for f64
// 1 - erfc(a). erfc: for f32 exp(-a**2) * H(1 / (a + K)) / (a + K), for f64 exp(-a**2) * G(q) / (1 + 2a) with
// q = (a - K) / (a + K) (Shepherd and Laframboise 1981).

// erf(x)/x - 1 in x**2: |x| <= 0.93.
__device__ inline float te_erf_near_zero(float x) {
    float z = x * x;
    float tail = te_horner(
        z, 0.128379151f, -0.376124948f, 0.112818033f, -0.0267655719f, 0.00499098282f, -0.000597689359f);
    return fmaf(tail, x, x);
}

// |x| <= 1.
__device__ inline double te_erf_near_zero(double x) {
    double tail = te_horner(
        x * x, 0.1283791670955126, -0.3761263890318375, 0.11283791670954885, -0.02686617064507788,
        0.005223977624828479, -0.0008548326981427922, 0.00012055331133030847, -1.4925595773777767e-05,
        1.6461008501119645e-06, -1.635039645378467e-07, 1.4660330205986235e-08, -1.1374961305471911e-09,
        5.960694603435793e-11);
    return fma(tail, x, x);
}

__device__ inline float te_erf_f32(float x) {
    float a = fabsf(x);
    float bounded = te_at_most(a, 4.0f);
    float logarithm = te_horner(
        bounded, 1.12855172f, 0.635625243f, 0.105262734f, -0.0226741806f, 0.00293018669f, -4.95986133e-05f,
        -4.55785812e-05f, 4.93797643e-06f);
    float beyond = 1.0f - te_exp_in_range(logarithm * -bounded);
    return a < 0.92f ? te_erf_near_zero(x) : copysignf(beyond, x);
}

// erfc(a) for 0 <= a <= 28. a**2 is taken in two parts: the square of a's upper bits, exactly, and the rest, which
// joins the reduced argument of exp.
__device__ inline double te_erfc_beyond(double a) {
    double upper = te_float(te_bits(a) & 0xfffffffff8000000ull);
    te_exponent<double> reduced = te_exp_reduced(-(upper * upper));
    double r = reduced.r - (a - upper) * (a + upper);
    double g = te_horner(
        (a - 4.0) / (a + 4.0), 1.2329951186255526, -0.13962111684056253, 0.015379652102620078, 0.068097054254693,
        -0.10103906603632755, 0.09373283499833494, -0.06633036581159106, 0.03716751553784023, -0.01619773406647519,
        0.005031969972733018, -0.0007577732187398565, -0.0001992566468618263, 0.00015062132910939244,
        -2.4399486267263826e-05, -1.1220948000509188e-05, 5.710710108587823e-06, 2.917189077369865e-07,
        -8.276426793839535e-07, 7.696933448122609e-08, 1.1314060996021138e-07, -1.9089706559039012e-08,
        -1.6515578720420032e-08, 1.7034922353249192e-09, 2.076862088770344e-09, 2.8105606274299945e-10);
    double part = g / (a + a + 1.0);
    return te_times(reduced.power, fma(te_exp_less_one(r), part, part));
}

__device__ inline double te_erf_f64(double x) {
    double a = fabs(x);
    double beyond = 1.0 - te_erfc_beyond(te_at_most(a, 7.0));
    return a < 1.0 ? te_erf_near_zero(x) : copysign(beyond, x);
}

// erfc(a) for 0 <= a <= 10.1. The rounded 1 / (a + K) is that of a number near to a, whose erfc is computed: `ahead` is
// how far it lies beyond a. So -2a * ahead goes into the exponent and 2/sqrt(pi) * exp(-a**2) * ahead is added. The
// errors of the last steps of the polynomial and of its product are added, too.
__device__ inline float te_erfc_beyond(float a) {
    float total = a + 2.171875f;
    float inverse = 1.0f / total;
    float lost = (total - 2.171875f) - a;  // exactly: total - (a + K)
    float ahead = total * fmaf(inverse, lost, te_product_error(inverse, total, 1.0f));
    float s = inverse - 0.230215833f;
    const float first = 1.03468526f;
    float rest = te_horner(
        s, 3.18460799f, 6.48603973f, 6.56734477f, -3.87351751f, -16.7194262f, 4.09904666f, 46.4201855f, -25.4641412f,
        -121.736657f, 167.209543f);
    float g = fmaf(rest, s, first);
    float g_low = fmaf(rest, s, first - g);
    float part = g * inverse;
    float part_low = fmaf(g_low, inverse, fmaf(ahead, 1.12837917f, -te_product_error(g, inverse, part)));
    float square = a * a;
    te_exponent<float> reduced = te_exp_reduced(-square);
    float low = te_exp_less_one(reduced.r + fmaf(a * ahead, -2.0f, te_product_error(a, a, square)));
    return te_times(reduced.power, fmaf(part, low, fmaf(part_low, low, part_low)) + part);
}

__device__ inline float te_erfc_f32(float x) {
    float part = te_erfc_beyond(te_at_most(fabsf(x), 10.1f));
    return x < 0.0f ? 2.0f - part : part;
}

// Near 0 the terms of G are larger than their sum.
__device__ inline double te_erfc_f64(double x) {
    double a = fabs(x);
    double part = te_erfc_beyond(te_at_most(a, 28.0));
    part = x < 0.0 ? 2.0 - part : part;
    return a < 0.5 ? 1.0 - te_erf_near_zero(x) : part;
}
