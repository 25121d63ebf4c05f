"""What both IRs look like as text, and that expressions read back."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from te.diagnostics import Source
from te.elaborate.elaborate import elaborate
from te.grammar.parser import parse_file
from te.ir.expr import Cast, Const, Expr, Load, Op, Select, Var, integer
from te.ir.loop import FINAL, VECTOR, Accumulate, Alloc, Buffer, For, If, Let, Seq, Store, seq
from te.ir.print import print_expr, print_kernel, print_program, print_stmt
from te.ir.tensor import Requirement, identity
from te.ir.types import BOOL, F32, F64, I32, I64, U8
from te.ir.verify import verify_program
from te.ir.visit import rewrite, walk
from te.schedule.nest import nest
from tests.hand_built import Builder, read

TENSORS = {"X": F32, "D": F64, "I": I64, "J": I32, "P": BOOL, "s": F32}

# ---------------------------------------------------------------- expressions


def test_parentheses_stand_only_where_needed():
    texts = """
        a + b + c
        a + (b + c)
        a - (b - c)
        (a + b) * c
        a * b // c % d
        a * (b // c)
        -a * b
        -(a * b)
        -(-a)
        ~a & b
        a | b ^ c & d << e + f
        ((a | b) ^ c) & d
        a << (b << c)
        (a < b) == (c < d)
        not a < b
        not a < b and c < d or e < f
        a < b and (c < d or e < f)
        not (a < b and c < d)
        a < b and (c < d and e < f)
        X[i, j + 1] * -s
        (X[i] ** s) ** X[j]
        X[i] ** X[j] ** s
        -X[i] ** -s
        (-X[i]) ** 2.0
        max(a + b, min(c, -1))
        where(a < b, X[i], s)
        f32(a + b) * s
        X[where(i > 0, i - 1, 0)]
        isnan(X[i]) or popcount(a) == 3
    """
    for text in filter(None, map(str.strip, texts.split("\n"))):
        assert print_expr(read(text, TENSORS)) == text


@pytest.mark.parametrize(
    ("constant", "text"),
    [
        (Const(0.1, F32), "0.1"),
        (Const(0.10000000149011612, F32), "0.1"),
        (Const(0.1, F64), "0.1"),
        (Const(0.10000000149011612, F64), "0.10000000149011612"),
        (Const(1.0, F32), "1.0"),
        (Const(-0.0, F32), "-0.0"),
        (Const(3.4028234663852886e38, F32), "3.4028235e+38"),
        (Const(1.401298464324817e-45, F32), "1e-45"),
        (Const(1e300, F32), "1e+300"),
        (Const(65954152.0, F32), "65954152.0"),
        (Const(math.inf, F32), "inf"),
        (Const(-math.inf, F64), "-inf"),
        (Const(math.nan, F32), "nan"),
        (Const(-(2**63), I64), "-9223372036854775808"),
        (Const(True, BOOL), "true"),
    ],
)
def test_literals(constant, text):
    assert print_expr(constant) == text


LITERALS = {
    I64: st.integers(-(2**63), 2**63 - 1).map(lambda n: Const(n, I64)),
    F32: st.floats(width=32).map(lambda x: Const(x, F32)),
}
LEAVES = {
    I64: st.sampled_from([Var("i"), Var("N"), Load("I", (Var("i"),), I64)]) | LITERALS[I64],
    F32: st.sampled_from([Load("X", (Var("i"), integer(2)), F32), Load("s", (), F32)]) | LITERALS[F32],
    BOOL: st.sampled_from([Const(True, BOOL), Load("P", (Var("i"),), BOOL)]),
}
BINARY = {I64: "+ - * // % & | ^ << >> min max".split(), F32: "+ - * / pow min max atan2".split()}
UNARY = {I64: "neg ~ abs popcount".split(), F32: "neg exp sqrt floor".split()}
LIMIT = 4


@st.composite
def expressions(draw, dtype, depth=LIMIT) -> Expr:
    def part(dtype):
        return draw(expressions(dtype, depth - 1))

    kind = draw(st.sampled_from(["leaf", "unary", "binary", "select", "cast"])) if depth else "leaf"
    if kind == "leaf":
        return draw(LEAVES[dtype])
    if kind == "select":
        return Select(part(BOOL), part(dtype), part(dtype))
    if dtype == BOOL:
        if kind == "unary":
            return Op("not", (part(BOOL),), BOOL)
        if kind == "binary":
            return Op(draw(st.sampled_from(["and", "or"])), (part(BOOL), part(BOOL)), BOOL)
        sides = draw(st.sampled_from([I64, F32]))
        return Op(draw(st.sampled_from("< <= > >= == !=".split())), (part(sides), part(sides)), BOOL)
    if kind == "unary":
        argument = part(dtype)
        op = draw(st.sampled_from(UNARY[dtype]))
        # `-1` is a literal: the text of a negated one cannot tell.
        return argument if op == "neg" and isinstance(argument, Const) else Op(op, (argument,), dtype)
    if kind == "cast":
        value = part(I64 if dtype == F32 else F32)
        return value if isinstance(value, Const) and value.dtype == dtype else Cast(value, dtype)
    return Op(draw(st.sampled_from(BINARY[dtype])), (part(dtype), part(dtype)), dtype)


def without_typeless_parts(e: Expr) -> bool:
    """Whether every literal has a typed neighbour, which a program's texts provide and these may not."""
    for n in walk(e):
        match n:
            case Cast(value=Const()):
                return False
            case Op(args=parts) if all(isinstance(p, Const) for p in parts):
                return False
            case Select(then=Const(), otherwise=Const()):
                return False
    return True


@given(st.sampled_from([I64, F32, BOOL]).flatmap(expressions).filter(without_typeless_parts))
def test_expressions_read_back(e):
    """Python's parser has the language's precedences."""
    assert read(print_expr(e), TENSORS, e.dtype) == e


# ---------------------------------------------------------------- tensor IR


def matmul():
    b = Builder("matmul").input("A", F32, "M", "K").input("B", F32, "K", "N")
    return b.define("C", F32, "i < M, j < N", "A[i, k] * B[k, j]", "sum", "k < K", "k <= i")


def test_program():
    program = replace(matmul().require("M == N").program(), doc="Lower triangle.\n\nOf A, that is.")
    assert (
        print_program(program)
        == """\
## Lower triangle.
##
## Of A, that is.
op matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] {
    require M == N
    C[i, j] = sum[k < K where k <= i](A[i, k] * B[k, j])
}
"""
    )


def test_ranges_of_intermediates_scalars_and_several_results():
    b = Builder("normalize").input("X", F32, "N", "N + 1").input("scale", F32)
    b.define("total", F32, "", "X[i, j]", "sum", "i < N, j < N + 1")
    b.define("P", F32, "y < N + 2, x < N", "where(y < N, X[y, x], 0.5) / total")
    b.define("Y", F32, "i < N", "P[i + 2, i] * scale").define("Z", F32, "i < N", "1.0")
    assert (
        print_program(b.program("Y", "Z"))
        == """\
op normalize(X: f32[N, N + 1], scale: f32) -> Y: f32[N], Z: f32[N] {
    total = sum[i < N, j < N + 1](X[i, j])
    P[y < N + 2, x < N] = where(y < N, X[y, x], 0.5) / total
    Y[i] = P[i + 2, i] * scale
    Z[i] = 1.0
}
"""
    )


def test_literals_of_intermediates_say_their_type():
    b = Builder("typed").input("X", F32, "N")
    b.define("a", F32, "i < N", "0.5")
    b.define("b", U8, "i < N", "where(X[i] > 0, 1, 2)")
    b.define("c", I64, "i < N", "3")
    b.define("d", F32, "i < N", "X[i] * 2 + where(i < 2, 1, 0)")
    b.define("n", I32, "i < N", "1", "sum", "j < N")
    b.define("t", BOOL, "i < N", "true")
    b.define("Y", F32, "i < N", "a[i]")
    lines = print_program(b.program()).split("\n")
    assert [line.strip() for line in lines[1:7]] == [
        "a[i < N] = f32(0.5)",
        "b[i < N] = where(X[i] > 0.0, u8(1), u8(2))",
        "c[i < N] = 3",
        "d[i < N] = X[i] * 2.0 + where(i < 2, 1.0, 0.0)",
        "n[i < N] = sum[j < N](i32(1))",
        "t[i < N] = true",
    ]


def test_what_the_build_fixed():
    program = replace(
        Builder("pad").input("X", F32, "4").define("Y", F32, "i < 4", "X[i]").program(),
        fixed=(("N", 4),),
        consts=(("pad", 1), ("on", True)),
        requirements=(Requirement(read("4 >= 1"), "N >= 1"),),
    )
    assert (
        print_program(program)
        == """\
# built with N = 4, pad = 1, on = true
op pad(X: f32[4]) -> Y: f32[4] {
    require 4 >= 1
    Y[i] = X[i]
}
"""
    )


ATTENTION = """
## Softmax of scaled products.
##   With weights.
op attention(Q: f32[N, D], K: f32[M, D], V: f32[M, D], const scale: float = 0.125) -> O: f32[N, D] {
    require N >= 1 and M >= 1
    S[n, m] = sum[d](Q[n, d] * K[m, d]) * scale
    O[n, d] = sum[m](exp(S[n, m] - max[m2](S[n, m2])) * V[m, d]) / sum[m](exp(S[n, m] - max[m2](S[n, m2])))
}
"""
CONVOLUTION = """
op conv(X: f32[N, C, H, W], F: f32[K, C, R, S], b: f32[K], const stride: int = 2, const pad: int = 1)
        -> Y: f32[N, K, (H + 2*pad - R) // stride + 1, (W + 2*pad - S) // stride + 1] {
    Y[n, k, y, x] = b[k] + sum[c, r, s]((X[n, c, y*stride + r - pad, x*stride + s - pad] else 0) * F[k, c, r, s])
}
"""
MIXED = """
op mixed(X: f32[N], I: i32[N], u: u8[N], a: f32) -> Y: f32[N], Z: bool[N], W: i32[N], V: u8[N], q: f64 {
    require N % 4 == 0
    t = mean[i](X[i])
    h[i < N + 1] = where(i < N, X[i], 1.5)
    Y[i] = (X[i - 1] else -1.0) * (X[i + 1] else 0) + t ** 2 + a ** 0.5 - -X[i] + 2 ** X[i] + h[i + 1]
    Z[i] = not (X[i] > 0 and X[i] <= 1 or I[i] == 3) or isnan(X[i])
    W[i] = (I[i] << 3 | I[i] & ~7) // 3 % 5 - min(I[i], 4, -I[i])
    V[i] = u[i] ** 3 + u8(255)
    q = sum[i where i > 2](f64(X[i]) * 0.1) + f64(inf)
}
"""


@pytest.mark.parametrize("sizes", [{}, {"N": 8}], ids=["free", "fixed"])
@pytest.mark.parametrize("text", [ATTENTION, CONVOLUTION, MIXED], ids=["attention", "convolution", "mixed"])
def test_programs_read_back(text, sizes):
    def elaborated(text, **options):
        return elaborate(parse_file(Source("text.te", text)), name, **options)

    name = text.split("op ")[1].split("(")[0]
    program = elaborated(text, sizes=sizes)
    verify_program(program)
    again = elaborated(print_program(program))
    # What the build fixed and the words of a precondition do not stand in the text.
    assert again == replace(program, fixed=(), consts=(), requirements=again.requirements)
    assert [r.condition for r in again.requirements] == [r.condition for r in program.requirements]


# ---------------------------------------------------------------- loop IR


def test_plain_nest():
    assert (
        print_kernel(nest(matmul().program()))
        == """\
kernel matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N]:
  for C.i < M:
    for C.j < N:
      for C.k < K (reduce):
        if k <= i:
          C[i, j] sum= A[i, k] * B[k, j]  # from 0.0 before C.k
"""
    )


def v(text):
    """An expression over loop variables `stage.index`, written `stage_index`."""
    return rewrite(read(text, TENSORS), lambda n: Var(n.name.replace("_", ".")) if isinstance(n, Var) else n)


def test_every_statement():
    zero = identity("sum", F32)
    tile = seq(
        For(
            "T.j",
            integer(8),
            Accumulate("T", (v("T_j"),), "sum", v("X[Y_i, Y_ko * 4 + T_k]"), frozenset({"T.k"}), zero, "T"),
            VECTOR,
        ),
        Accumulate("Y", (v("Y_i"),), "max", v("X[Y_i, T_j]"), frozenset({"Y.ko"}), None, "Y"),
        Accumulate("Y", (v("Y_i"),), "max", v("X[Y_i, Y_i]"), frozenset(), v("s"), "Y_part"),
    )
    branch = If(v("Y_i < N - 1"), tile, Store("Y", (v("Y_i"),), v("s"), "Y"))
    body = For(
        "Y.ko",
        v("(K + 3) // 4"),
        Alloc(Buffer("T", F32, (integer(8),), "register"), Let("Y.i", v("Y_f // 4"), v("M"), branch)),
        is_reduction=True,
        peel=True,
    )
    assert (
        print_stmt(For("Y.f", v("M * 4"), seq(body, Seq(())), "parallel", overlaps=True))
        == """\
parallel for Y.f < M * 4 (overlaps):
  for Y.ko < (K + 3) // 4 (reduce, peel):
    alloc T: f32[8] in register:
      let Y.i < M = f // 4:
        if i < N - 1:
          vector for T.j < 8:
            T[j] sum= X[i, ko * 4 + T.k]  # from 0.0 before T.k
          Y[i] max= X[i, T.j]  # over Y.ko
          Y[i] max= X[i, i]  # from s; stage Y_part
        else:
          Y[i] = s"""
    )


def test_equal_indices_of_several_stages_keep_their_stage():
    body = For(
        "Y.i", v("M"), For("m.i", v("N"), For("m.j", v("N"), Store("m", (v("m_i"),), v("X[Y_i, m_j]"), "m")))
    )
    assert print_stmt(body).endswith("m[m.i] = X[Y.i, j]")
    assert print_stmt(Store("m", (v("m_i"),), v("s"), "m"), scope=["m.i"]) == "m[i] = s"
    assert print_stmt(Store("m", (v("m_i"),), v("s"), "m")) == "m[m.i] = s"


def test_final_level_and_names_of_sizes():
    kernel = nest(Builder("one").input("X", F32, "i").define("Y", F32, "k < i", "X[k]").program())
    body = For("Y.i", Var("i"), Store("Y", (Var("Y.i"),), Load("X", (Var("Y.i"),), F32), "Y"))
    assert (
        print_kernel(replace(kernel, level=FINAL, body=body))
        == """\
final kernel one(X: f32[i]) -> Y: f32[i]:
  for Y.i < i:
    Y[Y.i] = X[Y.i]
"""
    )
