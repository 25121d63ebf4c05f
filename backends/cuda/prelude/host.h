// The intrinsics of CUDA that the prelude uses, for g++.
#pragma once

#include <math.h>
#include <string.h>

#ifndef __device__
#define __device__
#endif

template <class To, class From>
static inline To te_bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "a representation keeps its size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

static inline unsigned __float_as_uint(float x) { return te_bit_cast<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return te_bit_cast<float>(x); }
static inline long long __double_as_longlong(double x) { return te_bit_cast<long long>(x); }
static inline double __longlong_as_double(long long x) { return te_bit_cast<double>(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }

static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
