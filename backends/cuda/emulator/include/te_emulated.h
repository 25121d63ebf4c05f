// CUDA's vocabulary for emitted source that g++ compiles: what a kernel may name, and nothing else.
//
// The text of the kernels is included behind this file (`g++ -include te_emulated.h`). Whatever needs more
// than one thread's own values is a call into the emulator, by value: code in this header is instrumented as
// the kernels are, and what it did in memory would be taken for theirs. No standard header is included: they
// would take longer to compile than the kernels do.
#pragma once
#define TE_EMULATED 1

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))
// In a function `thread_local` means static, and may stand beside `extern`. All threads of the GPU are fibers of
// one thread here, so what they share is the thread-local memory of the kernels' library.
#define __shared__ thread_local

constexpr int warpSize = 32;

// ---------------------------------------------------------------- vectors

#define TE_VECTORS(type, name, align2, align4)                                                  \
    struct name##1 { type x; };                                                                 \
    struct __align__(align2) name##2 { type x, y; };                                            \
    struct name##3 { type x, y, z; };                                                           \
    struct __align__(align4) name##4 { type x, y, z, w; };                                      \
    inline name##1 make_##name##1(type x) { return {x}; }                                       \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                            \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                 \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

TE_VECTORS(signed char, char, 2, 4)
TE_VECTORS(unsigned char, uchar, 2, 4)
TE_VECTORS(short, short, 4, 8)
TE_VECTORS(unsigned short, ushort, 4, 8)
TE_VECTORS(int, int, 8, 16)
TE_VECTORS(unsigned, uint, 8, 16)
TE_VECTORS(long long, longlong, 16, 16)
TE_VECTORS(unsigned long long, ulonglong, 16, 16)
TE_VECTORS(float, float, 8, 16)
TE_VECTORS(double, double, 16, 16)

// ---------------------------------------------------------------- the emulator's side (runtime/device.cpp)

extern "C" {
// Of the running thread: they never change within a kernel, hence `const`.
uint3 te_emulated_thread() __attribute__((const));
uint3 te_emulated_block() __attribute__((const));
uint3 te_emulated_block_dim() __attribute__((const));
uint3 te_emulated_grid_dim() __attribute__((const));

int te_emulated_barrier(int predicate, int line);  // how many threads gave a true predicate
void te_emulated_warp_barrier(unsigned mask, int line);
unsigned long long te_emulated_shuffle(unsigned mask, unsigned long long bits, unsigned source, int line);
unsigned te_emulated_ballot(unsigned mask, int predicate, int line);
// All lanes of a warp come here; the last of them runs `run` on what each has given.
void te_emulated_together(void* mine, void (*run)(void**));
void te_emulated_atomic(const void* address, unsigned bytes);  // an atomic access happens here
unsigned long long te_emulated_load(const void* address, unsigned bytes);
void te_emulated_store(void* address, unsigned long long bits, unsigned bytes);
void te_emulated_copy(void* to, const void* from, unsigned bytes, unsigned given);  // begins (runtime/copies.cpp)
void te_emulated_commit_copies();
void te_emulated_wait_for_copies(unsigned pending);
void te_emulated_trap(int line) __attribute__((noreturn));
}

#define threadIdx (te_emulated_thread())
#define blockIdx (te_emulated_block())
#define blockDim (te_emulated_block_dim())
#define gridDim (te_emulated_grid_dim())

// The line of the call, by which the emulator tells one barrier from another.
#define TE_LINE int line = __builtin_LINE()

inline void __syncthreads(TE_LINE) { te_emulated_barrier(0, line); }
inline int __syncthreads_count(int predicate, TE_LINE) { return te_emulated_barrier(predicate, line); }
inline int __syncthreads_or(int predicate, TE_LINE) { return te_emulated_barrier(predicate, line) != 0; }
inline int __syncthreads_and(int predicate, TE_LINE) { return te_emulated_barrier(!predicate, line) == 0; }
inline void __syncwarp(unsigned mask = 0xffffffffu, TE_LINE) { te_emulated_warp_barrier(mask, line); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __trap(TE_LINE) { te_emulated_trap(line); }

// ---------------------------------------------------------------- asynchronous copies

__forceinline__ void __pipeline_memcpy_async(void* to, const void* from, unsigned bytes, unsigned zeros = 0) {
    te_emulated_copy(to, from, bytes, bytes - zeros);
}
__forceinline__ void __pipeline_commit() { te_emulated_commit_copies(); }
__forceinline__ void __pipeline_wait_prior(unsigned pending) { te_emulated_wait_for_copies(pending); }

// ---------------------------------------------------------------- warps

namespace te_emulator {

template <unsigned bytes> struct Bits;
template <> struct Bits<1> { typedef unsigned char type; };
template <> struct Bits<2> { typedef unsigned short type; };
template <> struct Bits<4> { typedef unsigned type; };
template <> struct Bits<8> { typedef unsigned long long type; };

template <class T> inline unsigned long long to_bits(T value) {
    return __builtin_bit_cast(typename Bits<sizeof(T)>::type, value);
}
template <class T> inline T from_bits(unsigned long long bits) {
    return __builtin_bit_cast(T, (typename Bits<sizeof(T)>::type)bits);
}

template <class T> inline T shuffle(unsigned mask, T value, unsigned source, int line) {
    return from_bits<T>(te_emulated_shuffle(mask, to_bits(value), source, line));
}
inline unsigned lane() {
    const uint3 thread = threadIdx, dim = blockDim;
    return (thread.x + dim.x * (thread.y + dim.y * thread.z)) & 31;
}

}  // namespace te_emulator

// An instruction of a whole warp. It must be inlined: the emulator tells one from another by where it is called.
template <class T> __forceinline__ void emulated_together(T& mine, void (*run)(T**)) {
    te_emulated_together(&mine, (void (*)(void**))run);
}

template <class T> inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, TE_LINE) {
    return te_emulator::shuffle(mask, value, (te_emulator::lane() & ~(width - 1)) | (source & (width - 1)), line);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32, TE_LINE) {
    const unsigned lane = te_emulator::lane(), source = lane ^ flip;
    return te_emulator::shuffle(mask, value, source < (lane & ~(width - 1)) + width ? source : lane, line);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, TE_LINE) {
    const unsigned lane = te_emulator::lane();
    return te_emulator::shuffle(mask, value, (lane & (width - 1)) + by < (unsigned)width ? lane + by : lane, line);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, TE_LINE) {
    const unsigned lane = te_emulator::lane();
    return te_emulator::shuffle(mask, value, (lane & (width - 1)) >= by ? lane - by : lane, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, TE_LINE) {
    return te_emulated_ballot(mask, predicate, line);
}
inline int __any_sync(unsigned mask, int predicate, TE_LINE) {
    return te_emulated_ballot(mask, predicate, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, TE_LINE) {
    return te_emulated_ballot(mask, !predicate, line) == 0;
}

// ---------------------------------------------------------------- atomics

// No other thread runs between the two: fibers are changed at barriers alone.
namespace te_emulator {

template <class T, class F> inline T atomic(T* address, F change) {
    te_emulated_atomic(address, sizeof(T));
    const T old = from_bits<T>(te_emulated_load(address, sizeof(T)));
    te_emulated_store(address, to_bits(change(old)), sizeof(T));
    return old;
}
template <class T> struct Same { typedef T type; };  // for parameters that do not decide what T is

}  // namespace te_emulator

#define TE_ATOMIC(name, result)                                                                 \
    template <class T> inline T name(T* address, typename te_emulator::Same<T>::type value) {             \
        return te_emulator::atomic(address, [value](T old) -> T { return result; });                      \
    }
TE_ATOMIC(atomicAdd, old + value)
TE_ATOMIC(atomicSub, old - value)
TE_ATOMIC(atomicMin, value < old ? value : old)
TE_ATOMIC(atomicMax, old < value ? value : old)
TE_ATOMIC(atomicAnd, old & value)
TE_ATOMIC(atomicOr, old | value)
TE_ATOMIC(atomicXor, old ^ value)
TE_ATOMIC(atomicExch, value)
template <class T>
inline T atomicCAS(T* address, typename te_emulator::Same<T>::type wanted, typename te_emulator::Same<T>::type value) {
    return te_emulator::atomic(address, [wanted, value](T old) -> T { return old == wanted ? value : old; });
}

// ---------------------------------------------------------------- arithmetic

#define TE_C(result, name, parameters) extern "C" result name parameters;
#define TE_FUNCTION1(name) TE_C(double, name, (double)) TE_C(float, name##f, (float))
#define TE_FUNCTION2(name) TE_C(double, name, (double, double)) TE_C(float, name##f, (float, float))
TE_FUNCTION1(sqrt) TE_FUNCTION1(cbrt) TE_FUNCTION1(fabs) TE_FUNCTION1(exp) TE_FUNCTION1(exp2) TE_FUNCTION1(expm1)
TE_FUNCTION1(log) TE_FUNCTION1(log2) TE_FUNCTION1(log10) TE_FUNCTION1(log1p) TE_FUNCTION1(sin) TE_FUNCTION1(cos)
TE_FUNCTION1(tan) TE_FUNCTION1(asin) TE_FUNCTION1(acos) TE_FUNCTION1(atan) TE_FUNCTION1(sinh) TE_FUNCTION1(cosh)
TE_FUNCTION1(tanh) TE_FUNCTION1(asinh) TE_FUNCTION1(acosh) TE_FUNCTION1(atanh) TE_FUNCTION1(erf) TE_FUNCTION1(erfc)
TE_FUNCTION1(lgamma) TE_FUNCTION1(tgamma) TE_FUNCTION1(floor) TE_FUNCTION1(ceil) TE_FUNCTION1(trunc)
TE_FUNCTION1(round) TE_FUNCTION1(rint) TE_FUNCTION1(nearbyint)
TE_FUNCTION2(pow) TE_FUNCTION2(fmod) TE_FUNCTION2(atan2) TE_FUNCTION2(hypot) TE_FUNCTION2(fmin) TE_FUNCTION2(fmax)
TE_FUNCTION2(copysign) TE_FUNCTION2(nextafter) TE_FUNCTION2(remainder) TE_FUNCTION2(fdim)
TE_C(double, fma, (double, double, double)) TE_C(float, fmaf, (float, float, float))
TE_C(double, ldexp, (double, int)) TE_C(float, ldexpf, (float, int))
TE_C(double, scalbn, (double, int)) TE_C(float, scalbnf, (float, int))
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isnan(double x) { return __builtin_isnan(x); }
inline bool isinf(float x) { return __builtin_isinf(x); }
inline bool isinf(double x) { return __builtin_isinf(x); }
inline bool isfinite(float x) { return __builtin_isfinite(x); }
inline bool isfinite(double x) { return __builtin_isfinite(x); }
inline bool signbit(float x) { return __builtin_signbit(x); }
inline bool signbit(double x) { return __builtin_signbit(x); }

#define TE_BINARY(name, type, result) inline type name(type a, type b) { return result; }
#define TE_EXTREMES(type) TE_BINARY(min, type, b < a ? b : a) TE_BINARY(max, type, a < b ? b : a)
TE_EXTREMES(int) TE_EXTREMES(unsigned) TE_EXTREMES(long) TE_EXTREMES(unsigned long)
TE_EXTREMES(long long) TE_EXTREMES(unsigned long long)
TE_BINARY(min, float, fminf(a, b)) TE_BINARY(max, float, fmaxf(a, b))
TE_BINARY(min, double, fmin(a, b)) TE_BINARY(max, double, fmax(a, b))
inline int abs(int x) { return x < 0 ? -x : x; }
inline long long llabs(long long x) { return x < 0 ? -x : x; }

// To the nearest, as g++ compiles the operators; the names keep nvcc from contracting them.
TE_BINARY(__fadd_rn, float, a + b) TE_BINARY(__fsub_rn, float, a - b)
TE_BINARY(__fmul_rn, float, a * b) TE_BINARY(__fdiv_rn, float, a / b)
TE_BINARY(__dadd_rn, double, a + b) TE_BINARY(__dsub_rn, double, a - b)
TE_BINARY(__dmul_rn, double, a * b) TE_BINARY(__ddiv_rn, double, a / b)
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline double __dsqrt_rn(double x) { return sqrt(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline double __drcp_rn(double x) { return 1.0 / x; }
inline float __frsqrt_rn(float x) { return (float)(1.0 / sqrt((double)x)); }
// The approximations, less accurate on a GPU than here.
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

#define TE_CAST(name, from, to) inline to name(from x) { return __builtin_bit_cast(to, x); }
TE_CAST(__float_as_int, float, int) TE_CAST(__int_as_float, int, float)
TE_CAST(__float_as_uint, float, unsigned) TE_CAST(__uint_as_float, unsigned, float)
TE_CAST(__double_as_longlong, double, long long) TE_CAST(__longlong_as_double, long long, double)
inline int __double2hiint(double x) { return (int)(__double_as_longlong(x) >> 32); }
inline int __double2loint(double x) { return (int)__double_as_longlong(x); }
inline double __hiloint2double(int high, int low) {
    return __longlong_as_double((long long)((unsigned long long)(unsigned)high << 32 | (unsigned)low));
}

namespace te_emulator {

// A GPU's conversions saturate and give 0 for NaN (those to 64 bits: the least number); C++'s are undefined there.
template <class I, class F> inline I to_integer(F x, I least, I most, I of_nan) {
    if (x != x) return of_nan;
    if (x >= (F)most) return most;
    return x <= (F)least ? least : (I)x;
}

}  // namespace te_emulator

#define TE_CONVERT(name, from, to, least, most, of_nan, rounded)                                \
    inline to name(from x) { return te_emulator::to_integer<to, from>(rounded, least, most, of_nan); }
#define TE_CONVERSIONS(from, word, f)                                                           \
    TE_CONVERT(__##word##2int_rz, from, int, -2147483647 - 1, 2147483647, 0, trunc##f(x))       \
    TE_CONVERT(__##word##2int_rn, from, int, -2147483647 - 1, 2147483647, 0, rint##f(x))        \
    TE_CONVERT(__##word##2int_rd, from, int, -2147483647 - 1, 2147483647, 0, floor##f(x))       \
    TE_CONVERT(__##word##2int_ru, from, int, -2147483647 - 1, 2147483647, 0, ceil##f(x))        \
    TE_CONVERT(__##word##2uint_rz, from, unsigned, 0, 4294967295u, 0, trunc##f(x))              \
    TE_CONVERT(__##word##2uint_rn, from, unsigned, 0, 4294967295u, 0, rint##f(x))               \
    TE_CONVERT(__##word##2ll_rz, from, long long, -9223372036854775807ll - 1, 9223372036854775807ll, \
               -9223372036854775807ll - 1, trunc##f(x))                                         \
    TE_CONVERT(__##word##2ll_rn, from, long long, -9223372036854775807ll - 1, 9223372036854775807ll, \
               -9223372036854775807ll - 1, rint##f(x))                                          \
    TE_CONVERT(__##word##2ull_rz, from, unsigned long long, 0, 18446744073709551615ull,         \
               9223372036854775808ull, trunc##f(x))
TE_CONVERSIONS(float, float, f)
TE_CONVERSIONS(double, double, )
inline float __double2float_rn(double x) { return (float)x; }
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }
inline float __ll2float_rn(long long x) { return (float)x; }
inline float __ull2float_rn(unsigned long long x) { return (float)x; }
inline double __ll2double_rn(long long x) { return (double)x; }
inline double __ull2double_rn(unsigned long long x) { return (double)x; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline unsigned __brev(unsigned x) {
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(x);
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
    const unsigned long long bytes = (unsigned long long)high << 32 | low;
    unsigned result = 0;
    for (int n = 0; n < 4; n++) result |= (unsigned)(bytes >> 8 * (selector >> 4 * n & 7) & 0xff) << 8 * n;
    return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
    return (unsigned)(((unsigned long long)high << 32 | low) << (by & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
    return (unsigned)(((unsigned long long)high << 32 | low) >> (by & 31));
}
inline int __dp4a(int a, int b, int c) {
    unsigned sum = (unsigned)c;
    for (int n = 0; n < 32; n += 8) sum += (unsigned)((signed char)(a >> n) * (signed char)(b >> n));
    return (int)sum;
}

template <class T> inline T __ldg(const T* address) { return *address; }
template <class T> inline T __ldcg(const T* address) { return *address; }
template <class T> inline T __ldcs(const T* address) { return *address; }
template <class T> inline void __stcg(T* address, typename te_emulator::Same<T>::type value) { *address = value; }
template <class T> inline void __stcs(T* address, typename te_emulator::Same<T>::type value) { *address = value; }
