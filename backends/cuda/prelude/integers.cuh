// Operators of integers: everything is defined. They wrap, which C++ promises of unsigned types alone; `//` and `%`
// round toward minus infinity, and by 0 are 0; counts of shifts are taken modulo the width.

//@ T: i8 i16 i32 i64 u8 u16 u32 u64
__device__ inline te_@T te_add_@T(te_@T a, te_@T b) {
    return (te_@T)((te_@W)a + (te_@W)b);
}

//@ T: i8 i16 i32 i64 u8 u16 u32 u64
__device__ inline te_@T te_sub_@T(te_@T a, te_@T b) {
    return (te_@T)((te_@W)a - (te_@W)b);
}

//@ T: i8 i16 i32 i64 u8 u16 u32 u64
__device__ inline te_@T te_mul_@T(te_@T a, te_@T b) {
    return (te_@T)((te_@W)a * (te_@W)b);
}

//@ T: i8 i16 i32 i64 u8 u16 u32 u64
__device__ inline te_@T te_neg_@T(te_@T a) {
    return (te_@T)(0 - (te_@W)a);
}

//@ T: i8 i16 i32 i64 u8 u16 u32 u64
__device__ inline te_@T te_shl_@T(te_@T a, te_@T count) {
    return (te_@T)((te_@W)a << (count & @LAST_BIT));
}

// The sign stays.
//@ T: i8 i16 i32 i64 u8 u16 u32 u64
__device__ inline te_@T te_shr_@T(te_@T a, te_@T count) {
    return (te_@T)(a >> (count & @LAST_BIT));
}

//@ T: u8 u16 u32 u64
__device__ inline te_@T te_floordiv_@T(te_@T a, te_@T b) {
    return b == 0 ? 0 : (te_@T)(a / b);
}

//@ T: u8 u16 u32 u64
__device__ inline te_@T te_mod_@T(te_@T a, te_@T b) {
    return b == 0 ? 0 : (te_@T)(a % b);
}

// The smallest integer // -1 wraps to itself.
//@ T: i8 i16 i32 i64
__device__ inline te_@T te_floordiv_@T(te_@T a, te_@T b) {
    if (b == 0) {
        return 0;
    }
    if (b == -1) {
        return te_neg_@T(a);
    }
    te_@T quotient = (te_@T)(a / b);
    te_@T rest = (te_@T)(a % b);
    return (te_@T)(quotient - (rest != 0 && (rest ^ b) < 0));
}

//@ T: i8 i16 i32 i64
__device__ inline te_@T te_mod_@T(te_@T a, te_@T b) {
    if (b == 0 || b == -1) {
        return 0;
    }
    te_@T rest = (te_@T)(a % b);
    return (te_@T)(rest + (rest != 0 && (rest ^ b) < 0 ? b : 0));
}

//@ T: i8 i16 i32 i64 u8 u16 u32 u64
__device__ inline te_@T te_min_@T(te_@T a, te_@T b) {
    return b < a ? b : a;
}

//@ T: i8 i16 i32 i64 u8 u16 u32 u64
__device__ inline te_@T te_max_@T(te_@T a, te_@T b) {
    return b > a ? b : a;
}

// The smallest integer is its own absolute value.
//@ T: i8 i16 i32 i64
__device__ inline te_@T te_abs_@T(te_@T a) {
    return a < 0 ? te_neg_@T(a) : a;
}

//@ T: u8 u16 u32 u64
__device__ inline te_@T te_abs_@T(te_@T a) {
    return a;
}

//@ T: i8 i16 i32 i64
__device__ inline te_@T te_sign_@T(te_@T a) {
    return (te_@T)((a > 0) - (a < 0));
}

//@ T: u8 u16 u32 u64
__device__ inline te_@T te_sign_@T(te_@T a) {
    return a > 0;
}

//@ T: i8 i16 i32 u8 u16 u32
__device__ inline te_@T te_popcount_@T(te_@T a) {
    return (te_@T)__popc((te_u32)(te_@U)a);
}

//@ T: i64 u64
__device__ inline te_@T te_popcount_@T(te_@T a) {
    return (te_@T)__popcll((te_u64)a);
}
