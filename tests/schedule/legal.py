"""Schedules that performance engineers write, ten or more for each verb. All must be accepted, and change no result.

A schedule is a line of directives for the op `f` of one of the `PROGRAMS`; it uses its verb, mostly
together with others. Refusing everything would be safe, and useless: this list says what is not refused.
"""

from __future__ import annotations

PROGRAMS = {
    "scale": "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] * 2.0 + 1.0 }",
    "plane": "op f(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = X[i, j] * 2.0 + 1.0 }",
    "transpose": "op f(X: f32[M, N]) -> Y: f32[N, M] { Y[i, j] = X[j, i] }",
    "chain": "op f(X: f32[N]) -> Y: f32[N] { e[i] = X[i] + 1.0; Y[i] = e[i] * e[i] }",
    "steps": """
        op f(X: f32[M, N], b: f32[N]) -> Y: f32[M, N] {
            a[i, j] = X[i, j] + b[j]
            g[i, j] = a[i, j] * abs(a[i, j])
            Y[i, j] = max(g[i, j], a[i, j])
        }
    """,
    "dot": "op f(X: f32[N], Z: f32[N]) -> Y: f32 { Y = sum[i](X[i] * Z[i]) }",
    "rows": "op f(X: f32[M, N]) -> Y: f32[M] { Y[i] = sum[j](X[i, j]) }",
    "columns": "op f(X: f32[M, N]) -> Y: f32[N] { Y[j] = sum[i](X[i, j]) }",
    "extremes": """
        op f(X: i32[M, N]) -> lo: i32[M], hi: i32[M] {
            lo[i] = min[j](X[i, j])
            hi[i] = max[j](X[i, j])
        }
    """,
    "matvec": "op f(A: f32[M, K], X: f32[K]) -> Y: f32[M] { Y[i] = sum[k](A[i, k] * X[k]) }",
    "matmul": "op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }",
    "batched": """
        op f(A: f64[P, M, K], B: f64[P, K, N]) -> C: f64[P, M, N] {
            C[b, i, j] = sum[k](A[b, i, k] * B[b, k, j])
        }
    """,
    "dense": """
        op f(A: f32[M, K], param B: f32[K, N], param b: f32[N]) -> Y: f32[M, N] {
            C[i, j] = sum[k](A[i, k] * B[k, j])
            P[i, j] = C[i, j] + b[j]
            Y[i, j] = max(P[i, j], 0)
        }
    """,
    "two layers": """
        op f(X: f32[M, K], U: f32[K, N], V: f32[N, K]) -> Y: f32[M, K] {
            H[i, j] = sum[k](X[i, k] * U[k, j])
            R[i, j] = max(H[i, j], 0)
            Y[i, j] = sum[k](R[i, k] * V[k, j])
        }
    """,
    "conv 1": """
        op f(X: f32[C, N], F: f32[K, C, 3]) -> Y: f32[K, N] {
            Y[k, x] = sum[c, r]((X[c, x + r - 1] else 0) * F[k, c, r])
        }
    """,
    "conv 2": """
        op f(X: f32[C, H, W], param F: f32[K, C, 3, 3]) -> Y: f32[K, H, W] {
            Y[k, y, x] = sum[c, r, s]((X[c, y + r - 1, x + s - 1] else 0) * F[k, c, r, s])
        }
    """,
    "depthwise": """
        op f(X: f32[C, H, W], F: f32[C, 3, 3]) -> Y: f32[C, H, W] {
            Y[c, y, x] = sum[r, s]((X[c, y + r - 1, x + s - 1] else 0) * F[c, r, s])
        }
    """,
    "blur": """
        op f(X: f32[M, N]) -> Y: f32[M, N] {
            h[i, j] = (X[i, j - 1] else 0) + X[i, j] + (X[i, j + 1] else 0)
            Y[i, j] = (h[i - 1, j] else 0) + h[i, j] + (h[i + 1, j] else 0)
        }
    """,
    "edges": """
        op f(X: f32[M, N]) -> Y: f32[M, N] {
            h[i, j] = (X[i, j - 1] else 0) + X[i, j] + (X[i, j + 1] else 0)
            v[i, j] = (h[i - 1, j] else 0) + h[i, j] + (h[i + 1, j] else 0)
            Y[i, j] = abs(v[i, j] - X[i, j])
        }
    """,
    "window": """
        op f(X: i64[N]) -> Y: i64[N - 2] {
            require N >= 3
            e[i] = X[i] * X[i]
            Y[i] = e[i] + e[i + 1] + e[i + 2]
        }
    """,
    "pool": """
        op f(X: f32[M, N]) -> Y: f32[M // 2, N // 2] {
            Y[i, j] = max[r < 2, s < 2](X[2 * i + r, 2 * j + s])
        }
    """,
    "softmax": """
        op f(X: f32[M, N]) -> Y: f32[M, N] {
            m[i]    = max[j](X[i, j])
            e[i, j] = exp(X[i, j] - m[i])
            Y[i, j] = e[i, j] / sum[k](e[i, k])
        }
    """,
    "layer norm": """
        op f(X: f32[M, N], g: f32[N]) -> Y: f32[M, N] {
            mu[i]   = mean[j](X[i, j])
            d[i, j] = X[i, j] - mu[i]
            v[i]    = mean[j](d[i, j] * d[i, j])
            Y[i, j] = d[i, j] * rsqrt(v[i] + 1.0) * g[j]
        }
    """,
    "rms norm": """
        op f(X: f32[M, N]) -> Y: f32[M, N] {
            s[i]    = sum[j](X[i, j] * X[i, j])
            Y[i, j] = X[i, j] * rsqrt(s[i] + 1.0)
        }
    """,
    "attention": """
        op f(Q: f32[M, K], Z: f32[N, K], V: f32[N, P]) -> O: f32[M, P] {
            S[i, j] = sum[k](Q[i, k] * Z[j, k]) * 0.125
            m[i]    = max[j](S[i, j])
            p[i, j] = exp(S[i, j] - m[i])
            l[i]    = sum[j](p[i, j])
            A[i, c] = sum[j](p[i, j] * V[j, c])
            O[i, c] = A[i, c] / l[i]
        }
    """,
    "causal": """
        op f(Q: f32[M, K], Z: f32[M, K], V: f32[M, P]) -> O: f32[M, P] {
            S[i, j] = sum[k](Q[i, k] * Z[j, k]) * 0.125
            m[i]    = max[j where j <= i](S[i, j])
            p[i, j] = exp(S[i, j] - m[i])
            l[i]    = sum[j where j <= i](p[i, j])
            A[i, c] = sum[j where j <= i](p[i, j] * V[j, c])
            O[i, c] = A[i, c] / l[i]
        }
    """,
    "sliding": """
        op f(Q: f32[M, K], Z: f32[M, K], V: f32[M, P]) -> O: f32[M, P] {
            S[i, j] = sum[k](Q[i, k] * Z[j, k]) * 0.125
            m[i]    = max[j where j <= i and i < j + 3](S[i, j])
            p[i, j] = exp(S[i, j] - m[i])
            l[i]    = sum[j where j <= i and i < j + 3](p[i, j])
            A[i, c] = sum[j where j <= i and i < j + 3](p[i, j] * V[j, c])
            O[i, c] = A[i, c] / l[i]
        }
    """,
    "log-sum-exp": """
        op f(X: f32[M, N]) -> Y: f32[M] {
            m[i] = max[j](X[i, j])
            l[i] = sum[j](exp(X[i, j] - m[i]))
            Y[i] = m[i] + log(l[i])
        }
    """,
    "triangle": "op f(X: i32[M, N]) -> Y: i32[M] { Y[i] = max[j where j <= i](X[i, j]) }",
    "cumulative": "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] + (Y[i - 1] else 0) }",
    "scan": """
        op f(X: f32[T, N]) -> h: f32[T, N] {
            g[t, i] = X[t, i] * 2 + 1
            h[t, i] = g[t, i] + (h[t - 1, i] else 0)
        }
    """,
    "states": """
        op f(X: i64[T, N]) -> Y: i64[N] {
            require T >= 1
            h[t, i] = X[t, i] + (h[t - 1, i] else 1)
            Y[i]    = h[T - 1, i]
        }
    """,
    "far states": """
        op f(X: i64[T, N]) -> Y: i64[N] {
            require T >= 1
            h[t, i] = X[t, i] + (h[t - 3, i] else 1)
            Y[i]    = h[T - 1, i]
        }
    """,
    "rnn": """
        op f(X: i64[T, N], U: i64[N, N]) -> Y: i64[N] {
            require T >= 1
            s[t, i] = X[t, i] + sum[k](U[i, k] * (h[t - 1, k] else 0))
            h[t, i] = s[t, i] % 7
            Y[i]    = h[T - 1, i]
        }
    """,
    "lstm": """
        op f(X: f32[T, N], U: f32[N, N]) -> Y: f32[T, N] {
            z[t, i] = X[t, i] + sum[k](U[i, k] * (Y[t - 1, k] else 0))
            c[t, i] = sigmoid(z[t, i]) * (c[t - 1, i] else 0) + tanh(X[t, i])
            Y[t, i] = sigmoid(z[t, i]) * tanh(c[t, i])
        }
    """,
    "embedding": """
        op f(E: f32[V, N], ids: i64[M]) -> Y: f32[M, N] { Y[i, j] = E[clamp(ids[i], 0, V - 1), j] * 2 }
    """,
    "bag": """
        op f(E: f32[V, N], ids: i64[M]) -> Y: f32[N] { Y[j] = sum[i](E[clamp(ids[i], 0, V - 1), j]) }
    """,
    "histogram": "op f(ids: i64[M], like: i32[V]) -> Y: i32[V] { Y[v] = sum[i where ids[i] == v](i32(1)) + like[v] }",
    "bytes": """
        op f(X: u8[M, N]) -> Y: u8[M, N] {
            odd[i]  = any[j](X[i, j] % 2 == 1)
            Y[i, j] = where(odd[i], X[i, j], 255 - X[i, j])
        }
    """,
    "brain floats": """
        op f(X: bf16[M, N]) -> Y: bf16[M, N] {
            e[i, j] = X[i, j] * 0.5
            Y[i, j] = e[i, j] + X[i, j]
        }
    """,
    "weights": """
        op f(X: f32[M, N], param A: f32[N], param b: f32[N]) -> Y: f32[M, N] {
            a[i]    = abs(A[i])
            n       = sum[i](a[i])
            U[i]    = A[i] * 2 + n
            z[i]    = b[i] * 2.0
            Y[i, j] = X[i, j] * U[j] + z[j] + a[j]
        }
    """,
    "winograd": """
        op f(X: f32[N, K], param F: f32[K, 3]) -> Y: f32[N] {
            U[k, a < 3] = where(a == 0, F[k, 0], where(a == 1, F[k, 0] + F[k, 1] + F[k, 2], F[k, 2]))
            Y[i]    = sum[k, a](X[i, k] * U[k, a])
        }
    """,
    "quantized": """
        op f(A: u8[M, K, 4], B: i8[K, N, 4]) -> C: i32[M, N] {
            C[i, j] = sum[k, q](i32(A[i, k, q]) * i32(B[k, j, q]))
        }
    """,
    "quantized rows": """
        op f(A: u8[M, K], B: i8[N, K]) -> C: i32[M, N] { C[i, j] = sum[k](i32(A[i, k]) * i32(B[j, k])) }
    """,
    "signed": "op f(A: i8[M, K], B: i8[K, N]) -> C: i32[M, N] { C[i, j] = sum[k](i32(A[i, k]) * i32(B[k, j])) }",
    "zero points": """
        op f(A: u8[M, K], B: u8[N, K], a: i32[M], b: u8) -> Y: i32[M, N] {
            C[i, j] = sum[k]((i32(A[i, k]) - a[i]) * (i32(B[j, k]) - i32(b)))
            Y[i, j] = max(C[i, j], 0)
        }
    """,
    "brain pairs": """
        op f(A: bf16[M, K, 2], B: bf16[K, N, 2]) -> C: f32[M, N] {
            C[i, j] = sum[k, q](f32(A[i, k, q]) * f32(B[k, j, q]))
        }
    """,
    "two calls": """
        op halves(X: f32[M, N]) -> Y: f32[M, N] { e[i, j] = X[i, j] + 1; Y[i, j] = e[i, j] * e[i, j] }
        op f(A: f32[M, N]) -> B: f32[M, N] { T = halves(A); B = halves(T) }
        schedule halves on llvm { compute_at e at Y.i; vectorize Y.j by 4 }
    """,
    "network": """
        op linear(X: f32[M, K], F: f32[K, N]) -> Y: f32[M, N] { Y[i, j] = sum[k](X[i, k] * F[k, j]) }
        op relu(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = max(X[i, j], 0) }
        op f(A: f32[M, K], F: f32[K, N], G: f32[N, N]) -> B: f32[M, N] {
            B = linear(relu(linear(A, F)), G)
        }
        schedule linear on llvm when N >= 8 { split j by 8; reorder i, jo, k, ji; vectorize ji; parallel i }
        schedule linear on llvm { reorder i, k, j }
        schedule relu on llvm { fuse i, j into f; vectorize f by 8 }
    """,
    "same schedule": """
        op linear(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }
        op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }
        schedule linear on llvm {
            tile i, j by 4, 8 into io, jo, ii, ji
            reorder io, jo, k, ii, ji
            cache_read A[a, b] at io as Ac layout [b, a]
            unroll ii
            vectorize ji
        }
    """,
    "norms": """
        op norm(X: f32[M, N]) -> Y: f32[M, N] { s[i] = sum[j](abs(X[i, j])); Y[i, j] = X[i, j] + s[i] }
        op f(A: f32[M, N]) -> B: f32[M, N], C: f32[M, N] { B = norm(A); C = norm(norm(A)) }
        schedule norm on llvm { compute_at s at Y.i; vectorize s.j, Y.j by 4; parallel Y.i }
    """,
}

# The programs whose results are rounded; the others compute with whole numbers, exactly in every order.
ROUNDED = frozenset(
    {"softmax", "layer norm", "rms norm", "attention", "causal", "sliding", "log-sum-exp", "lstm"}
)

TILES = "tile i, j by 4, 8 into io, jo, ii, ji; reorder io, jo, k, ii, ji; "
BLOCKS = "tile i, j by 4, 8 into io, jo, ii, ji; split k by 4 into ko, ki; reorder io, jo, ko, ki, ii, ji; "
C_TILES = "tile C.i, C.j by 4, 8 into io, jo, ii, ji; reorder io, jo, k, ii, ji; "
LANES = "tile i, j by 4, 16 into io, jo, ii, ji; reorder io, jo, k, ii, ji, q; "

PARTS = "tile Y.i, Y.j by 4, 8 into io, jo, ii, ji; compute_at a, g at jo in register; "

SCHEDULES: dict[str, list[tuple[str, str]]] = {
    "split": [
        ("scale", "split i by 4"),
        ("scale", "split i parts 3"),
        ("scale", "split i by 8 tail peel; vectorize ii; unroll io by 2"),
        ("scale", "split i by 8 tail shift; vectorize ii; parallel io"),
        ("scale", "split i by 1 tail exact"),
        ("scale", "split i by 16 into io, it; split it by 4 into iv, il tail exact; vectorize il"),
        ("matmul", "split k by 4; split i by 3 tail peel; reorder io, ko, ii, j, ki"),
        ("matmul", "split j by 8 tail shift; reorder i, jo, k, ji; vectorize ji"),
        ("conv 2", "split x by 4 tail peel; split c by 2; reorder k, y, xo, co, r, s, ci, xi; vectorize xi"),
        ("blur", "split Y.i by 4 tail peel; compute_at h at Y.io; vectorize h.j, Y.j by 4"),
        ("scan", "split h.t by 2; split h.i by 4 tail shift; vectorize h.ii"),
        ("triangle", "split i by 4; split j by 4; reorder io, jo, ii, ji"),
        ("embedding", "split j by 4 tail peel; vectorize ji; parallel Y.i"),
        ("histogram", "split Y_sum.i by 4"),
        ("layer norm", "split d.j parts 2; reorder jo, d.i; parallel jo"),
    ],
    "tile": [
        ("plane", "tile i, j by 4, 4"),
        ("plane", "tile i, j by 8, 8 into io, jo, ii, ji tail peel; vectorize ji"),
        ("plane", "tile i, j by 2, 8 into io, jo, ii, ji tail shift; vectorize ji; parallel io"),
        ("transpose", "tile i, j by 8, 8 into io, jo, ii, ji; unroll ii; vectorize ji"),
        ("matmul", "tile i, j, k by 4, 8, 4 into io, jo, ko, ii, ji, ki; reorder ii, ki, ji"),
        ("batched", "tile i, j by 2, 4 into io, jo, ii, ji; fuse b, io into f; parallel f"),
        ("conv 2", "tile y, x by 2, 4 into yo, xo, yi, xi; reorder yo, xo, k, c, r, s, yi, xi"),
        ("conv 2", "tile k, c by 4, 4 into ko, co, ki, ci"),
        ("depthwise", "tile y, x by 4, 4 into yo, xo, yi, xi; unroll yi; parallel c"),
        ("blur", "tile Y.i, Y.j by 4, 8 into io, jo, ii, ji; compute_at h at jo in stack; vectorize ji"),
        ("two layers", "tile H.i, H.j by 4, 8; tile Y.i, Y.j by 4, 8"),
        ("pool", "tile i, j by 2, 4 into io, jo, ii, ji; vectorize ji"),
        ("scan", "tile g.t, g.i by 2, 4; parallel g.to"),
        ("attention", "tile A.i, A.c by 4, 4 into io, co, ii, ci; reorder io, co, A.j, ii, ci"),
    ],
    "fuse": [
        ("plane", "fuse i, j into f; vectorize f by 8"),
        ("plane", "fuse i, j into f; split f by 6 tail peel; parallel fo"),
        ("matmul", "fuse i, j into f; parallel f"),
        ("matmul", "tile i, j by 4, 4 into io, jo, ii, ji; fuse io, jo into f; parallel f"),
        ("batched", "fuse b, i into g; fuse g, j into f; split f by 4; parallel fo"),
        ("conv 2", "fuse r, s into w; fuse c, w into d"),
        ("conv 2", "fuse k, y into f; parallel f; vectorize x by 4"),
        ("blur", "fuse Y.i, Y.j into f; compute_at h at f"),
        ("blur", "fuse Y.i, Y.j into f; split f by 5; compute_at h at fo"),
        ("transpose", "fuse i, j into f; vectorize f by 4"),
        ("scan", "fuse g.t, g.i into f; vectorize f by 8"),
        ("dense", "fuse C.i, C.j into f; compute_at P, Y at f"),
        ("dense", "fuse C.i, C.j into f; compute_at P, Y at f; parallel f"),
        (
            "dense",
            "tile C.i, C.j by 4, 8 into io, jo, ii, ji; fuse io, jo into f; compute_at P, Y at f; parallel f",
        ),
        ("pool", "fuse r, s into w; unroll w"),
        ("attention", "fuse O.i, O.c into f; split f by 4; parallel fo"),
    ],
    "reorder": [
        ("plane", "reorder j, i"),
        ("matmul", "reorder i, k, j; vectorize j by 8"),
        ("matmul", "reorder k, i, j"),
        ("matmul", "reorder j, k, i; vectorize i by 4"),
        ("matmul", BLOCKS + "unroll ii; vectorize ji"),
        ("conv 2", "reorder c, r, s, k, y, x"),
        ("conv 2", "reorder y, x, c, r, s, k; vectorize k by 4"),
        ("columns", "reorder i, j; vectorize j by 8"),
        ("transpose", "tile i, j by 4, 4 into io, jo, ii, ji; reorder jo, io, ji, ii"),
        ("triangle", "reorder j, i; vectorize i by 4"),
        ("extremes", "reorder hi.j, hi.i"),
        ("embedding", "reorder j, Y.i"),
        ("scan", "reorder h.i, h.t; parallel h.i"),
        ("scan", "split h.i by 4; reorder h.io, h.t, h.ii; vectorize h.ii; parallel h.io"),
        (
            "attention",
            "reorder S_sum.i, S_sum.k, S_sum.j; reorder A.i, A.j, A.c; vectorize S_sum.j, A.c by 4",
        ),
    ],
    "unroll": [
        ("scale", "unroll i by 4"),
        ("conv 2", "unroll r, s"),
        ("conv 1", "reorder r, x; unroll r"),
        ("depthwise", "split x by 4; reorder r, s, xi; unroll r, s, xi"),
        ("matmul", TILES + "unroll ii; unroll k by 2"),
        ("dot", "unroll i by 4"),
        ("rows", "split j by 4; unroll ji"),
        ("rows", "split i by 4; reorder io, j, ii; unroll ii"),
        ("scan", "unroll h.t by 2"),
        ("cumulative", "unroll i by 4"),
        ("pool", "unroll r, s; vectorize j by 4"),
        ("blur", "unroll Y.i by 2; compute_at h at Y.io"),
        ("softmax", "compute_at m, e, Y_sum at Y.i; unroll m.j, Y_sum.k by 4"),
    ],
    "vectorize": [
        ("scale", "vectorize i by 8"),
        ("scale", "vectorize i by 3"),
        ("dot", "vectorize i by 8"),
        ("rows", "vectorize j by 8; parallel i"),
        ("rows", "vectorize i by 4"),
        ("extremes", "vectorize lo.j, hi.j by 4"),
        ("columns", "vectorize j by 8"),
        ("transpose", "vectorize i by 4"),
        ("matmul", "vectorize j by 8; unroll k by 4"),
        ("matmul", "vectorize k by 4"),
        ("softmax", "vectorize m.j, e.j, Y_sum.k, Y.j by 8"),
        ("triangle", "vectorize j by 4"),
        ("scan", "vectorize h.i by 4"),
        ("embedding", "vectorize j by 4"),
        ("bag", "vectorize j by 4"),
        ("bytes", "vectorize odd.j, Y.j by 16"),
        ("brain floats", "compute_at e at Y.i; vectorize e.j, Y.j by 16"),
        ("lstm", "vectorize z.i by 4"),
        ("pool", "vectorize j by 4"),
        ("conv 2", "vectorize x by 8; unroll s"),
    ],
    "parallel": [
        ("scale", "split i by 4; parallel io"),
        ("matmul", "parallel i"),
        ("matmul", "reorder j, i, k; parallel j"),
        ("matmul", "reorder k, i, j; parallel i"),
        ("batched", "parallel b; vectorize j by 4"),
        ("conv 2", "split k by 2; parallel ko"),
        ("softmax", "compute_at m, e, Y_sum at Y.i; parallel Y.i"),
        ("attention", "compute_at S_sum, S, m, p, l, A at O.i; parallel O.i"),
        ("scan", "parallel h.i"),
        ("scan", "parallel g.t, h.i"),
        ("triangle", "split i by 2; parallel io"),
        ("blur", "split Y.i by 4; compute_at h at Y.io; parallel Y.io"),
        ("rnn", "parallel s.i"),
        ("embedding", "fuse Y.i, j into f; split f by 16; parallel fo"),
        ("columns", "split j by 4; reorder jo, i, ji; parallel jo; vectorize ji"),
    ],
    "inline": [
        ("chain", "inline e"),
        ("chain", "inline e; vectorize i by 8"),
        ("steps", "inline a"),
        ("steps", "inline a, g; fuse i, j into f; vectorize f by 8"),
        ("steps", "inline g; compute_at a at Y.i"),
        ("blur", "inline h"),
        ("blur", "inline h; tile i, j by 4, 8 into io, jo, ii, ji; vectorize ji; parallel io"),
        ("edges", "inline h, v; parallel i"),
        ("edges", "inline v; compute_at h at Y.i keep Y.i"),
        ("softmax", "inline e; compute_at m, Y_sum at Y.i"),
        ("attention", "inline p; compute_at S, m, l, A at O.i"),
        (
            "layer norm",
            "inline d; compute_at mu_sum, mu, v_sum, v at Y.i; vectorize mu_sum.j, v_sum.j, Y.j by 8",
        ),
        ("two layers", "inline R; parallel H.i, Y.i"),
        ("scan", "inline g; parallel i"),
        ("weights", "inline z, a"),
        ("brain floats", "inline e; vectorize j by 8"),
    ],
    "compute_at": [
        ("chain", "compute_at e at Y.i in register"),
        ("chain", "split Y.i by 8; compute_at e at Y.io in stack; vectorize e.i, Y.ii"),
        ("steps", "compute_at a, g at Y.i; vectorize a.j, g.j, Y.j by 8; parallel Y.i"),
        ("steps", "compute_at g at Y.j; compute_at a at Y.j; vectorize Y.j by 8"),
        ("blur", "compute_at h at Y.i keep Y.i"),
        ("blur", "split Y.i by 4; compute_at h at Y.ii keep Y.ii; parallel Y.io"),
        ("blur", "tile Y.i, Y.j by 4, 8 into io, jo, ii, ji; compute_at h at jo; parallel io"),
        ("edges", "compute_at v at Y.i; compute_at h at Y.i"),
        ("edges", "compute_at h, v at Y.i; parallel Y.i"),
        ("softmax", "compute_at m, e, Y_sum at Y.i; vectorize m.j, e.j, Y_sum.k, Y.j by 8"),
        ("softmax", "split Y.i by 4; compute_at m, e, Y_sum at Y.io; parallel Y.io"),
        ("layer norm", "compute_at mu_sum, mu, d, v_sum, v at Y.i"),
        (
            "attention",
            "split O.i by 4; compute_at S_sum, S, m, p, l, A at O.io; vectorize A.c by 4; parallel O.io",
        ),
        ("attention", "compute_at S_sum at S.i; parallel S.i; vectorize S.j by 8"),
        ("dense", C_TILES + "compute_at P, Y at jo; vectorize P.j, Y.j; parallel io"),
        ("dense", "split k by 4; reorder ko, C.i, C.j, ki; compute_at P, Y at C.i"),
        ("two layers", "compute_at H, R at Y.i; vectorize H.j, R.j, Y.j by 4"),
        ("two layers", "split Y.i by 4; compute_at H, R at Y.io; reorder H.i, H.k, H.j; parallel Y.io"),
        ("window", "compute_at e at Y.i keep Y.i"),
        ("scan", "compute_at g at h.t; vectorize g.i, h.i by 4"),
        ("bytes", "compute_at odd at Y.i; vectorize odd.j, Y.j by 16; parallel Y.i"),
        ("causal", "compute_at S_sum, S, m, p, l, A at O.i; parallel O.i"),
    ],
    "compute_root": [
        ("chain", "compute_at e at Y.i; compute_root e"),
        ("chain", "vectorize e.i by 4; compute_root e"),
        ("chain", "compute_at e at Y.i; compute_root e; split Y.i by 4; compute_at e at Y.io"),
        ("blur", "compute_at h at Y.i keep Y.i; compute_root h; parallel h.i, Y.i"),
        ("edges", "compute_at h, v at Y.i; compute_root h"),
        ("steps", "compute_at a, g at Y.i; compute_root g, a"),
        ("softmax", "compute_at m, e, Y_sum at Y.i; compute_root e, Y_sum, m"),
        ("softmax", "compute_at m, e, Y_sum at Y.i; compute_root m; parallel m.i"),
        ("dense", "compute_at P, Y at C.i; compute_root P, Y"),
        ("layer norm", "compute_at mu_sum, mu, d, v_sum, v at Y.i; compute_root mu_sum, mu"),
        ("matmul", "tile i, j by 4, 8; compute_root C; reorder i, k, j"),
        ("two layers", "compute_at R at H.i; compute_root R; vectorize R.j by 8"),
    ],
    "cache_read": [
        ("transpose", "cache_read X[a, b] at i"),
        ("transpose", "tile i, j by 4, 8 into io, jo, ii, ji; cache_read X at jo in stack; vectorize ji"),
        ("matmul", TILES + "cache_read B[k, j] at jo as Bp layout [k, j]; vectorize ji"),
        ("matmul", BLOCKS + "cache_read A[i, k] at ko layout [k, i]; cache_read B[k, j] at ko; unroll ii"),
        ("matmul", BLOCKS + "cache_read A at ko in stack; cache_read B at ko in stack; vectorize ji"),
        (
            "matmul",
            "cache_read B[k, j] as Bp layout [j // 8, k, j % 8]; split C.j by 8; reorder jo, C.i, C.k, ji",
        ),
        ("matmul", "cache_read A; cache_read B[k, j] layout [j, k]; vectorize C.k by 4"),
        ("matmul", BLOCKS + "cache_read A at ko by vector; cache_read B[k, j] at ko in stack by vector"),
        ("matmul", BLOCKS + "cache_read B[k, j] at ko as Bs; cache_read Bs at ki in stack by vector"),
        ("conv 2", "cache_read X at k as Xp fill 0 by vector; parallel k"),
        ("conv 2", "cache_read X at k as Xp fill 0; vectorize x by 4"),
        ("conv 2", "cache_read X as Xp fill 0; parallel Y.k"),
        ("conv 2", "split x by 4; reorder k, y, xo, c, r, s, xi; cache_read X at r in stack fill 0"),
        ("conv 1", "split k by 4; reorder ko, x, c, r, ki; cache_read F[a, b, c] at ko layout [b, c, a]"),
        ("depthwise", "tile y, x by 4, 4 into yo, xo, yi, xi; cache_read X at xo fill 0; parallel c"),
        ("blur", "compute_at h at Y.i; cache_read X at Y.i as Xc; vectorize Xc.j, h.j by 4"),
        ("blur", "cache_read h at Y.i as hc; parallel Y.i"),
        ("softmax", "compute_at m, e, Y_sum at Y.i; cache_read X[r, c] at Y.i as Xc; vectorize Xc.c by 8"),
        ("embedding", "cache_read ids[a] as idc"),
        (
            "attention",
            "cache_read Z[j, k] as Zt layout [k, j]; reorder S_sum.i, S_sum.k, S_sum.j; vectorize S_sum.j by 8",
        ),
        ("scan", "cache_read X at g.t as Xc; cache_read g[t, i] at h.t as gc"),
        ("matvec", "split k by 8; reorder ko, i, ki; cache_read X at ko as Xc in stack; vectorize ki"),
    ],
    "cache_write": [
        ("scale", "split i by 8; cache_write Y at io in stack"),
        ("transpose", "tile i, j by 4, 4 into io, jo, ii, ji; cache_write Y at jo in register; unroll ii"),
        ("matmul", TILES + "cache_write C at jo in register; unroll ii; vectorize ji, C_tile.j"),
        ("matmul", BLOCKS + "cache_write C at jo as Ct in stack; vectorize ji"),
        ("matmul", BLOCKS + "cache_write C at ko as Ct in stack by vector; parallel io"),
        ("matmul", "fuse i, j into f; cache_write C at f in register by vector; parallel f"),
        ("matmul", BLOCKS + "cache_write C at ko as Ct in stack; vectorize ji"),
        ("matmul", "split k by 4; reorder ko, i, j, ki; cache_write C at i"),
        ("batched", "cache_write C at i; vectorize C_tile.j by 4; parallel b"),
        (
            "conv 2",
            "split x by 4; reorder k, y, xo, c, r, s, xi; cache_write Y at xo in register; vectorize xi",
        ),
        ("conv 2", "split c by 2; reorder co, k, y, x, ci, r, s; cache_write Y at y"),
        ("blur", "cache_write h at h.i as ht; vectorize ht.j by 4"),
        ("columns", "split j by 8; reorder jo, i, ji; cache_write Y at jo in register; vectorize ji"),
        ("triangle", "split j by 4; split i by 4; reorder jo, io, ii, ji; cache_write Y at io"),
        ("rows", "split j by 4; cache_write Y at i as part; vectorize ji"),
        ("pool", "split j by 4; reorder i, jo, r, s, ji; cache_write Y at jo in stack; vectorize ji"),
        ("softmax", "cache_write Y at Y.i; vectorize Y_tile.j by 4; parallel Y.i"),
    ],
    "set_scope": [
        ("chain", "set_scope e in shared"),
        ("chain", "compute_at e at Y.i; set_scope e in register"),
        ("chain", "split Y.i by 8; compute_at e at Y.io; set_scope e in stack"),
        ("chain", "merge e.i, Y.i; set_scope e in local"),
        ("blur", "compute_at h at Y.i; set_scope h in local"),
        ("blur", "tile Y.i, Y.j by 4, 4 into io, jo, ii, ji; compute_at h at jo; set_scope h in stack"),
        ("softmax", "compute_at m, e, Y_sum at Y.i; set_scope m in register; set_scope Y_sum in register"),
        ("matmul", TILES + "cache_read B at jo as Bc; set_scope Bc in shared"),
        ("matmul", TILES + "cache_write C at jo as Ct; set_scope Ct in register; unroll ii; vectorize ji"),
        ("dense", C_TILES + "compute_at P, Y at jo; set_scope C in register; set_scope P in register"),
        ("attention", "compute_at S_sum, S, m, p, l, A at O.i; set_scope m in stack; set_scope l in stack"),
        (
            "layer norm",
            "compute_at mu_sum, mu, d, v_sum, v at Y.i; set_scope mu in register; set_scope v in register",
        ),
    ],
    "layout": [
        ("chain", "layout e[i] as [i % 4, i // 4]"),
        ("blur", "layout h[i, j] as [j, i]"),
        ("blur", "layout h[i, j] as [j // 4, i, j % 4]; vectorize Y.j by 4; parallel h.i"),
        ("blur", "layout h[i, j] as [i // 2, j // 4, i % 2, j % 4]; tile Y.i, Y.j by 2, 4"),
        ("two layers", "layout H[i, j] as [j, i]; reorder H.j, H.i; vectorize H.i by 4"),
        ("dense", "layout B[k, j] as [j // 8, k, j % 8]; split C.j by 8; reorder jo, C.i, C.k, ji"),
        ("conv 2", "layout F[k, c, r, s] as [k // 4, c, r, s, k % 4]; split Y.k by 4; vectorize Y.ki"),
        ("attention", "layout S[i, j] as [j, i]"),
        (
            "softmax",
            "layout e[i, j] as [i // 4, j, i % 4]; split e.i by 4; reorder io, e.j, ii; vectorize ii",
        ),
        ("matmul", "cache_read A[i, k] as Ap; layout Ap[i, k] as [i // 4, k, i % 4]"),
        ("scan", "layout g[t, i] as [i, t]"),
        ("steps", "layout a[i, j] as [j, i]; layout g[i, j] as [i // 2, j, i % 2]; fuse a.i, a.j into f"),
    ],
    "align": [
        ("chain", "align e axis 0 by 16"),
        ("plane", "cache_read X as Xc; align Xc axis 1 by 8"),
        ("blur", "align h axis 1 by 16; vectorize h.j, Y.j by 4"),
        ("blur", "align h axis 0 by 4; align h axis 1 by 4"),
        ("blur", "layout h[i, j] as [j, i]; align h axis 1 by 4"),
        ("softmax", "compute_at m, e, Y_sum at Y.i; align e axis 1 by 8"),
        ("matmul", TILES + "cache_read B[k, j] at jo as Bp layout [j % 8, k]; align Bp axis 1 by 16"),
        ("matmul", BLOCKS + "cache_read A[i, k] at ko layout [k, i]; align A_copy axis 0 by 8"),
        ("two layers", "align H axis 1 by 8; align R axis 1 by 8; vectorize R.j by 8"),
        ("attention", "align S axis 1 by 16; align p axis 1 by 16"),
        ("conv 2", "cache_read X at k as Xp fill 0; align Xp axis 2 by 8; vectorize x by 4"),
        ("scan", "align g axis 1 by 4; parallel h.i"),
    ],
    "fission": [
        ("chain", "merge e.i, Y.i; fission e.i at 1"),
        ("two layers", "merge H.i, R.i; fission H.i at 1; parallel H.i"),
        ("steps", "merge a.i, g.i; fission a.i at 1"),
        ("steps", "merge g.i, Y.i; merge a.i, g.i; fission a.i at 2"),
        ("extremes", "merge lo.i, hi.i; fission lo.i at 1; parallel lo.i"),
        ("extremes", "merge lo.i, hi.i; merge lo.j, hi.j; fission lo.j at 1"),
        ("softmax", "merge m.i, e.i; fission m.i at 1; parallel m.i"),
        ("scan", "merge g.t, h.t; fission g.t at 1; parallel g.t"),
        ("bytes", "merge odd.i, Y.i; fission odd.i at 1; parallel odd.i"),
        ("attention", "merge m.i, p.i; merge m.i, l.i; fission m.i at 2"),
    ],
    "merge": [
        ("chain", "merge e.i, Y.i"),
        ("chain", "merge e.i, Y.i; vectorize e.i by 8"),
        ("chain", "split e.i by 4; split Y.i by 4; merge e.io, Y.io; merge e.ii, Y.ii"),
        ("steps", "merge a.i, g.i; merge a.i, Y.i; parallel a.i"),
        ("steps", "merge a.i, g.i; merge a.j, g.j"),
        ("extremes", "merge lo.i, hi.i; merge lo.j, hi.j; vectorize lo.j by 4"),
        ("softmax", "merge m.i, e.i; merge m.i, Y_sum.i; merge e.j, Y_sum.k"),
        ("softmax", "merge e.i, Y_sum.i; merge e.j, Y_sum.k; parallel e.i"),
        ("layer norm", "merge d.i, v_sum.i; merge d.j, v_sum.j; merge v.i, Y.i; parallel d.i"),
        ("layer norm", "merge mu_sum.i, mu.i; parallel mu_sum.i"),
        ("scan", "merge g.t, h.t"),
        ("two layers", "merge H.i, R.i; merge H.j, R.j"),
        ("attention", "merge p.i, l.i; merge p.i, A.i; parallel p.i"),
        ("causal", "merge m.i, p.i; merge m.i, l.i"),
    ],
    "rfactor": [
        ("dot", "split i by 4; rfactor ii of Y; vectorize Y_part.ii"),
        ("dot", "split i parts 4; rfactor io of Y as P; parallel P.io"),
        ("rows", "split j by 8; rfactor ji of Y as P; reorder P.i, P.jo, P.ji; vectorize P.ji"),
        ("rows", "split j parts 2; rfactor jo of Y as P; parallel P.jo"),
        (
            "columns",
            "split i parts 4; reorder io, j, ii; rfactor io of Y as P; parallel P.io; vectorize P.j by 4",
        ),
        ("matmul", "split k by 4; reorder ko, i, j; rfactor ko of C as P; parallel P.ko"),
        ("matmul", "split k parts 2; rfactor ko of C; parallel C_part.i"),
        ("matvec", "split k by 4; rfactor ki of Y as P; parallel P.i"),
        ("triangle", "split j by 4; rfactor ji of Y as P"),
        ("extremes", "split hi.j by 4; rfactor hi.ji of hi as P; split lo.j by 2; rfactor lo.jo of lo as Q"),
        ("conv 2", "rfactor c of Y as P; parallel P.c"),
        ("bag", "split Y.i parts 2; rfactor io of Y as P; parallel P.io"),
        ("attention", "split A.j parts 2; rfactor A.jo of A as B; parallel B.jo"),
        ("softmax", "split Y_sum.k by 4; rfactor ki of Y_sum as P; vectorize P.ki"),
    ],
    "prefetch": [
        ("plane", "prefetch X at j ahead 1 of i"),
        ("plane", "prefetch X at i"),
        ("scale", "split i by 16; prefetch X at io ahead 4"),
        ("scale", "vectorize i by 8; prefetch X at io ahead 2"),
        ("matmul", "reorder i, k, j; prefetch B at k ahead 2"),
        ("matmul", BLOCKS + "prefetch A at ki ahead 1 of ko; unroll ii"),
        ("matmul", BLOCKS + "vectorize ji; prefetch B at ki ahead 4"),
        ("rows", "split j by 8; prefetch X at jo ahead 2"),
        ("softmax", "compute_at m, e, Y_sum at Y.i; split m.j by 8; prefetch X at jo ahead 1 of Y.i"),
        ("embedding", "prefetch ids at Y.i ahead 8"),
        ("conv 2", "prefetch X at y ahead 1; prefetch F at c"),
        ("transpose", "prefetch X at j ahead 8"),
        ("scan", "prefetch X at g.t ahead 2"),
    ],
    "stream": [
        ("scale", "stream Y"),
        ("scale", "vectorize i by 8; stream Y"),
        ("plane", "stream Y; fuse i, j into f; vectorize f by 16; parallel fo"),
        ("transpose", "tile i, j by 4, 8 into io, jo, ii, ji; vectorize ji; stream Y"),
        ("matmul", TILES + "cache_write C at jo as Ct in register; vectorize ji, Ct.j; stream C"),
        ("chain", "stream e, Y; vectorize e.i, Y.i by 4"),
        ("steps", "compute_at a, g at Y.i; vectorize Y.j by 8; stream Y"),
        ("embedding", "vectorize j by 8; stream Y; parallel Y.i"),
        ("softmax", "compute_at m, e, Y_sum at Y.i; vectorize Y.j by 8; stream Y"),
        ("dense", C_TILES + "compute_at P, Y at jo; vectorize Y.j; stream Y"),
        ("bytes", "vectorize Y.j by 16; stream Y"),
        ("scan", "vectorize g.i by 4; stream g"),
    ],
    "bind": [
        ("scale", "split i by 32; bind io to block.x; bind ii to thread.x"),
        ("plane", "bind i to block.y; split j by 32; bind jo to block.x; bind ji to thread.x"),
        ("matmul", "tile i, j by 4, 8 into io, jo, ii, ji; bind io to block.y; bind jo to block.x"),
        ("matmul", TILES + "bind io to block.y; bind jo to block.x order grouped; bind ji to thread.x"),
        ("matmul", BLOCKS + "bind io to block.x; cache_read A at ko in shared; cache_read B at ko in shared"),
        ("rows", "bind i to block.x; vectorize j by 4"),
        (
            "transpose",
            "tile i, j by 4, 8 into io, jo, ii, ji; bind io to block.x; bind ii to thread.y; unroll ji by 2",
        ),
        ("softmax", "compute_at m, e, Y_sum at Y.i; bind Y.i to block.x"),
        (
            "batched",
            "bind b to block.z; bind i to block.y; split j by 8; bind jo to block.x; bind ji to thread.x",
        ),
        ("conv 2", "fuse k, y into f; bind f to block.x; bind x to thread.x"),
        ("chain", "split Y.i by 4; compute_at e at Y.io; bind Y.io to block.x; bind Y.ii to thread.x"),
        ("scan", "bind g.t to block.x; bind g.i to thread.x; bind h.i to thread.x"),
        ("matmul", TILES + "bind jo to block.x; bind ii to warp; bind ji to lane"),
        ("plane", "fuse i, j into f; split f by 4; bind fo to block.x order persistent"),
    ],
    "fold": [
        ("states", "fold h by 2"),
        ("states", "fold h by 5"),
        ("states", "split t by 4; fold h by 2"),
        ("states", "fold h by 2; vectorize h.i by 4"),
        ("states", "fold h by 2; parallel h.i"),
        ("far states", "fold h by 4"),
        ("rnn", "fold h by 2"),
        ("rnn", "fold h by 1; vectorize h.i by 4"),
        ("chain", "merge e.i, Y.i; fold e by 1"),
        ("window", "compute_at e at Y.i keep Y.i; fold e by 3"),
        ("window", "compute_at e at Y.i keep Y.i; fold e by 4"),
        ("blur", "compute_at h at Y.i keep Y.i; fold h by 4"),
    ],
    "pipeline": [
        ("plane", "cache_read X[r, c] at i as Xc; pipeline i depth 2"),
        ("plane", "split i by 4; cache_read X[r, c] at io as Xc; pipeline io depth 3"),
        ("plane", "fuse i, j into f; split f by 8; cache_read X[r, c] at fo as Xc; pipeline fo depth 2"),
        ("matmul", BLOCKS + "cache_read A at ko; cache_read B at ko; pipeline ko depth 2"),
        ("matmul", BLOCKS + "cache_read A at ko; cache_read B at ko; parallel io; pipeline ko depth 3"),
        (
            "matmul",
            BLOCKS
            + "cache_read A at ko; cache_read B[k, j] at ko layout [j, k]; unroll ii; pipeline ko depth 2",
        ),
        ("matmul", "cache_read A at i; pipeline i depth 2"),
        ("transpose", "cache_read X at i; pipeline i depth 2; vectorize Y.j by 4"),
        ("rows", "split j by 4; cache_read X at jo as Xc in stack; pipeline jo depth 2"),
        ("softmax", "compute_at m, e, Y_sum at Y.i; cache_read X[r, c] at Y.i as Xc; pipeline Y.i depth 2"),
        ("conv 2", "cache_read X at k as Xp fill 0; pipeline k depth 2"),
        (
            "batched",
            "cache_read A at i as Ac; cache_read B at b as Bc; pipeline i depth 2; pipeline b depth 2",
        ),
    ],
    "use": [
        ("two calls", "use halves of B"),
        ("two calls", "use halves of T; use halves of B"),
        ("two calls", "use halves of T; parallel T.i"),
        ("two calls", "inline T_e; use halves of B"),
        ("network", "use linear of B"),
        ("network", "use relu of B_relu"),
        ("same schedule", "use linear of C"),
        ("same schedule", "use linear of C; parallel io"),
        ("norms", "use norm of B"),
        ("norms", "use norm of B; use norm of C"),
        ("norms", "use norm of B; use norm of C; use norm of C_norm"),
    ],
    "specialize": [
        ("scale", "specialize N % 8 == 0 { split i by 8; vectorize ii }; split i by 4"),
        ("scale", "specialize N <= 8 { unroll i by 8 }; vectorize i by 8"),
        ("plane", "specialize M == 1 { parallel j }; parallel i"),
        ("plane", "split i by 4; specialize N % 4 == 0 { vectorize j by 4 }; parallel io"),
        ("plane", "specialize N >= 8 { specialize N % 8 == 0 { vectorize j by 8 }; vectorize j by 4 }"),
        (
            "matmul",
            "tile i, j by 4, 8 into io, jo, ii, ji; specialize M % 4 == 0 and N % 8 == 0 { unroll ii }; vectorize ji",
        ),
        ("matmul", "specialize K <= 4 { reorder k, i, j }; split k by 4; reorder ko, i, j, ki"),
        ("softmax", "specialize N <= 8 { compute_at m, e, Y_sum at Y.i }; parallel Y.i"),
        ("conv 2", "specialize W >= 4 { split x by 4 tail shift; vectorize xi }; parallel k"),
        ("blur", "specialize M > 4 or N > 4 { compute_at h at Y.i keep Y.i }; inline h"),
        ("scale", "specialize N == 0 { parallel i }; split i by 4 tail peel"),
        ("scan", "specialize T == 1 { vectorize h.i by 4 }; reorder h.i, h.t"),
    ],
    "online": [
        ("softmax", "inline e; online j, Y_sum.k of m, Y_sum at Y.i by 4"),
        ("softmax", "inline e; online j, Y_sum.k of m, Y_sum at Y.i by 8; parallel Y.i"),
        ("log-sum-exp", "online j of m, l at Y.i by 4"),
        ("log-sum-exp", "online j of m, l at Y.i by 8 into jo, ji; vectorize m.ji, l.ji"),
        ("log-sum-exp", "split Y.i by 4; online j of m, l at Y.io by 4"),
        ("attention", "online j of m, l, A at O.i by 4"),
        ("attention", "online j of m, l, A at O.i by 4; parallel O.i"),
        ("attention", "split O.i by 4; online j of m, l, A at O.io by 8; parallel O.io"),
        ("attention", "online j of m, l, A at O.i by 4; vectorize A.c by 4"),
        ("causal", "online j of m, l, A at O.i by 4"),
        ("causal", "split O.i by 2; online j of m, l, A at O.io by 4; parallel O.io"),
        ("sliding", "online j of m, l, A at O.i by 4; parallel O.i"),
        ("sliding", "split O.i by 4; online j of m, l, A at O.io by 2; vectorize A.c by 4; parallel O.io"),
    ],
    "tensorize": [
        ("quantized", LANES + "tensorize ji, q as vpdpbusd; unroll ii"),
        ("quantized", "split j by 16; reorder i, jo, k, ji, q; tensorize ji, q as vpdpbusd"),
        ("quantized", "split j by 8; reorder i, jo, k, ji, q; tensorize ji, q as vpdpbusd; parallel i"),
        ("quantized", "split j by 32; reorder i, jo, k, ji, q; tensorize ji, q as vpdpbusd"),
        ("quantized", LANES + "cache_read A[a, b, c] at io; tensorize ji, q as vpdpbusd"),
        ("quantized", LANES + "parallel io; tensorize ji, q as vpdpbusd; unroll ii"),
        ("quantized", "split k by 2; " + LANES.replace("k,", "ko, ki,") + "tensorize ji, q as vpdpbusd"),
        (
            "quantized rows",
            "split j by 16; split k by 4; cache_read B[j, k] as Bp layout [j // 16, k // 4, j % 16, k % 4]; "
            "reorder i, jo, ko, ji, ki; tensorize ji, ki as vpdpbusd",
        ),
        ("brain pairs", "split j by 16; reorder i, jo, k, ji, q; tensorize ji, q as vdpbf16ps"),
        ("brain pairs", LANES + "tensorize ji, q as vdpbf16ps; unroll ii"),
        ("brain pairs", "split j by 8; reorder i, jo, k, ji, q; tensorize ji, q as vdpbf16ps; parallel i"),
    ],
    "compensate": [
        ("signed", "compensate C"),
        ("signed", "compensate C; split C_product.j by 4; vectorize ji; parallel C.i"),
        (
            "signed",
            "compensate C; split C_product.j by 16; split C_product.k by 4; "
            "cache_read B[k, j] as Bp layout [j // 16, k // 4, j % 16, k % 4]; "
            "reorder C_product.i, jo, ko, ji, ki; tensorize ji, ki as vpdpbusd",
        ),
        ("zero points", "compensate C; compute_at C_product, C_left_sum at C.i"),
        ("signed", "compensate C; compute_at C_product at C.i; vectorize C.j by 8"),
        ("signed", "compensate C; split C_left.d1 by 16; vectorize d1i; parallel C_left.d0"),
        ("zero points", "compensate C; parallel C_product.i; unroll C_right_sum.k by 4"),
        ("zero points", "compensate C; split C_product.k by 4; reorder ko, C_product.i, C_product.j, ki"),
        ("zero points", "compensate C; inline C; vectorize Y.j by 4; compute_at C_product at Y.i"),
        ("zero points", "split Y.i by 2; compensate C; vectorize C_left.d1 by 8"),
    ],
    "precompute": [
        ("weights", "precompute U"),
        ("weights", "precompute U, z"),
        ("weights", "precompute a; inline z"),
        ("weights", "vectorize U.i by 4; precompute U"),
        ("weights", "precompute z; split Y.j by 4; vectorize ji"),
        ("weights", "precompute n; compute_at U at Y.i"),
        ("dense", "cache_read B[k, j] as Bp layout [j // 8, k, j % 8]; precompute Bp"),
        ("dense", "compute_at P at Y.i; cache_read b as bc; precompute bc"),
        ("conv 2", "cache_read F[k, c, r, s] as Fp layout [c, r, s, k]; precompute Fp; vectorize Y.k by 4"),
        (
            "conv 2",
            "cache_read F[k, c, r, s] as Fp layout [k // 4, c, r, s, k % 4]; parallel Fp.k; precompute Fp",
        ),
        ("winograd", "precompute U"),
        ("winograd", "fuse U.k, U.a into f; precompute U; parallel Y.i"),
    ],
    "swizzle": [
        ("blur", "align h axis 1 by 16; swizzle h by 4"),
        ("blur", "align h axis 1 by 32; swizzle h; vectorize Y.j by 4"),
        ("blur", "layout h[i, j] as [j, i]; align h axis 1 by 8; swizzle h by 2"),
        ("softmax", "align e axis 1 by 32; swizzle e by 8; vectorize e.j by 4"),
        ("two layers", "align H axis 1 by 16; swizzle H by 4; parallel H.i"),
        ("attention", "align S axis 1 by 32; swizzle S; align p axis 1 by 16; swizzle p by 4"),
        ("plane", "cache_read X as Xc; align Xc axis 1 by 8; swizzle Xc by 2"),
        ("matmul", "cache_read A as Ap in shared; align Ap axis 1 by 16; swizzle Ap by 4; parallel C.i"),
        ("matmul", BLOCKS + "cache_read B at io as Bp in shared; align Bp axis 1 by 32; swizzle Bp"),
        ("transpose", "cache_read X as Xc; align Xc axis 1 by 32; swizzle Xc by 8; vectorize Y.j by 4"),
        ("scan", "align g axis 1 by 16; swizzle g by 4"),
    ],
    "distribute": [
        ("steps", PARTS + "distribute g like a"),
        ("steps", PARTS + "distribute a like g"),
        ("steps", PARTS + "bind io to block.y; bind jo to block.x; distribute g like a"),
        ("steps", PARTS + "distribute g like a; unroll ii; vectorize ji"),
        ("steps", PARTS + "cache_write Y at jo as Yt in register; distribute Yt like a; distribute g like a"),
        ("steps", PARTS + "cache_write Y at jo as Yt in register; distribute g like a; distribute Yt like g"),
        ("steps", PARTS + "layout g[i, j] as [j, i]; distribute g like a; bind io to block.x"),
        (
            "edges",
            "split Y.j by 4; compute_at v at Y.jo in register; "
            "cache_write Y at jo as Yt in register; distribute Yt like v",
        ),
        (
            "dense",
            C_TILES
            + "compute_at P, Y at jo; set_scope C in register; set_scope P in register; distribute P like C",
        ),
        (
            "plane",
            "tile i, j by 4, 8 into io, jo, ii, ji; cache_read X at jo as Xr in register fill 0; "
            "cache_write Y at jo as Yr in register; distribute Yr like Xr",
        ),
    ],
}
