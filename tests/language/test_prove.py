"""The questions that a tensor compiler asks about indices: what must be proved, what must not be."""

from __future__ import annotations

import ast
import itertools
from functools import reduce

import pytest

from te.ir import context
from te.ir.bounds import NO_FACTS, Facts, bounds, counterexample, evaluate, magnitude_limit, prove
from te.ir.expr import BOOL, Cast, Const, Expr, Load, Op, Select, Var, integer
from te.ir.simplify import simplify
from te.ir.types import F32, F64, I32, I64, U8
from te.ir.visit import loads

OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.BitAnd: "&",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.And: "and", ast.Or: "or",
}  # fmt: skip


def parse(text: str) -> Expr:
    """An expression from Python text. `ids[i]` is an i64 load, `px[i]` a u8 one, `f32(i)` a cast."""
    return from_python(ast.parse(text, mode="eval").body)


def from_python(node: ast.AST) -> Expr:
    match node:
        case ast.Name(id=name):
            return Var(name)
        case ast.Constant(value=bool(value)):
            return Const(value, BOOL)
        case ast.Constant(value=value):
            return integer(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            return integer(-value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Op("neg", (from_python(operand),), I64)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return Op("not", (from_python(operand),), BOOL)
        case ast.BinOp(left=left, op=op, right=right):
            return Op(OPERATORS[type(op)], (from_python(left), from_python(right)), I64)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            sides = [from_python(side) for side in (left, *rights)]
            links = [
                Op(OPERATORS[type(op)], pair, BOOL)
                for op, pair in zip(ops, itertools.pairwise(sides), strict=True)
            ]
            return reduce(lambda a, b: Op("and", (a, b), BOOL), links)
        case ast.BoolOp(op=op, values=values):
            return reduce(
                lambda a, b: Op(OPERATORS[type(op)], (a, b), BOOL), [from_python(v) for v in values]
            )
        case ast.Call(func=ast.Name(id="where"), args=args):
            return Select(*[from_python(arg) for arg in args])
        case ast.Call(func=ast.Name(id="i64"), args=[arg]):
            return Cast(from_python(arg), I64)
        case ast.Call(func=ast.Name(id="f32"), args=[arg]):
            return Cast(from_python(arg), F32)
        case ast.Call(func=ast.Name(id=name), args=args):
            return Op(name, tuple(from_python(arg) for arg in args), I64)
        case ast.Subscript(value=ast.Name(id=name), slice=index):
            dtype = {"px": U8, "i32s": I32}.get(name, I64)
            return Load(name, (from_python(index),), dtype)
    raise AssertionError(ast.dump(node))


def facts_of(text: str) -> Facts:
    """`i < N; 2 <= j < 5; require N % 8 == 0`: ranges as in a program, then assumptions."""
    facts = NO_FACTS
    for part in filter(None, (part.strip() for part in text.split(";"))):
        if part.startswith("require "):
            facts = facts.with_assumption(parse(part.removeprefix("require ")))
            continue
        node = ast.parse(part, mode="eval").body
        assert isinstance(node, ast.Compare)
        sides = [node.left, *node.comparators]
        low = from_python(sides[0]) if len(sides) == 3 else integer(0)
        name = sides[-2]
        assert isinstance(name, ast.Name)
        assert isinstance(node.ops[-1], ast.Lt)
        facts = facts.with_range(name.id, low, simplify(Op("-", (from_python(sides[-1]), integer(1)), I64)))
    return facts


PROVED = [
    # extents and constants
    ("i < N", "i < N"),
    ("i < N", "i >= 0 and i + 1 <= N"),
    ("i < N - 1", "i + 1 < N"),
    ("i < N", "N >= 1"),
    ("", "N >= 0 and N*M >= 0"),
    ("j < N; require N <= 100", "j <= 99"),
    ("require N >= 4", "N != 0 and not (N < 3)"),
    # split
    ("io < N // 8; ii < 8; require N % 8 == 0", "8*io + ii < N"),
    ("io < (N + 7) // 8; ii < 8; require N % 8 == 0", "8*io + ii < N"),
    ("io < (N + 7) // 8; ii < 8; require 8*io + ii < N", "8*io + ii < N"),
    ("io < (N + 7) // 8", "8*io < N"),
    ("io < (N + 7) // 8; ii < min(8, N - 8*io)", "8*io + ii < N and 8*io + ii >= 0"),
    ("io < N // 8; ii < 8", "8*io + ii < N"),
    ("io < N // 8", "8*io + 7 < N"),
    ("require 8*io + 8 <= N; ii < 8", "8*io + ii < N"),
    ("require N % 12 == 0", "N // 12 * 12 == N and N % 4 == 0 and (N + 11) // 12 == N // 12"),
    ("require N % 8 == 0; require N % 12 == 0", "N % 24 == 0"),
    ("require N % 8 == 4", "N % 4 == 0 and N >= 4 and N // 8 * 8 + 4 == N"),
    ("require (N + 2) % 4 == 0", "(N + 6) % 4 == 0 and 4*((N + 2) // 4) == N + 2"),
    ("require M % P == 0; require P >= 1; io < M // P; ii < P", "io*P + ii < M"),
    ("io < (N + 15) // 16; im < 4; ii < 4; require 16*io + 4*im + ii < N", "16*io + 4*im < N"),
    ("ko < (K + 255) // 256; ki < min(256, K - 256*ko)", "256*ko + ki < K"),
    ("i < 5; require N == 8", "i < N and N // 8 == 1"),
    # shift: the last tile moves inward
    ("io < (N + 7) // 8; ii < 8; require N >= 8", "max(0, min(8*io, N - 8)) + ii < N"),
    ("io < (N + 7) // 8; ii < 8; require ii < N", "max(0, min(8*io, N - 8)) + ii < N"),
    ("io < (N + 7) // 8; ii < 8", "max(0, min(8*io, N - 8)) + ii >= 0"),
    # fuse
    ("f < N*M", "f // M < N and f % M < M and f // M >= 0 and f % M >= 0"),
    ("f < A*B*C", "f // (B*C) < A and f // C % B < B and f % C < C"),
    ("i < N; j < M", "i*M + j < N*M and (i*M + j) // M == i and (i*M + j) % M == j"),
    ("i < N; j < M; k < K", "(i*M + j)*K + k < N*M*K"),
    ("f < 4*N; g < 8", "8*f + g < 32*N"),
    # convolution
    ("y < H - R + 1; r < R", "y + r < H"),
    ("y < (H - R) // stride + 1; r < R; require stride >= 1", "y*stride + r < H"),
    ("y < (H - 3) // 2 + 1; r < 3", "2*y + r < H and 2*y + r >= 0"),
    (
        "y < (H + 2*pad - R) // stride + 1; r < R; require stride >= 1",
        "y*stride + r - pad < H + pad and y*stride + r - pad >= 0 - pad",
    ),
    (
        "y < (H + 2*pad - R) // stride + 1; r < R; require y*stride + r - pad >= 0 and y*stride + r - pad < H",
        "0 <= y*stride + r - pad < H",
    ),
    ("y < H // 2; x < 2", "2*y + x < H"),
    # stencils
    ("i < N", "0 <= min(max(i - 1, 0), N - 1) < N"),
    ("i < N", "0 <= max(0, min(i + 1, N - 1)) < N"),
    ("i < N; require i >= 1", "0 <= i - 1 < N"),
    ("i < N", "0 <= where(i >= 1, i - 1, 0) < N"),
    ("i < N", "not (i >= 1) or i - 1 >= 0"),
    ("t < T; require t > 0", "t - 1 >= 0 and t - 1 < t"),
    # concatenation, reversal, triangles
    ("i < M + N; require not (i < M)", "0 <= i - M < N"),
    ("i < P; require P == M + N; require i >= M", "i - M < N"),
    ("i < N", "0 <= N - 1 - i < N"),
    ("i < N; j < i + 1", "j < N and j <= i"),
    ("i < N; j < N; require j <= i", "i - j >= 0 and i - j < N"),
    ("i < N; j < i", "i >= 1 and N >= 2"),
    # other facts
    ("j < K; require K <= M and M <= N", "j < N"),
    ("require M <= N and N <= K and K <= P", "M <= P"),
    ("require M <= N", "M*K <= N*K and M*3 <= 3*N + 1"),
    ("i < M; require N >= 0", "N*i <= N*(M - 1)"),
    ("require 2*x <= 2*y + 1", "x <= y"),
    ("", "2*M != 2*N + 1"),
    ("i < N; require N % 2 == 0", "2*(i // 2) + 1 < N"),
    ("i < 7", "3*(i // 4) + i % 4 <= 6"),
    ("require x >= 0", "x // 4 >= x // 8 and x % 8 <= x"),
    ("require N >= 1; require x >= 0", "x % N < N and x % N >= 0 and x // N <= x"),
    ("", "x % N >= 0 and x % N <= N"),
    ("f < N", "f // M < N"),  # also for M == 0
    ("g < G; c < C // G; require C % G == 0", "g*(C // G) + c < C"),
    ("i < min(M, N)", "i < M and i < N"),
    ("require N >= 1 and M >= 1", "N*M >= N and N*M + 1 >= N + M"),
    ("j < N; require i == 0", "i*N + j < N"),
    # tiles of tiles, windows, packed layouts, attention, threads
    ("a < (N + 63)//64; b < 8; c < 8; require 64*a + 8*b + c < N", "64*a + 8*b < N and 64*a < N"),
    (
        "io < (N + 63)//64; im < (min(64, N - 64*io) + 7)//8; ii < 8; require 8*im + ii < min(64, N - 64*io)",
        "64*io + 8*im + ii < N and 8*im + ii < 64",
    ),
    ("io < (N + 63)//64; im < (min(64, N - 64*io) + 7)//8", "64*io + 8*im < N"),
    ("io < (N + 63)//64; im < (min(64, N - 64*io) + 7)//8", "im < 8"),
    ("yo < (H + 7)//8", "min(8*yo + 8, H) - 8*yo <= 8 and min(8*yo + 8, H) - 8*yo >= 1"),
    (
        "yo < (H + 7)//8",
        "min(8*yo + 9, H) - max(8*yo - 1, 0) <= 10 and min(8*yo + 9, H) - max(8*yo - 1, 0) >= 1",
    ),
    (
        "yo < (H + 7)//8; y < min(8, H - 8*yo); require H >= 2",
        "0 <= max(8*yo + y - 1, 0) - max(8*yo - 1, 0) < 10",
    ),
    (
        "yo < (H + 7)//8; y < min(8, H - 8*yo)",
        "min(8*yo + y + 1, H - 1) - max(8*yo - 1, 0) < 10 and min(8*yo + y + 1, H - 1) - max(8*yo - 1, 0) >= 0",
    ),
    ("io < (N+7)//8; ii < 8", "(8*io + ii) - 8*io < 8 and (8*io+ii)//8 == io and (8*io+ii)%8 == ii"),
    ("", "(N + 7)//8*8 >= N and N - N//8*8 < 8 and (N+7)//8 - 1 <= N//8 and (N+7)//8 >= N//8"),
    ("", "(N + 7)//8*8 < N + 8"),
    ("i < (N+7)//8*8; require i < N", "i // 8 < (N + 7)//8"),
    ("i < N", "i // 8 < (N + 7)//8 and i % 8 < 8"),
    ("i < N", "i // P < (N + P - 1)//P or P == 0"),
    ("i < N; require P >= 1", "i // P < (N + P - 1)//P"),
    (
        "io < (N + P - 1)//P; ii < P; require io*P + ii < N",
        "io*P + ii < N and (io*P+ii)//P == io and (io*P+ii)%P == ii",
    ),
    ("io < (N + P - 1)//P; ii < P", "io*P < N"),
    (
        "jo < (N+15)//16; ko < (K+255)//256; i < M; ji < 16; ki < min(256, K-256*ko)",
        "0 <= jo*16*K + (256*ko+ki)*16 + ji",
    ),
    ("jo < N//16; k < K; ji < 16", "jo*16*K + k*16 + ji < N*K"),
    ("jo < (N+15)//16; k < K; ji < 16", "(jo*K + k)*16 + ji < (N+15)//16*K*16"),
    ("n < B; c < C; y < H; x < W", "((n*C + c)*H + y)*W + x < B*C*H*W"),
    ("f < B*C*H*W", "f//(C*H*W) < B and f//(H*W)%C < C and f//W%H < H and f%W < W"),
    ("f < H*W", "f//W*W + f%W == f"),
    ("n < B; c < C; y < H; x < W", "(((n*C + c)*H + y)*W + x)//(H*W)%C == c"),
    ("y < (H + 2*1 - 3)//1 + 1; r < 3; require y*1 + r - 1 >= 0; require y*1+r-1 < H", "y + r - 1 < H"),
    ("y < (H - 1)//2 + 1", "2*y < H"),
    ("y < (H - 2)//2 + 1; r < 2", "2*y + r < H"),
    ("i < 2*N; require i % 2 == 0", "i//2 < N and i + 1 < 2*N"),
    ("i < M + N + K; require not (i < M); require not (i < M + N)", "0 <= i - M - N < K"),
    ("i < N; j < N; require i + j < N", "N - 1 - i - j >= 0"),
    ("t < T; require t >= 1", "t - 1 < T and t - 1 >= 0"),
    ("i < M; j < N; require i >= 1 and j >= 1", "0 <= i - 1 < M and 0 <= j - 1 < N"),
    ("i < N; require N % 4 == 0", "i//4 < N//4 and 4*(i//4) + 3 < N"),
    ("io < N//4; require N % 4 == 0", "4*io + 3 < N"),
    ("q < Q; kv < S; require q + S - Q >= kv; require S >= Q", "kv <= q + S - Q"),
    ("qo < (Q+63)//64; qi < 64; jo < min((S+63)//64, qo + 1); ji < 64", "64*jo <= 64*qo"),
    ("h < Hq; require Hq % Hk == 0; require Hk >= 1; require Hq >= 1", "h // (Hq // Hk) < Hk"),
    ("hk < Hk; g < Hq//Hk; require Hq % Hk == 0", "hk*(Hq//Hk) + g < Hq"),
    ("i < N; d < D; require D % 2 == 0; p < D//2", "2*p + 1 < D and p + D//2 < D"),
    ("io < (N+7)//8; require N >= 8", "min(8*io, N-8) + 7 < N and min(8*io, N - 8) >= 0"),
    ("x < max(M, N); require not (x < M)", "x < N"),
    ("i < min(M, N)", "i < M"),
    ("i < 10; j < 3; require N == 3*10", "3*i + j < N"),
    ("i < N; require 1 <= i < N - 1", "i + 1 < N and i - 1 >= 0"),
    ("k < 2*R + 1; i < N", "0 <= min(max(i + k - R, 0), N-1) < N"),
    ("i < N; k < i//2 + 1", "2*k <= i and k <= i"),
    ("l < 5; i < N // 2; require N % 2 == 0", "2*i+1 < N"),
    ("w < 32; r < 4; b < (N + 127)//128; require b*128 + w*4 + r < N", "(b*32 + w)*4 + r < N"),
    ("t < 128", "t // 32 < 4 and t % 32 // 4 < 8 and t % 4 < 4 and 8*(t//32) + t%32//4 < 32"),
    ("t < 128", "(t // 32)*32 + (t % 32 // 4)*4 + t % 4 == t"),
    ("i < N; j < i + 1", "i*(i+1)//2 + j <= N*(N+1)//2"),
    ("i < N; j < M; require N*M <= 1000", "i*M + j < 1000"),
    ("require N <= 64; i < N", "i < 64"),
    ("require N < 65 and N % 8 == 0", "N <= 64"),
    ("require N > 0; require N % 16 == 0", "N >= 16"),
    ("require M >= 8; require M % 8 == 0; io < M//8 - 1", "8*io + 15 < M"),
    ("e < E; require E >= 1; i < offs[e]", "i >= 0"),
    ("ko < K // 64; p < 3", "(ko + p) % 3 < 3"),
    ("i < N", "where(i < M, i, 0) < M or M == 0"),
    ("i < N; require M >= 1", "where(i < M, i, 0) < M"),
    ("i < N", "(i + N - 1) % N < N"),
    ("i < N; require i > 0", "(i + N - 1) % N == i - 1"),
    ("i < N; require s < N", "(i + s) % N < N"),
    # data
    ("require ids[i] >= 0 and ids[i] < N", "ids[i] >= 0 and ids[i] <= N and N >= 1"),
    ("require ids[i] + 1 < N", "ids[i] + 1 < N"),
    ("require N >= 1", "0 <= min(max(ids[i], 0), N - 1) < N"),
    ("", "0 <= i64(px[i]) < 256 and 0 <= ids[i] % 8 < 8"),
    ("require f32(i) < f32(j)", "f32(i) < f32(j)"),
    ("require ids[i] == 3 or ids[i] == 4", "ids[i] == 3 or ids[i] == 4"),
]

NOT_PROVED = [
    ("i < N", "i + 1 < N"),
    ("i < N", "i >= 1"),
    ("", "N >= 1"),
    ("", "x % N < N"),  # N may be 0
    ("io < (N + 7) // 8; ii < 8", "8*io + ii < N"),
    ("io < (N + 7) // 8; ii < 8", "max(0, min(8*io, N - 8)) + ii < N"),
    ("io < (N + 7) // 8", "8*io + 7 < N"),
    ("io < N // 8 + 1", "8*io < N"),
    ("y < (H - R) // stride + 1; r < R", "y*stride + r + 1 < H"),
    ("y < (H + 2*pad - R) // stride + 1; r < R; require stride >= 1", "y*stride + r - pad >= 0"),
    ("i < M + N", "i - M >= 0"),
    ("i < M + N; require i >= M", "i - M < M"),
    ("i < N; j < N", "j <= i"),
    ("i < N; j < M", "i*M + j < N*M - 1"),
    ("i < N", "min(i - 1, N) >= 0"),
    ("i < N", "min(max(i - 1, 0), N - 2) >= 0"),
    ("require N % 8 == 0", "N % 16 == 0"),
    ("require N % 8 == 4", "N % 4 == 1"),
    ("require M <= N", "M < N"),
    ("require M*K <= N*K", "M <= N"),  # K may be 0
    ("require 2*x <= 2*y + 2", "x <= y"),
    ("", "x // 2 + x // 2 == x"),
    ("", "x*x >= 1"),
    ("require ids[i] >= 0", "ids[i] + 1 >= 0"),  # wraps
    ("require ids[i] >= 0", "ids[j] >= 0"),
    ("", "ids[i] - ids[i] + i64(px[i]) < 255"),
    ("require i < N or i < M", "i < N"),
    ("require f32(i) < f32(j)", "f32(i) <= f32(j)"),
    ("", "abs(ids[i]) >= 0"),  # the smallest i64 has none
]


@pytest.mark.parametrize(("facts", "condition"), PROVED)
def test_proved(facts: str, condition: str) -> None:
    assert prove(parse(condition), facts_of(facts))


@pytest.mark.parametrize(("facts", "condition"), NOT_PROVED)
def test_not_proved(facts: str, condition: str) -> None:
    assert not prove(parse(condition), facts_of(facts))


@pytest.mark.parametrize(("facts", "condition"), NOT_PROVED)
def test_a_counterexample_is_found(facts: str, condition: str) -> None:
    told, e = facts_of(facts), parse(condition)
    found = counterexample(e, told)
    if any(loads(e)) or "f32" in condition:
        assert found is None
        return
    assert found is not None
    assert not evaluate(e, found)
    assert all(evaluate(assumption, found) for assumption in told.assumptions)
    for name, low, high in told.ranges:
        assert evaluate(low, found) <= found[name] <= evaluate(high, found)


@pytest.mark.parametrize(("facts", "condition"), PROVED)
def test_no_counterexample_to_what_holds(facts: str, condition: str) -> None:
    assert counterexample(parse(condition), facts_of(facts)) is None


def test_counterexamples_read_well() -> None:
    def find(facts: str, condition: str, *sizes: str) -> dict[str, int] | None:
        return counterexample(parse(condition), facts_of(facts), sizes)

    assert find("i < N", "i + 1 < N") == {"N": 4, "i": 3}
    assert find("i < N", "i - 1 >= 0") == {"N": 4, "i": 0}
    assert find("i < N; j < K", "i < M") == {"M": 4, "N": 5, "K": 4, "i": 4, "j": 0}
    assert find("", "N >= 1", "K") == {"N": 0, "K": 4}
    assert find("require N % 12 == 0", "N % 8 == 0") == {"N": 36}
    assert find("i < N; require N == 2*M + 1", "2*i < N") == {"M": 4, "N": 9, "i": 8}
    assert find("", "N < 100") == {"N": 100}


# ---------------------------------------------------------------- simplify

SIMPLIFIED = [
    ("", "ii + io*8", "8*io + ii"),
    ("", "N + -1", "N - 1"),
    ("", "N - 1 - i + 2*i", "N + i - 1"),
    ("", "-i + 5", "5 - i"),
    ("", "0 - i", "-i"),
    ("", "i*(N + 1) - i", "N*i"),
    ("", "(H + 2*pad + 2 - 2*pad) // 2", "H // 2 + 1"),
    ("", "(N - 1) // 8 + 1", "(N + 7) // 8"),
    ("", "(x // 4) // 2", "x // 8"),
    ("", "8*(x // 8) + x % 8", "x"),
    ("", "x - 8*(x // 8)", "x % 8"),
    ("", "(2*x + 1) // 2", "x"),
    ("", "(x*6) // 6 + (x*6) % 6", "x"),
    ("", "(x // 4) % 8", "(x // 4) % 8"),
    ("", "x % 1 + x // 1 + x % 0 + x // 0", "x"),
    ("", "x // -8", "(-x) // 8"),
    ("", "(N*i + j) // N", "(N*i + j) // N"),  # N may be 0
    ("i < M; j < N", "(N*i + j) // N", "i"),
    ("i < M; j < N", "(N*i + j) % N", "j"),
    ("i < N", "(i + N) % N", "i"),
    ("i < N", "(N - 1 - i) % N", "N - i - 1"),
    ("io < N // 8; ii < 8", "(8*io + ii) // 8 + (8*io + ii) % 8", "ii + io"),
    ("b < 4; c < 4", "(16*a + 4*b + c) // 8", "2*a + b // 2"),
    ("f < H*W", "f // W % H", "f // W"),
    ("require M % 12 == 0", "(M + 11) // 12 * 12 + M % 4", "M"),
    ("require M % 12 == 0", "M // 4", "M // 4"),
    ("require N == 16", "(N + 7) // 8 * i", "2*i"),
    ("i < 1", "N*i + 3", "3"),
    ("i < N", "max(0, min(i, N - 1))", "i"),
    ("", "min(i + 8, i + N) - i", "min(N, 8)"),
    ("", "min(min(a, b) + 1, c)", "min(min(a + 1, b + 1), c)"),
    ("i < 4", "abs(i) + abs(-i)", "2*i"),
    ("i < N", "where(i >= 1, max(i - 1, 0), 0)", "where(i >= 1, i - 1, 0)"),
    ("i < N", "where(i < N, i, 7)", "i"),
    ("", "i + 1 <= N", "i < N"),
    ("", "0 <= i - 1", "i >= 1"),
    ("", "4*i < 2*N + 2", "2*i <= N"),
    ("i < N", "i >= 0 and i + 1 < N", "i < N - 1"),
    ("i < N", "i >= N or i == M", "i == M"),
    ("", "not (i < N and True)", "N <= i"),
    ("i < M", "not (i < N)", "i >= N"),
    ("y < Y; r < R", "y*stride + r - pad >= 0", "stride*y + r >= pad"),
    ("i < M", "N == i + 1", "i + 1 == N"),
    ("", "ids[i + 0] + 0*i", "ids[i] + 0"),
    ("", "ids[2*i - i] % 8 + 0", "ids[i] % 8 + 0"),
    ("i < 8", "ids[i // 8] < 3", "ids[0] < 3"),
    ("", "min(ids[i], 7) <= 7", "True"),
    ("", "i64(3) + f32(2*i - i)", "3 + f32(i)"),
]


@pytest.mark.parametrize(("facts", "before", "after"), SIMPLIFIED)
def test_simplified(facts: str, before: str, after: str) -> None:
    assert simplify(parse(before), facts_of(facts)) == parse(after)


def test_unchanged_expressions_keep_their_identity() -> None:
    e = parse("8*io + ii")
    assert simplify(e) is e
    load = Load("X", (e, parse("i")), F32)
    assert simplify(Op("*", (load, load), F32)) == Op("*", (load, load), F32)


def test_floats_are_left_alone() -> None:
    x = Load("X", (Var("i"),), F32)
    zero = Const(0.0, F32)
    for e in (Op("+", (x, zero), F32), Op("*", (x, zero), F32), Op("-", (x, x), F32), Op("<", (x, x), BOOL)):
        assert simplify(e) == e
    assert simplify(Select(parse("i < i + 1"), x, zero)) == x


@pytest.mark.parametrize(
    ("cast", "expected"),
    [
        (Cast(Const(300, I64), U8), Const(44, U8)),
        (Cast(Const(-1, I64), U8), Const(255, U8)),
        (Cast(Const(float("nan"), F32), I32), Const(0, I32)),
        (Cast(Const(1e20, F32), I32), Const(2**31 - 1, I32)),
        (Cast(Const(-2.7, F64), I32), Const(-2, I32)),
        (Cast(Const(3, I32), F32), Const(3.0, F32)),
        (Cast(Const(0.1, F64), F32), Const(0.10000000149011612, F32)),
        (Cast(Const(-0.0, F64), F32), Const(-0.0, F32)),
        (Cast(Const(True, BOOL), I64), Const(1, I64)),
        (Cast(Const(2, I64), BOOL), Const(True, BOOL)),
        (Cast(Const(2**24 + 1, I64), F32), None),  # rounds: left to the backend
        (Cast(Const(1e300, F64), F32), Const(float("inf"), F32)),
    ],
)
def test_casts_of_constants_fold(cast: Cast, expected: Const | None) -> None:
    assert simplify(cast) == (cast if expected is None else expected)


def test_narrow_integers_wrap_when_they_fold() -> None:
    assert simplify(Op("+", (Const(200, U8), Const(100, U8)), U8)) == Const(44, U8)
    assert simplify(Op("//", (Const(-(2**31), I32), Const(-1, I32)), I32)) == Const(-(2**31), I32)
    assert simplify(Op("<", (Const(200, U8), Const(100, U8)), BOOL)) == Const(False, BOOL)
    assert simplify(Op("<<", (Const(3, U8), Const(9, U8)), U8)) == Const(6, U8)


# ---------------------------------------------------------------- bounds

BOUNDS = [
    ("i < N", "i", "i", "0", "N - 1"),
    ("i < N", "8*i + 3", "i", "3", "8*N - 5"),
    ("i < N", "N - 1 - i", "i", "0", "N - 1"),
    ("io < (N + 7) // 8; ii < 8", "8*io + ii", "ii", "8*io", "8*io + 7"),
    ("io < (N + 7) // 8; ii < 8", "8*io + ii", "ii, io", "0", "8*((N + 7) // 8) - 1"),
    ("io < (N + 7) // 8; ii < 8; require 8*io + ii < N", "8*io + ii", "ii, io", "0", "N - 1"),
    ("io < (N + 7) // 8; ii < 8; require 8*io + ii < N", "8*io + ii", "ii", "8*io", "min(N - 1, 8*io + 7)"),
    ("i < N", "i // 8", "i", "0", "(N - 1) // 8"),
    ("i < N", "i % 8", "i", "0", "7"),
    ("f < N", "f % M", "f", "0", "max(M - 1, 0)"),
    ("y < Y; r < 3", "2*y + r - 1", "r", "2*y - 1", "2*y + 1"),
    ("y < Y; r < R", "y*stride + r - pad", "y, r", "-pad", "Y*stride + R - pad - stride - 1"),
    ("i < N", "min(max(i - 1, 0), N - 1)", "i", "0", "max(0, N - 2)"),
    ("i < N; j < i + 1", "j", "j", "0", "i"),
    ("i < N; j < i + 1", "i - j", "j, i", "0", "N - 1"),
    ("i < N", "(M - K)*i", "i", "min(0, (M - K)*(N - 1))", "max(0, (M - K)*(N - 1))"),
    ("i < N", "ids[i]", "i", None, None),
    ("i < N", "i64(px[i])", "i", "0", "255"),
    ("i < N; require ids[i] < K", "ids[i]", "i", None, "K - 1"),
    ("i < N", "i", "N", "i", "i"),
    ("", "N", "N", "0", None),
]


@pytest.mark.parametrize(("facts", "of", "over", "low", "high"), BOUNDS)
def test_bounds(facts: str, of: str, over: str, low: str | None, high: str | None) -> None:
    told = facts_of(facts)
    found = bounds(parse(of), told, [name.strip() for name in over.split(",")])
    assert found == tuple(None if end is None else simplify(parse(end), told) for end in (low, high))


# ---------------------------------------------------------------- values and magnitudes


def test_evaluate() -> None:
    values = {"i": 7, "N": 0, "M": -3}
    for text, value in [
        ("i // M", -3),
        ("i % M", -2),
        ("i // N + i % N", 0),
        ("min(i, M) + max(i, M) + abs(M)", 7),
        ("where(i < N, 1, -i)", -7),
        ("i < N or not (M > 0) and i != 6", True),
        ("i & 3", 3),
    ]:
        assert evaluate(parse(text), values) == value
    with pytest.raises(ValueError, match="ids"):
        evaluate(parse("ids[i]"), values)
    with pytest.raises(KeyError):
        evaluate(parse("K"), values)


def test_magnitude_limit() -> None:
    def limit(*texts: str, facts: str = "") -> int:
        return magnitude_limit([parse(text) for text in texts], facts_of(facts))

    assert limit("N") == 2**62
    assert limit("N + M") == 2**61
    assert limit("N*M", "K") == 2**31
    assert limit("N*M*K") == 2**20  # a power of two
    assert limit("i*8 + 7", facts="i < N") == 2**59
    assert limit("i*M + j", facts="i < N; j < M") == 2**31
    assert limit("i", facts="i < N*M*0 + N*M") == 2**31
    assert limit("i % M + i // M", facts="i < 1000") == 2**62
    assert limit("ids[N*M] + 5*i", facts="i < N") == 2**31
    assert limit("where(i < N*N, 0, 1)", facts="i < 4") == 2**31
    assert limit("4611686018427387904 * 2") == 0


class TestFactsThatGrow:
    """What is known is taken over from the facts around, also where a divisor may be 0."""

    def around(self) -> Facts:
        facts = NO_FACTS.with_range("g", integer(0), parse("G - 1")).with_assumption(parse("H // P <= 7"))
        return facts.with_range("h", integer(0), parse("H // G - 1"))

    @pytest.mark.parametrize("question", ["h < H // G", "h + 1 <= H // G", "H // P <= 8", "H // G >= 1"])
    def test_a_doubtful_divisor_stays_understood(self, question: str) -> None:
        grown = self.around().with_range("i", integer(0), parse("N - 1")).with_assumption(parse("i < M"))
        fresh = Facts(grown.ranges, grown.assumptions)  # that know nothing of those around
        assert prove(parse(question), grown)
        assert prove(parse(question), fresh)

    def test_a_divisor_that_is_told_to_be_positive_is_one_for_what_was_known_before(self) -> None:
        facts = NO_FACTS.with_assumption(parse("H % P == 0")).with_range("i", integer(0), parse("H // P - 1"))
        assert prove(parse("i * P < H"), facts.with_assumption(parse("P >= 1")))

    def test_the_facts_around_are_not_worked_out_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        built: list[Facts] = []
        build = context._build

        def counted(facts: Facts, *prior: context._Prior) -> context.Context:
            built.append(facts)
            return build(facts, *prior)

        monkeypatch.setattr(context, "_build", counted)
        outer = self.around()
        context.context_of(outer)
        built.clear()
        inner = outer.with_range("i", integer(0), parse("N - 1")).with_assumption(parse("i < M"))
        assert prove(parse("h < H // G"), inner)
        assert not built
