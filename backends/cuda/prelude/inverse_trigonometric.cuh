// asin, acos, atan, atan2: asin(x) by a polynomial to 1/2, and pi/2 - 2*asin(sqrt((1 - x)/2)) beyond (fdlibm, e_asin.c,
// e_acos.c); atan by a polynomial to 1, and pi/2 - atan(1/x) beyond.

// pi and pi/2 as sums of two numbers.
__device__ inline te_sum<float> te_pi_like(float) {
    return {3.1415927410125732f, -8.742278e-08f};
}

__device__ inline te_sum<double> te_pi_like(double) {
    return {3.141592653589793, 1.2246467991473532e-16};
}

__device__ inline te_sum<float> te_half_pi_like(float) {
    return {1.5707963705062866f, -4.371139e-08f};
}

__device__ inline te_sum<double> te_half_pi_like(double) {
    return {1.5707963267948966, 6.123233995736766e-17};
}

// asin(t) - t with z = t**2 <= 1/4.
__device__ inline float te_asin_rest(float t, float z) {
    return te_horner(z, 0.166667551f, 0.074951984f, 0.045483131f, 0.0241152197f, 0.0422776565f) * z * t;
}

__device__ inline double te_asin_rest(double t, double z) {
    double tail = te_horner(
        z, 0.16666666666666766, 0.07499999999969417, 0.04464285717597087, 0.03038194264088974, 0.02237221691505095,
        0.017351576697523075, 0.013981251562286348, 0.011395327173151547, 0.010800657743082882, 0.0036282057910993343,
        0.021900385363145442, -0.021275780560744202, 0.03280393283579764);
    return tail * z * t;
}

template <class T>
struct te_root {  // the argument of the polynomial, |x| or sqrt((1 - |x|)/2), and asin(t) - t
    bool is_large;
    T t;
    T rest;
};

template <class T>
__device__ inline te_root<T> te_asin_root(T x) {
    T a = te_absolute(x);
    bool is_large = a > T(0.5);
    T square = is_large ? (T(1) - a) * T(0.5) : a * a;
    T t = is_large ? te_square_root(square) : a;
    return {is_large, t, te_asin_rest(t, square)};
}

template <class T>
__device__ inline T te_asin_of(T x) {
    te_root<T> root = te_asin_root(x);
    te_sum<T> half = te_half_pi_like(x);
    te_sum<T> beyond = te_fast_two_sum(half.high, root.t * T(-2));
    T large = beyond.high + (beyond.low + (half.low - root.rest * T(2)));
    return te_with_sign(root.is_large ? large : root.t + root.rest, x);
}

//@ T: f32 f64
__device__ inline @C te_asin_@T(@C x) {
    return te_asin_of(x);
}

template <class T>
__device__ inline T te_acos_of(T x) {
    te_root<T> root = te_asin_root(x);
    te_sum<T> half = te_half_pi_like(x);
    te_sum<T> pi = te_pi_like(x);
    bool is_negative = x < T(0);
    if (root.is_large) {
        T near_one = (root.t + root.rest) * T(2);
        return is_negative ? pi.high - (near_one - pi.low) : near_one;
    }
    return half.high - (is_negative ? -root.t - (root.rest + half.low) : root.t + (root.rest - half.low));
}

//@ T: f32 f64
__device__ inline @C te_acos_@T(@C x) {
    return te_acos_of(x);
}

// (atan(t) - t) / t**3 in z = t**2, 0 <= t <= 1.
__device__ inline float te_atan_tail(float z) {
    return te_horner(
        z, -0.333332986f, 0.199985489f, -0.142642438f, 0.109521948f, -0.0840347558f, 0.057958018f, -0.0311782565f,
        0.0109148184f, -0.00179366744f);
}

__device__ inline double te_atan_tail(double z) {
    return te_horner(
        z, -0.33333333333333287, 0.19999999999990445, -0.14285714285036552, 0.11111111086445465, -0.0909090854722382,
        0.07692299711396272, -0.0666658371937754, 0.05881716130829175, -0.052594336689909975, 0.04744925641415177,
        -0.0428638944840396, 0.03821002827576251, -0.03278536077428073, 0.02615156599288705, -0.018614083699847926,
        0.011317549626087327, -0.005612320790611335, 0.002151555967068571, -0.0005928825898471226,
        0.00010386971130017953, -8.653998174012314e-06);
}

template <class T>
__device__ inline T te_arctangent(T t) {
    T z = t * t;
    return te_fused(te_atan_tail(z) * z, t, t);
}

template <class T>
__device__ inline T te_atan_of(T x) {
    T a = te_absolute(x);
    te_sum<T> half = te_half_pi_like(x);
    bool is_large = a > T(1);
    T part = te_arctangent(is_large ? T(1) / a : a);
    return te_with_sign(is_large ? half.high - (part - half.low) : part, x);
}

//@ T: f32 f64
__device__ inline @C te_atan_@T(@C x) {
    return te_atan_of(x);
}

// The angle of (x, y), from atan(smaller / larger), reflected twice.
template <class T>
__device__ inline T te_atan2_of(T y, T x) {
    if (x != x || y != y) {
        return x + y;
    }
    T a = te_absolute(y);
    T b = te_absolute(x);
    bool is_steep = a > b;
    T small = is_steep ? b : a;
    T large = is_steep ? a : b;
    // 0/0 counts as 0, inf/inf as 1.
    T ratio = small != large ? small / large : large == T(0) ? small : T(1);
    T part = te_arctangent(ratio);
    te_sum<T> half = te_half_pi_like(x);
    te_sum<T> pi = te_pi_like(x);
    part = is_steep ? half.high - (part - half.low) : part;
    bool is_left = te_with_sign(T(1), x) < T(0);  // -0 too
    return te_with_sign(is_left ? pi.high - (part - pi.low) : part, y);
}

//@ T: f32 f64
__device__ inline @C te_atan2_@T(@C y, @C x) {
    return te_atan2_of(y, x);
}
