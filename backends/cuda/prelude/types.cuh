// The element types of the language. NVRTC has no <stdint.h>. Floats narrower than f32 stand as their bits: they
// are stored, selected and cast, and take part in no operator.

typedef signed char te_i8;

typedef short te_i16;

typedef int te_i32;

typedef long long te_i64;

typedef unsigned char te_u8;

typedef unsigned short te_u16;

typedef unsigned int te_u32;

typedef unsigned long long te_u64;

typedef unsigned short te_f16;

typedef unsigned short te_bf16;

typedef unsigned char te_f8e4m3;

typedef unsigned char te_f8e5m2;
