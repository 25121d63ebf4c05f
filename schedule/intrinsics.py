"""Intrinsics: what an instruction computes, said by an op.

    op dot_u8_i8(A: u8[L, 4], B: i8[L, 4], C: i32[L]) -> D: i32[L] {
        require L == 4 or L == 8 or L == 16
        D[l] = C[l] + sum[k](i32(A[l, k]) * i32(B[l, k]))
    }

    intrinsic vpdpbusd on llvm.avx512_vnni = dot_u8_i8

`read_meaning` reads such an op as a `Meaning`: in each of its lanes `l`, or in each place of its rows and
columns, the instruction adds the sum over its axis `k` to an accumulator. What a size of the op may be, the
op requires.

The instructions that te ships stand in `te/std/x86.te` and `te/std/cuda.te`, their code in
`backends/llvm/intrinsics.py` and `backends/cuda/prelude/matrices.cuh`. A file may declare them again, by an op of
its own; that the op says what the instruction does is checked here, so a declaration cannot make a schedule wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from te.diagnostics import CompileError, Diagnostic, ScheduleError, Source, Span, did_you_mean, error
from te.elaborate.elaborate import elaborate
from te.elaborate.modules import STANDARD_LIBRARY
from te.grammar import tree
from te.grammar.parser import parse_file
from te.ir.evaluate import evaluate
from te.ir.expr import TRUE, Cast, Const, Expr, Load, Op, Select, Var
from te.ir.loop import Accumulate, For
from te.ir.print import print_expr
from te.ir.tensor import Axis, Program, Stage, Tensor
from te.ir.visit import loads, rewrite, variables
from te.schedule.names import index_of

FILES = ("x86", "cuda")  # of the standard library

# What an instruction does beyond its op. It is no rounding of a sum, so it takes math="fast".
DEVIATIONS = {
    "vdpbf16ps": "takes denormal numbers, those below 2**-126, for 0",
    "mma_m16n8k8_tf32": "takes the first 11 bits of each factor",
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """`result[data] = accumulator[data] + sum[k](term)`, for the points of the axes `data` and `k`.

    With one axis of data, the lanes of a vector, `term` reads each operand at `[lane, k]`; an operand's register
    holds its elements in that order. With two, the rows and columns of a matrix, it reads one operand along rows
    and `k`, and one along `k` and columns; the lanes of a warp hold those (`te.schedule.fragments`).
    """

    name: str
    target: str  # what a target must satisfy to have the instruction
    program: Program
    data: tuple[Axis, ...]
    k: Axis
    result: str
    term: Expr
    operands: tuple[Tensor, ...]
    accumulator: Tensor

    @property
    def is_matrix(self) -> bool:
        return len(self.data) == 2

    @property
    def lane(self) -> Axis:
        """The axis of the lanes of a vector."""
        (lane,) = self.data
        return lane

    @property
    def tile(self) -> dict[str, int]:
        """The extents of a matrix instruction, by axis."""
        return {a.name: int(a.extent.value) for a in (*self.data, self.k) if isinstance(a.extent, Const)}

    def axes_of(self, operand: Tensor) -> tuple[str, ...]:
        """The axes along which the instruction takes an operand, or its accumulator."""
        if operand == self.accumulator:
            return tuple(axis.name for axis in self.data)
        (load,) = (load for load in loads(self.term) if load.buffer == operand.name)
        return tuple(i.name for i in load.index if isinstance(i, Var))

    @property
    def terms(self) -> int:
        """How many terms the instruction adds in each lane."""
        assert isinstance(self.k.extent, Const)
        return int(self.k.extent.value)

    def allows(self, lanes: int) -> bool:
        """Whether the instruction exists for so many lanes."""
        if isinstance(self.lane.extent, Const):
            return lanes == self.lane.extent.value
        values = dict.fromkeys(self.program.sizes, lanes)
        return all(evaluate(r.condition, values) for r in self.program.requirements)

    def width(self, lanes: int) -> int | None:
        """The lanes of the widest instruction that divides so many; None where none does."""
        return max((n for n in range(1, lanes + 1) if lanes % n == 0 and self.allows(n)), default=None)

    @property
    def lanes_text(self) -> str:
        """Which numbers of lanes it exists for, in words."""
        conditions = " and ".join(r.text for r in self.program.requirements)
        return f"{print_expr(self.lane.extent)} lanes" + (f" where {conditions}" if conditions else "")

    def __str__(self) -> str:
        at = tuple(Var(axis.name) for axis in self.data)
        return shown_step(Load(self.result, at, self.accumulator.dtype), self.term)


# ---------------------------------------------------------------- those that te ships


@cache
def shipped() -> Mapping[str, Meaning]:
    """The instructions of the standard library, by name."""
    found = {}
    for name in FILES:
        path = STANDARD_LIBRARY / f"{name}.te"
        file = parse_file(Source(str(path), path.read_text(encoding="utf-8")))
        for item in _items(file):
            found[item.name] = read_meaning(item, file)
    return found


def find_intrinsic(name: str, span: Span | None) -> Meaning:
    """The instruction of that name."""
    known = shipped()
    if name not in known:
        raise ScheduleError(_unknown(name, span))
    return known[name]


def _unknown(name: str, span: Span | None) -> Diagnostic:
    known = shipped()
    there_are = f"the instructions are {', '.join(f'`{n}`' for n in known)}"
    suggestion = did_you_mean(name, known)
    return error(
        "unknown-intrinsic",
        f"te has no code for an instruction `{name}`",
        span,
        "no such instruction",
        help=f"{suggestion}\n{there_are}" if suggestion else there_are,
    )


def _items(file: tree.File) -> Iterator[tree.Intrinsic]:
    return (item for item in file.items if isinstance(item, tree.Intrinsic))


# ---------------------------------------------------------------- declarations in other files


def wrong_intrinsics(file: tree.File) -> list[Diagnostic]:
    """What is wrong with a file's `intrinsic` items. Ops that do not compile are passed over."""
    found: list[Diagnostic] = []
    for item in _items(file):
        known = shipped().get(item.name)
        if known is None:
            found.append(_unknown(item.name, item.span))
        elif item.target != known.target:
            found.append(
                error(
                    "intrinsic-target",
                    f"`{item.name}` is an instruction of {known.target}",
                    item.span,
                    f"not of {item.target}",
                    help=f"write `intrinsic {item.name} on {known.target} = {item.op}`",
                )
            )
        else:
            found += _wrong_meaning(item, file, known)
    return found


def _wrong_meaning(item: tree.Intrinsic, file: tree.File, known: Meaning) -> list[Diagnostic]:
    """What is wrong with the op of an item, if it compiles."""
    try:
        declared = read_meaning(item, file)
    except CompileError as wrong:
        return [d for d in wrong.diagnostics if d.code.startswith("intrinsic-")]
    difference = _difference(declared, known)
    if difference is None:
        return []
    return [
        error(
            "intrinsic-meaning",
            f"`{item.op}` is not what `{item.name}` computes",
            item.span,
            difference,
            help=diff(known, str(declared)),
        )
    ]


def _difference(declared: Meaning, known: Meaning) -> str | None:
    if len(declared.data) != len(known.data):
        return f"it has {_count_axes(known)}, the op {_count_axes(declared)}"
    if known.is_matrix and [*declared.tile.values()] != [*known.tile.values()]:
        sizes = (" × ".join(map(str, m.tile.values())) for m in (known, declared))
        return "it has tiles of {} rows, columns and terms, the op of {}".format(*sizes)
    lanes = declared.data[0].extent
    if declared.terms != known.terms:
        return f"it adds {known.terms} terms, the op {declared.terms}"
    if not known.is_matrix and isinstance(lanes, Const) and not known.allows(int(lanes.value)):
        return f"there is none with {lanes.value} lanes"
    if declared.accumulator.dtype != known.accumulator.dtype:
        return f"it accumulates in {known.accumulator.dtype}, the op in {declared.accumulator.dtype}"
    return match_term(known.term, declared.term, {})


def _count_axes(meaning: Meaning) -> str:
    return "rows and columns" if meaning.is_matrix else "lanes"


def diff(meaning: Meaning, found: str) -> str:
    """What an instruction computes and, below it, what was found; a line each."""
    width = max(len(meaning.name), len("found"))
    return f"{meaning.name.ljust(width)}  {meaning}\n{'found'.ljust(width)}  {found}"


# ---------------------------------------------------------------- ops as meanings


def read_meaning(item: tree.Intrinsic, file: tree.File) -> Meaning:
    """The meaning that an item gives an instruction. Raises `CompileError` for what is none."""
    op = next((i for i in file.items if isinstance(i, tree.Op) and i.name == item.op), None)
    if op is None:
        raise CompileError(
            error(
                "intrinsic-op",
                f"`{item.op}` is no op of this file",
                item.span,
                help=f"write an op that says what `{item.name}` computes, and name it here",
            )
        )
    if op.generics:
        raise _no_meaning(item, "it has dtype variables")
    if any(param.kind == "const" for param in op.params):
        raise _no_meaning(item, "it has `const`s")
    return _meaning(item, elaborate(file, item.op))


def _meaning(item: tree.Intrinsic, program: Program) -> Meaning:
    """The parts of `D[l] = C[l] + sum[k](term)`."""
    if len(program.results) != 1 or len(program.stages) != 2:
        raise _no_meaning(item, "it is not one equation with one `sum`")
    total, result = program.stages
    r = total.reduction
    if r is None or result.reduction is not None or r.reducer != "sum":
        raise _no_meaning(item, "it is not one equation with one `sum`")
    if r.where != TRUE:
        raise _no_meaning(item, "its `sum` has a condition")
    if len(result.axes) not in (1, 2) or len(r.axes) != 1 or len(total.axes) != len(result.axes):
        raise _no_meaning(item, "it has not one axis of lanes, or of rows and columns, and one axis of terms")
    data, (k,) = total.axes, r.axes
    unknown = next((a for a in data if len(data) == 2 and not isinstance(a.extent, Const)), None)
    if unknown is not None:
        raise _no_meaning(item, f"the extent of `{unknown.name}` is no constant")
    if not isinstance(k.extent, Const) or k.extent.value < 2:
        raise _no_meaning(item, f"the extent of `{k.name}` is no constant above 1")
    accumulator = _accumulator(result, total, program)
    if accumulator is None:
        raise _no_meaning(item, "it does not add its `sum` to an element of an input")
    operands: list[Tensor] = []
    for load in loads(total.value):
        tensor = next((t for t in program.inputs if t.name == load.buffer), None)
        if tensor is None or not _is_operand(load, tensor, data, k):
            at = f"{data[0].name}, {k.name}" if len(data) == 1 else f"one of its axes and {k.name}"
            raise _no_meaning(item, f"it reads `{print_expr(load)}`, not an operand at [{at}]")
        if tensor in operands:
            raise _no_meaning(item, f"it reads `{tensor.name}` twice")
        operands.append(tensor)
    if len(data) == 2 and {i for t in operands for i in _read_at(total.value, t)} < {a.name for a in data}:
        raise _no_meaning(item, "it has not one operand of its rows and one of its columns")
    return Meaning(
        item.name, item.target, program, data, k, result.name, total.value, tuple(operands), accumulator
    )


def _read_at(term: Expr, operand: Tensor) -> set[str]:
    return {
        name
        for load in loads(term)
        if load.buffer == operand.name
        for i in load.index
        for name in variables(i)
    }


def _is_operand(load: Load, tensor: Tensor, data: Sequence[Axis], k: Axis) -> bool:
    """Whether a tensor is read whole along `[lane, k]`, or in any order along `k` and a row or column."""
    for axis in data:
        order = (axis, k)
        for along in (order, order[::-1]) if len(data) == 2 else (order,):
            at, shape = tuple(Var(a.name) for a in along), tuple(a.extent for a in along)
            if (load.index, tensor.shape) == (at, shape):
                return True
    return False


def _accumulator(result: Stage, total: Stage, program: Program) -> Tensor | None:
    """The input to which the sum is added, element by element."""
    index = tuple(Var(axis.name) for axis in result.axes)
    match result.value:
        case Op(op="+", args=(Load() as a, Load() as b)) if a.index == index == b.index:
            rest = {a.buffer, b.buffer} - {total.name}
            return next(
                (t for t in program.inputs if {t.name} == rest and t.shape == result.tensor.shape), None
            )
    return None


def _no_meaning(item: tree.Intrinsic, why: str) -> CompileError:
    return CompileError(
        error(
            "intrinsic-form",
            f"`{item.op}` cannot be what an instruction computes: {why}",
            item.span,
            help="write `D[l] = C[l] + sum[k](...)` with operands read at `[l, k]`, as te/std/x86.te does, "
            "or a product of matrices, as te/std/cuda.te does",
        )
    )


# ---------------------------------------------------------------- unification

COMMUTATIVE = ("+", "*")  # exact, whatever the numbers


def match_term(expected: Expr, found: Expr, operands: dict[str, Load]) -> str | None:
    """Unify a term with that of a meaning. None where they agree, else the first difference.

    What is read in the place of each operand goes into `operands`.
    """
    match expected, found:
        case Load(), Load() if expected.dtype == found.dtype:
            operands[expected.buffer] = found
            return None
        case Load(), Load():
            return f"{_shown(found)} is {found.dtype}, and the operand {expected.buffer} {expected.dtype}"
        case Cast(), Cast() if expected.dtype == found.dtype:
            return match_term(expected.value, found.value, operands)
        case Op(), Op() if (expected.op, expected.dtype) == (found.op, found.dtype):
            return _match_operator(expected, found, operands)
        case _ if expected == found:
            return None
        case _:
            return f"{_shown(found)} stands where the instruction has {_shown(expected)}"


def _match_operator(expected: Op, found: Op, operands: dict[str, Load]) -> str | None:
    orders = [found.args]
    if expected.op in COMMUTATIVE:
        orders.append(found.args[::-1])
    first: str | None = None
    for args in orders:
        bound: dict[str, Load] = {}
        differences = (match_term(a, b, bound) for a, b in zip(expected.args, args, strict=True))
        difference = next((d for d in differences if d is not None), None)
        if difference is None:
            operands.update(bound)
            return None
        first = first or difference
    return first


def bindings(expected: Expr, found: Expr) -> Iterator[dict[str, Load]]:
    """All ways in which a term is that of a meaning: what is read in the place of each operand."""
    match expected, found:
        case Load(), Load() if expected.dtype == found.dtype:
            yield {expected.buffer: found}
        case Cast(), Cast() if expected.dtype == found.dtype:
            yield from bindings(expected.value, found.value)
        case Op(), Op() if (expected.op, expected.dtype) == (found.op, found.dtype):
            orders = (found.args, found.args[::-1]) if expected.op in COMMUTATIVE else (found.args,)
            for args in orders:
                ways = [[*bindings(a, b)] for a, b in zip(expected.args, args, strict=True)]
                for way in product(*ways):
                    yield {name: load for part in way for name, load in part.items()}
        case _ if expected == found:
            yield {}


@dataclass(frozen=True, slots=True)
class Instruction:
    """A tensorized loop as what it is: a meaning, and what it reads and writes."""

    meaning: Meaning
    lanes: For
    step: Accumulate
    operands: tuple[Load, ...]  # in the order of the meaning's
    masks: Mapping[Load, Expr]  # the lanes in which an operand is read; it is 0 in the others


def instruction_of(s: For) -> Instruction | str:
    """The instruction that a tensorized loop is at the final level, or why it is none."""
    lanes = s.body
    step = lanes.body if isinstance(lanes, For) else None
    if s.intrinsic is None or not isinstance(lanes, For) or not isinstance(step, Accumulate):
        return "it holds more than a step of a sum"
    meaning = find_intrinsic(s.intrinsic, None)
    if (step.reducer, step.value.dtype) != ("sum", meaning.accumulator.dtype):
        return "it accumulates otherwise"
    if s.var not in step.over or lanes.var in step.over:
        return "its loops are not those of the terms and of the lanes"
    if s.extent != meaning.k.extent or not isinstance(lanes.extent, Const):
        return "its loops have other extents"
    if meaning.width(int(lanes.extent.value)) is None:
        return "its loops have other extents"
    term, masks = _without_masks(step.value)
    reads: dict[str, Load] = {}
    difference = match_term(meaning.term, term, reads)
    if difference is not None:
        return difference
    if any(s.var in variables(mask) or any(loads(mask)) for mask in masks.values()):
        return "the terms of a lane are masked"
    if step.buffer in {read.buffer for read in reads.values()}:
        return "it reads what it writes"
    return Instruction(meaning, lanes, step, tuple(reads[t.name] for t in meaning.operands), masks)


def _without_masks(term: Expr) -> tuple[Expr, dict[Load, Expr]]:
    """A term with `X[..]` for each `where(mask, X[..], 0)`, and the masks.

    Such is what a ragged tile reads, whose other lanes do not count (`finalize/ragged.py`).
    """
    masks: dict[Load, Expr] = {}

    def bare(e: Expr) -> Expr:
        match e:
            case Select(condition=mask, then=Load() as load, otherwise=Const(value=0)):
                masks[load] = mask
                return load
        return e

    return rewrite(term, bare), masks


def shown_step(target: Load, term: Expr) -> str:
    """A step of a sum as text, with the types of what it reads."""
    types = {load.buffer: load.dtype for load in loads(term)} | {target.buffer: target.dtype}
    of = ", ".join(f"{name}: {dtype}" for name, dtype in types.items())
    return f"{print_expr(target, index_of)} sum= {print_expr(term, index_of)}, with {of}"


def _shown(e: Expr) -> str:
    return f"`{print_expr(e, index_of)}`"
