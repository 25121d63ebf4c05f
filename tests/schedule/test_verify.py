"""The verifier: sound programs pass, and each broken rule is named."""

from dataclasses import replace

import pytest

from te.ir.expr import Cast, Const, Load, Op, Select, Var, add, compare, integer
from te.ir.loop import (
    FINAL,
    PARALLEL,
    UNROLLED,
    VECTOR,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Let,
    Seq,
    Store,
    seq,
)
from te.ir.tensor import Axis, Reduction, Requirement, identity
from te.ir.types import BOOL, F32, F64, I32, I64, LITERAL_INT, U8
from te.ir.verify import InvalidIR, verify_kernel, verify_program
from te.ir.visit import rewrite
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.hand_built import Builder, read
from tests.schedule.scheduling import scheduled

FLOATS = dict.fromkeys(["A", "B", "C", "T", "R", "X", "Y"], F32)


def e(text, literals=None):
    """An expression over loop variables `stage.index`, written `stage_index`."""
    return rewrite(
        read(text, FLOATS, literals), lambda n: Var(n.name.replace("_", ".")) if isinstance(n, Var) else n
    )


def matmul():
    b = Builder("matmul").input("A", F32, "M", "K").input("B", F32, "K", "N")
    return b.define("C", F32, "i < M, j < N", "A[i, k] * B[k, j]", "sum", "k < K").program()


def stencil():
    b = Builder("stencil").input("X", F32, "N").require("N >= 2")
    b.define("T", F32, "i < N - 1", "X[i + 1] - X[i]")
    b.define("m", F32, "", "T[i]", "max", "i < N - 1")
    return b.define("Y", F32, "i < N", "where(i > 0 and i < N - 1, T[i] + T[i - 1], 0.0) / m").program()


def triangle():
    b = Builder("triangle").input("X", F32, "N").input("I", I64, "M")
    b.define("Y", F32, "i < N", "X[i - j]", "sum", "j < N", "j <= i")
    return b.define("G", F32, "m < M", "where(I[m] >= 0 and I[m] < N, Y[I[m]], 0.0)").program()


# ---------------------------------------------------------------- what passes


@pytest.mark.parametrize("program", [matmul(), stencil(), triangle()], ids=lambda p: p.name)
def test_sound_programs_pass(program):
    verify_program(program)
    verify_kernel(nest(program))


def test_a_scheduled_kernel_passes():
    """Uneven splits with guards, a register tile, fused loops: what directives make."""
    i, k = "C_io * 6 + C_ii", "C_ko * 4 + C_ki"
    update = If(
        e(f"{i} < M"),
        If(e(f"{k} < K"), accumulate(f"A[{i}, {k}] * B[{k}, C_j]", f"{i}, C_j", over="C.ko C.ki")),
    )
    body = loop("C.ii", "6", loop("C.j", "N", update), UNROLLED)
    body = loop("C.ko", "(K + 3) // 4", loop("C.ki", "4", body, over=True), over=True)
    verify_kernel(kernel(loop("C.io", "(M + 5) // 6", body, PARALLEL)))
    fused = Let(
        "C.i",
        e("C_f // N"),
        e("M"),
        Let("C.j", e("C_f % N"), e("N"), loop("C.k", "K", accumulate(), over=True)),
    )
    verify_kernel(kernel(loop("C.f", "M * N", fused, PARALLEL)))


def test_a_final_kernel_passes():
    tile = Alloc(
        Buffer("R", F32, (integer(4), integer(8)), "register"),
        seq(
            loop(
                "C.ii",
                "4",
                loop("C.jj", "8", Store("R", (e("C_ii"), e("C_jj")), e("A[0, 0]"), "C"), VECTOR),
                UNROLLED,
            ),
            loop(
                "C.ii",
                "4",
                loop("C.jj", "8", Store("C", (e("C_ii"), e("C_jj")), e("R[C_ii, C_jj]"), "C"), VECTOR),
                UNROLLED,
            ),
        ),
    )
    verify_kernel(replace(kernel(tile), level=FINAL))


# ---------------------------------------------------------------- tensor IR


def with_value(value, **changes):
    program = matmul()
    return replace(program, stages=(replace(program.stages[0], value=value, **changes),))


def changed(**changes):
    return replace(matmul(), **changes)


A = Load("A", (Var("i"), Var("k")), F32)
ZERO = identity("sum", F32)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (changed(results=("D",)), "no stage defines the result `D`"),
        (changed(results=()), "there is no result"),
        (changed(stages=matmul().stages * 2), "two things are called"),
        (changed(sizes=("M", "N")), "no variable `K` is in scope"),
        (changed(requirements=(Requirement(integer(1), "1"),)), "a requirement is no condition"),
        (with_value(Load("D", (), F32)), "no buffer `D` is in scope"),
        (with_value(Load("A", (Var("i"),), F32)), "`A` has 2 axes, not 1"),
        (with_value(Load("A", (Var("i"), Const(0.0, F32)), F32)), "is an index and a f32"),
        (with_value(Load("A", (Var("i"), Var("k")), F64)), "`A` holds f32, not f64"),
        (with_value(Cast(A, F64)), "f32 is given a f64"),
        (with_value(Op("+", (A, Const(1.0, F64)), F32)), r"the operands of `\+` are f32 and f64"),
        (with_value(Op("+", (A,), F32)), r"`\+` takes 2 operands, not 1"),
        (with_value(Op("%", (A, A), F32)), "`%` takes no f32"),
        (with_value(Op("<", (A, A), F32)), "`<` of f32 is bool, not f32"),
        (with_value(Op("softplus", (A,), F32)), "there is no operator `softplus`"),
        (with_value(Select(A, A, A)), "a selection by f32"),
        (
            with_value(Select(compare("<", A, A), A, Const(1, I64))),
            "the sides of a selection are f32 and i64",
        ),
        (with_value(Cast(Const(256, U8), F32)), "256 does not fit u8"),
        (with_value(Cast(Const(0.5, I32), F32)), "0.5 is no i32"),
        (with_value(Cast(Const(1, LITERAL_INT), F32)), "no values of type integer literal"),
        (with_value(Cast(Var("q"), F32)), "no variable `q` is in scope"),
        (
            with_value(Load("A", (Var("i"), add(Var("k"), integer(1))), F32)),
            r"lies outside axis 1 of `A`, of extent K",
        ),
        (
            with_value(Load("A", (Var("i"), Op("-", (Var("k"), integer(1)), I64)), F32)),
            "lies outside axis 1 of `A`",
        ),
        (with_value(A, axes=(Axis("i", Var("M")), Axis("i", Var("N")))), "an index occurs twice"),
        (with_value(A, axes=(Axis("M", Var("M")), Axis("j", Var("N")))), "an index hides a size"),
        (with_value(A, axes=(Axis("i", Var("M")),)), "the axes do not fit the shape"),
        (with_value(A, axes=(Axis("i", Var("M")), Axis("j", Var("M")))), "axis `j` does not span"),
        (
            with_value(A, reduction=Reduction("argsum", (Axis("k", Var("K")),))),
            "there is no reducer `argsum`",
        ),
        (with_value(A, reduction=Reduction("any", (Axis("k", Var("K")),))), "`any` takes no f32"),
        (with_value(A, reduction=Reduction("sum", (Axis("k", Var("K")),), A)), "`where` is no condition"),
    ],
)
def test_broken_programs(program, message):
    with pytest.raises(InvalidIR, match=message) as caught:
        verify_program(program)
    assert "report" in str(caught.value)
    assert "matmul" in str(caught.value)


def test_stages_stand_in_dependence_order():
    program = stencil()
    with pytest.raises(InvalidIR, match="no buffer `m` is in scope"):
        verify_program(replace(program, stages=program.stages[:1] + program.stages[:0:-1]))


def test_guards_are_facts():
    """The guard that makes a read legal, removed."""
    program = stencil()
    last = program.stages[-1]
    bare = rewrite(last.value, lambda n: n.then if isinstance(n, Select) else n)
    with pytest.raises(InvalidIR, match="lies outside axis 0 of `T`, of extent N - 1, for N = "):
        verify_program(replace(program, stages=(*program.stages[:-1], replace(last, value=bare))))
    triangular = triangle()
    first = triangular.stages[0]
    free = replace(first, reduction=replace(first.reduction, where=Const(True, BOOL)))
    with pytest.raises(InvalidIR, match="`i - j` lies outside axis 0 of `X`"):
        verify_program(replace(triangular, stages=(free, triangular.stages[1])))


# ---------------------------------------------------------------- loop IR


def kernel(body):
    return Kernel(matmul(), nest(matmul()).arguments, body)


def loop(var, extent, body, kind="serial", over=False):
    return For(var, e(extent), body, kind, is_reduction=over)


def store(value="0.5", index="C_i, C_j", buffer="C"):
    return Store(buffer, tuple(e(i) for i in index.split(",") if i), e(value, F32), "C")


def accumulate(value="A[C_i, C_k] * B[C_k, C_j]", index="C_i, C_j", over="C.k", start=ZERO):
    return Accumulate(
        "C", tuple(e(i) for i in index.split(",")), "sum", e(value), frozenset(over.split()), start, "C"
    )


def nested(body, kinds=("serial",) * 3, extents=("M", "N", "K")):
    i, j, k = kinds
    inner = loop("C.k", extents[2], body, k, over=True)
    return loop("C.i", extents[0], loop("C.j", extents[1], inner, j), i)


def in_registers(body, *shape):
    return Alloc(Buffer("R", F32, tuple(e(s) for s in shape), "register"), body)


BROKEN_KERNELS = [
    (Seq(()), "nothing writes the result `C`"),
    (nested(accumulate(index="C_i, C_i")), "`C.i` lies outside axis 1 of `C`, of extent N, for "),
    (nested(If(e("C_i + 1 < M"), accumulate(index="C_i + 2, C_j"))), r"`C.i \+ 2` lies outside axis 0"),
    (nested(accumulate(value="A[C_i, C_k] * B[C_k, C_q]")), "no variable `C.q` is in scope"),
    (nested(accumulate(value="A[C_i, C_k + 1]")), "lies outside axis 1 of `A`, of extent K, for"),
    (nested(accumulate(index="C_i, C_k * 0")), "which element it is depends on its reduction loops"),
    (nested(accumulate(over="C.k C.q")), r"\['C.q'\] are not around the statement"),
    (nested(accumulate(over="C.j")), "it reduces over a data loop"),
    (nested(accumulate(start=Const(0.0, F64))), "the start has another type"),
    (nested(replace(accumulate(), reducer="all")), "`all` takes no f32"),
    (nested(accumulate(), kinds=("serial", "serial", PARALLEL)), "trips of a reduction run at the same time"),
    (
        nested(accumulate(), kinds=(VECTOR, "serial", "serial")),
        "the extent of an unrolled or vector loop is not constant",
    ),
    (
        nested(accumulate(), kinds=("serial", UNROLLED, "serial")),
        "the extent of an unrolled or vector loop is not constant",
    ),
    (loop("C.i", "4", loop("C.j", "8", store(), VECTOR), VECTOR), "a vector loop in a vector loop"),
    (nested(accumulate(), kinds=("sideways", "serial", "serial")), "there is no kind `sideways`"),
    (loop("C.i", "M", loop("C.i", "N", store())), "`C.i` hides a variable of that name"),
    (loop("M", "M", store()), "`M` hides a variable"),
    (seq(*[loop("C.i", "M", loop("C.j", "N", store()))] * 2), "two loops are called"),
    (Alloc(Buffer("C", F32, (), "global"), nested(accumulate())), "two buffers are called"),
    (Alloc(Buffer("T", F32, (), "elsewhere"), nested(accumulate())), "there is no scope `elsewhere`"),
    (in_registers(nested(accumulate()), "M"), "registers need constant shapes"),
    (nested(store(index="C_i, C_k", buffer="A")), "the input `A` is written"),
    (loop("C.i", "M", store(index="C_i, 0", buffer="D")), "no buffer `D` is in scope"),
    (loop("C.i", "M", store(index="C_i")), "`C` has 2 axes, not 1"),
    (loop("C.i", "M", store(value="f64(C_i)", index="C_i, 0")), "f32 is given a f64"),
    (
        in_registers(loop("C.i", "M", loop("C.j", "N", store("R[0]"))), "1"),
        "`R` is read before anything writes it",
    ),
    (loop("C.i", "M", If(e("C_i"), store(index="C_i, 0"))), "a guard is i64"),
    (Let("C.i", Const(1, I32), e("M"), store()), "an extent is i32"),
]


@pytest.mark.parametrize(("body", "message"), BROKEN_KERNELS, ids=[m for _, m in BROKEN_KERNELS])
def test_broken_kernels(body, message):
    with pytest.raises(InvalidIR, match=message) as caught:
        verify_kernel(kernel(body))
    assert "kernel matmul" in str(caught.value)


def test_a_buffer_that_does_not_outlive_the_reduction():
    update = replace(accumulate(value="f32(C_k)"), buffer="T", index=())
    inner = Alloc(Buffer("T", F32, (), "global"), seq(update, store(value="T", index="0, 0")))
    with pytest.raises(InvalidIR, match="does not outlive a trip of the reduction"):
        verify_kernel(kernel(loop("C.k", "K", inner, over=True)))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (nested(accumulate()), "a start is left"),
        (loop("C.i", "M", loop("C.j", "8", seq(store(), store()), VECTOR)), "holds more than a statement"),
        (
            loop("C.i", "M", Alloc(Buffer("T", F32, (), "global"), store(index="C_i, 0"))),
            "allocated inside a loop",
        ),
        (
            loop("C.i", "4", in_registers(seq(store(index="0", buffer="R"), store("R[C_i]", "C_i, 0")), "4")),
            "a register of `R` is chosen by a variable",
        ),
        (
            loop(
                "C.j",
                "4",
                in_registers(loop("C.i", "4", store(index="C_i, 0", buffer="R"), VECTOR), "4", "4"),
            ),
            "a register of `R` is chosen by a variable",
        ),
    ],
)
def test_broken_final_kernels(body, message):
    with pytest.raises(InvalidIR, match=message):
        verify_kernel(replace(kernel(body), level=FINAL))


def test_loops_may_share_names_at_the_final_level():
    body = seq(*[loop("C.i", "M", loop("C.j", "N", store()))] * 2)
    verify_kernel(replace(kernel(body), level=FINAL))


def test_arguments_are_the_ops():
    k = nest(matmul())
    with pytest.raises(InvalidIR, match="the arguments are not the op's"):
        verify_kernel(replace(k, arguments=k.arguments[1:]))
    with pytest.raises(InvalidIR, match="there is no level"):
        verify_kernel(replace(k, level="draft"))


def test_a_range_that_a_let_states():
    """`C.i` is known to be an index of C, so nothing is refuted, though `C.f` alone says less."""
    body = Let("C.i", e("C_f // 8"), e("M"), loop("C.j", "N", store()))
    verify_kernel(kernel(loop("C.f", "8 * M", body)))
    wrong = Let("C.i", e("C_f // 8"), e("M + 1"), loop("C.j", "N", store()))
    with pytest.raises(InvalidIR, match=r"`C\.i` lies outside axis 0 of `C`"):
        verify_kernel(kernel(loop("C.f", "8 * M + 1", wrong)))


def test_a_register_may_be_chosen_by_parts_of_an_unrolled_loop() -> None:
    text = "op f(X: f32[M, N]) -> Y: f32[N, M] { Y[j, i] = X[i, j] + X[i, j // 2] * f32(j % 2) }"
    lines = "tile Y.i, Y.j by 8, 4\ncache_write Y at Y.jo as U in register\nfuse Y.ii, Y.ji into f"
    verify_kernel(finalize(scheduled(text, lines)))
