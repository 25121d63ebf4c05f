"""The questions that a tensor compiler asks about indices: what must be proved, what must not be."""

from __future__ import annotations

import ast
import itertools
from functools import reduce

import pytest

from te.ir.bounds import NO_FACTS, Facts, prove
from te.ir.expr import BOOL, Cast, Const, Expr, Load, Op, Select, Var, integer
from te.ir.simplify import simplify
from te.ir.types import F32, I32, I64, U8

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
