"""Right kernels give right results under every order of their threads, and nothing is found wrong with them."""

from __future__ import annotations

import numpy as np
import pytest

from te.backends.cuda.emulator.run import Settings
from tests.backends.emulator.running import ORDERS, launch, needs_gxx

pytestmark = needs_gxx

BOTH = pytest.mark.parametrize("is_checked", [True, False], ids=["checked", "fast"])


def same_for_all_orders(source, symbol, grid, block, make, *scalars, expected, is_checked, **more):
    for order in ORDERS:
        arrays = make()
        found = launch(
            source,
            symbol,
            grid,
            block,
            arrays,
            *scalars,
            **more,
            is_checked=is_checked,
            settings=Settings(order),
        )
        assert found == []
        for name, value in expected.items():
            np.testing.assert_allclose(arrays[name], value, rtol=2e-5, atol=1e-5)


ADD = """
extern "C" __global__ void __launch_bounds__(64) add(
    const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, long long n
) {
    const long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (i + 4 <= n) {
        const float4 x = *reinterpret_cast<const float4*>(a + i);
        const float4 y = *reinterpret_cast<const float4*>(b + i);
        *reinterpret_cast<float4*>(c + i) = make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
    } else {
        for (long long j = i; j < n; j++) c[j] = a[j] + b[j];
    }
}
"""


@BOTH
@pytest.mark.parametrize("n", [1, 4, 255, 256, 1003])
def test_vectors_of_four(n, is_checked):
    a, b = np.random.default_rng(n).standard_normal((2, n)).astype(np.float32)
    same_for_all_orders(
        ADD,
        "add",
        -(-n // 256),
        64,
        lambda: {"a": a, "b": b, "c": np.zeros(n, np.float32)},
        n,
        results=["c"],
        expected={"c": a + b},
        is_checked=is_checked,
    )


MATMUL = """
extern "C" __global__ void __launch_bounds__(256) matmul(
    const float* A, const float* B, float* C, long long M, long long N, long long K
) {
    extern __shared__ __align__(16) unsigned char te_shared[];
    float* a = reinterpret_cast<float*>(te_shared);  // 16 rows of 17
    __shared__ float b[16][16];
    const int x = threadIdx.x, y = threadIdx.y;
    const long long row = blockIdx.y * 16 + y, column = blockIdx.x * 16 + x;
    float sum = 0.0f;
    for (long long k0 = 0; k0 < K; k0 += 16) {
        a[y * 17 + x] = row < M && k0 + x < K ? A[row * K + k0 + x] : 0.0f;
        b[y][x] = k0 + y < K && column < N ? B[(k0 + y) * N + column] : 0.0f;
        __syncthreads();
        for (int k = 0; k < 16; k++) sum = fmaf(a[y * 17 + k], b[k][x], sum);
        __syncthreads();
    }
    if (row < M && column < N) C[row * N + column] = sum;
}
"""


@BOTH
def test_tiles_in_shared_memory(is_checked):
    m, n, k = 33, 40, 35
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    same_for_all_orders(
        MATMUL,
        "matmul",
        (3, 3),
        (16, 16),
        lambda: {"A": a, "B": b, "C": np.zeros((m, n), np.float32)},
        m,
        n,
        k,
        results=["C"],
        shared=16 * 17 * 4,
        expected={"C": a @ b},
        is_checked=is_checked,
    )


SOFTMAX = """
extern "C" __global__ void __launch_bounds__(128) softmax(const float* x, float* y, long long rows, long long n) {
    const long long row = (long long)blockIdx.x * 4 + threadIdx.y;
    const int lane = threadIdx.x;
    if (row >= rows) return;
    float most = __int_as_float(0xff800000), sum = 0.0f;
    for (long long i = lane; i < n; i += 32) most = fmaxf(most, x[row * n + i]);
    for (int by = 16; by > 0; by >>= 1) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, by));
    for (long long i = lane; i < n; i += 32) sum += expf(x[row * n + i] - most);
    for (int by = 16; by > 0; by >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, by);
    sum = __shfl_sync(0xffffffffu, sum, 0);
    for (long long i = lane; i < n; i += 32) y[row * n + i] = expf(x[row * n + i] - most) / sum;
}
"""


@BOTH
def test_shuffles(is_checked):
    x = np.random.default_rng(0).standard_normal((10, 77)).astype(np.float32)
    e = np.exp(x - x.max(1, keepdims=True))
    same_for_all_orders(
        SOFTMAX,
        "softmax",
        3,
        (32, 4),
        lambda: {"x": x, "y": np.zeros_like(x)},
        10,
        77,
        results=["y"],
        expected={"y": e / e.sum(1, keepdims=True)},
        is_checked=is_checked,
    )


HISTOGRAM = """
extern "C" __global__ void __launch_bounds__(64) histogram(const int* x, int* counts, float* total, long long n) {
    __shared__ int own[16];
    __shared__ float sums[2];
    const int t = threadIdx.x;
    if (t < 16) own[t] = 0;
    __syncthreads();
    float sum = 0.0f;
    for (long long i = (long long)blockIdx.x * 64 + t; i < n; i += gridDim.x * 64) {
        atomicAdd(&own[x[i]], 1);
        sum += (float)x[i];
    }
    for (int by = 16; by > 0; by >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, by);
    if (t % 32 == 0) sums[t / 32] = sum;
    __syncthreads();
    if (t == 0) atomicAdd(total, sums[0] + sums[1]);
    if (t < 16) atomicAdd(&counts[t], own[t]);
}
"""


@BOTH
def test_atomics(is_checked):
    x = np.random.default_rng(0).integers(0, 16, 1000).astype(np.int32)
    same_for_all_orders(
        HISTOGRAM,
        "histogram",
        5,
        64,
        lambda: {"x": x, "counts": np.zeros(16, np.int32), "total": np.zeros(1, np.float32)},
        1000,
        states=["counts", "total"],
        expected={"counts": np.bincount(x, minlength=16), "total": [x.sum()]},
        is_checked=is_checked,
    )


WARPS = """
extern "C" __global__ void __launch_bounds__(96) rotate(const int* x, int* y, unsigned* votes) {
    __shared__ int held[3][32];
    const int lane = threadIdx.x, warp = threadIdx.y;
    for (int step = 0; step < 3; step++) {
        held[warp][lane] = x[warp * 32 + lane] + step;
        __syncwarp();
        y[(step * 3 + warp) * 32 + lane] = held[warp][(lane + 1) % 32];
        __syncwarp();
    }
    const unsigned odd = __ballot_sync(0xffffffffu, x[warp * 32 + lane] & 1);
    if (__any_sync(0xffffffffu, lane == 5) && !__all_sync(0xffffffffu, lane < 31)) votes[warp * 32 + lane] = odd;
}
"""


@BOTH
def test_barriers_of_a_warp_order_what_its_lanes_do(is_checked):
    x = np.random.default_rng(0).integers(0, 100, (3, 32)).astype(np.int32)
    odd = ((x & 1).astype(np.uint32) << np.arange(32, dtype=np.uint32)).sum(1, dtype=np.uint32)
    same_for_all_orders(
        WARPS,
        "rotate",
        1,
        (32, 3),
        lambda: {"x": x, "y": np.zeros((3, 3, 32), np.int32), "votes": np.zeros((3, 32), np.uint32)},
        results=["y", "votes"],
        expected={
            "y": np.roll(x, -1, 1) + np.arange(3)[:, None, None],
            "votes": np.broadcast_to(odd[:, None], (3, 32)),
        },
        is_checked=is_checked,
    )


GLOBAL = """
extern "C" __global__ void __launch_bounds__(64) neighbours(float* scratch, float* y) {
    const int t = threadIdx.x, first = blockIdx.x * 64;
    scratch[first + t] = (float)(first + t);
    __syncthreads();
    y[first + t] = scratch[first + (t + 1) % 64];
}
"""


@BOTH
def test_a_barrier_orders_what_its_block_does_in_global_memory(is_checked):
    numbers = np.arange(128, dtype=np.float32).reshape(2, 64)
    same_for_all_orders(
        GLOBAL,
        "neighbours",
        2,
        64,
        lambda: {"scratch": np.zeros(128, np.float32), "y": np.zeros((2, 64), np.float32)},
        results=["scratch", "y"],
        expected={"y": np.roll(numbers, -1, 1)},
        is_checked=is_checked,
    )


SAME = """
extern "C" __global__ void __launch_bounds__(64) same(float* y) {
    __shared__ float s[16];
    s[threadIdx.x / 4] = (float)(threadIdx.x / 4);
    __syncthreads();
    y[threadIdx.x / 2] = s[threadIdx.x / 8];
}
"""


def test_threads_that_write_the_same_value_harm_nobody():
    for order in ORDERS:
        y = np.zeros(32, np.float32)
        assert launch(SAME, "same", 2, 64, {"y": y}, results=["y"], settings=Settings(order)) == []
        assert (y == np.arange(32) // 4).all()


INDICES = """
extern "C" __global__ void __launch_bounds__(24) indices(int* y) {
    const int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    y[b * 24 + t] = b * 100 + t;
}
"""


def test_three_dimensions():
    y = np.zeros((30, 24), np.int32)
    assert launch(INDICES, "indices", (2, 3, 5), (4, 3, 2), {"y": y}, results=["y"]) == []
    assert (y == np.arange(30)[:, None] * 100 + np.arange(24)).all()


BYTES = """
extern "C" __global__ void __launch_bounds__(64) bytes(const unsigned char* x, unsigned char* y, short* z) {
    extern __shared__ unsigned char te_shared[];
    const int t = threadIdx.x;
    te_shared[t] = x[t];
    __syncthreads();
    y[t] = te_shared[63 - t];
    z[t] = reinterpret_cast<const short*>(te_shared)[t / 2];
}
"""


def test_threads_write_neighbouring_bytes():
    x = np.arange(64, dtype=np.uint8)
    y, z = np.zeros(64, np.uint8), np.zeros(64, np.int16)
    assert launch(BYTES, "bytes", 1, 64, {"x": x, "y": y, "z": z}, results=["y", "z"], shared=64) == []
    assert (y == x[::-1]).all()
    assert (z == x.view(np.int16).repeat(2)).all()


def test_an_array_without_elements():
    y = np.zeros(0, np.float32)
    source = (
        'extern "C" __global__ void none(float* y, long long n) { if (threadIdx.x < n) y[threadIdx.x] = 1; }'
    )
    assert launch(source, "none", 1, 32, {"y": y}, 0, results=["y"]) == []


@pytest.mark.parametrize(
    ("block", "shared", "why"),
    [((33, 32), 0, "1056 threads"), ((1, 1, 65), 0, "65 threads along z"), (32, 1 << 20, "1048576 bytes")],
)
def test_launches_that_no_gpu_can_do(block, shared, why):
    y = np.zeros((30, 24), np.int32)
    (finding,) = launch(INDICES, "indices", 1, block, {"y": y}, results=["y"], shared=shared)
    assert finding.kind == "impossible launch"
    assert why in str(finding.diagnostic)


def test_intrinsics():
    source = """
    extern "C" __global__ void values(unsigned long long* y) {
        y[0] = __brev(6u) + (unsigned)__clz(1) + __popc(255u) + __ffs(8);
        y[1] = __umulhi(0x80000000u, 6u);
        y[2] = __byte_perm(0x33221100u, 0x77665544u, 0x7410);
        y[3] = (unsigned)__float2int_rz(3e9f);
        y[4] = (unsigned)__float2int_rn(2.5f);
        y[5] = __float_as_uint(__fmaf_rn(1.0f + 0x1p-12f, 1.0f + 0x1p-12f, -1.0f));
        y[6] = (unsigned)__dp4a(0x01020304, 0x01010101, 5);
        y[7] = __funnelshift_r(0x11112222u, 0x33334444u, 16);
    }
    """
    y = np.zeros(8, np.uint64)
    assert launch(source, "values", 1, 1, {"y": y}, results=["y"]) == []
    exact = np.float32((1 + 2.0**-12) ** 2 - 1)
    assert y.tolist() == [
        0x60000000 + 31 + 8 + 4,
        3,
        0x77441100,
        0x7FFFFFFF,
        2,
        int(exact.view(np.uint32)),
        15,
        0x44441111,
    ]
