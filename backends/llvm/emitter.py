"""The text of one LLVM function, written front to back.

Two things happen while it is written, so that no LLVM pass has to repair them afterwards (those
passes cost more time than the rest of the compiler):

- A pure instruction is written once: a second one with the same text, where the first is in
  scope, is the first.
- A pure instruction goes as far out of the loops as its operands allow. Reads of memory do too,
  as far as they are certain to be executed and no store in the loop may change them.

Scopes nest as blocks do. A loop has two: `HOIST`, the straight code that runs once before it,
and `BODY`. The code before a loop runs only if the loop has a trip, so a read that every trip
makes may stand there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from te.backends.llvm.module import ModuleText
from te.backends.llvm.values import Value, constant, shuffle_mask, suffix, type_of
from te.ir.types import BOOL, I64, DType

Lines: TypeAlias = "list[str | Lines]"

HOIST, BODY, BRANCH = "hoist", "body", "branch"
WHOLE_BODY = 1  # the depth of the scope that everything after it is in


@dataclass(slots=True)
class Scope:
    kind: str
    lines: Lines
    writes: frozenset[str] = frozenset()  # of a BODY: the buffers that the loop, or the function, stores to
    keys: list[str] = field(default_factory=list)  # what leaves `available` with this scope
    may_be_skipped: bool = False  # of a HOIST: its loop may have no trip, and then nothing in it may be read


class Emitter:
    def __init__(
        self,
        module: ModuleText,
        name: str,
        parameters: Sequence[tuple[str, Value]],
        writes: frozenset[str] = frozenset(),
    ):
        """`parameters`: attributes and values, as `("noalias", %A)`. `writes`: all buffers the function stores to."""
        self.module = module
        self.name = name
        self.parameters = parameters
        self.block = "entry"
        # The end of each instruction: its place in the `.te` text.
        self.location = module.lines.head(name) if module.lines else ""
        self.available: dict[str, Value] = {}
        self.versions: Counter[str] = Counter()
        self.allocas: Lines = []
        self._names = 0
        entry: Lines = []
        body: Lines = []
        self.lines: Lines = [self.allocas, entry, body]
        self.scopes = [Scope(HOIST, entry), Scope(BODY, body, writes)]

    # ---------------------------------------------------------------- instructions

    def fresh(self, hint: str = "") -> str:
        self._names += 1
        return f"{hint}.{self._names}" if hint else f"v{self._names}"

    def pure(
        self,
        text: str,
        dtype: DType,
        operands: Sequence[Value],
        lanes: int = 1,
        *,
        is_nonnegative: bool = False,
        costly: bool = False,
    ) -> Value:
        """An instruction without effect. A `costly` one does not leave the branch it stands in."""
        known = self.available.get(text)
        if known is not None:
            # One text may serve two dtypes: `zext i8 %v to i32` makes an i32 and a u32.
            if known.dtype == dtype:
                return known
            return replace(known, dtype=dtype, is_nonnegative=is_nonnegative)
        depth = max((v.depth for v in operands), default=0)
        if costly:
            depth = max(depth, self._innermost(BRANCH))
        self.module.count(lanes, dtype, by_lane=costly)
        return self._define(text, text, dtype, lanes, depth, is_nonnegative)

    def read(self, text: str, dtype: DType, operands: Sequence[Value], buffer: str, lanes: int = 1) -> Value:
        """A read of `buffer`; stores to it since the last read with this text make it anew."""
        key = f"{text} #{self.versions[buffer]}"
        known = self.available.get(key)
        if known is not None:
            return known
        depth = max(max((v.depth for v in operands), default=0), self._innermost(BRANCH))
        for position in range(len(self.scopes) - 1, depth, -1):
            if buffer in self.scopes[position].writes or self.scopes[position].may_be_skipped:
                depth = position
                break
        self.module.count(lanes, dtype, by_lane="gather" in text)
        return self._define(text, key, dtype, lanes, depth, False)

    def _innermost(self, kind: str) -> int:
        for position in range(len(self.scopes) - 1, 0, -1):
            if self.scopes[position].kind == kind:
                return position
        return 0

    def _define(
        self, text: str, key: str, dtype: DType, lanes: int, depth: int, is_nonnegative: bool
    ) -> Value:
        """Write `text` into the outermost scope not outside `depth` that still takes instructions."""
        last = len(self.scopes) - 1
        while depth < last and self.scopes[depth].kind != HOIST:
            depth += 1
        scope = self.scopes[depth]
        value = Value(f"%{self.fresh()}", dtype, lanes, depth, is_nonnegative=is_nonnegative)
        scope.lines.append(f"  {value.text} = {text}{self.location}")
        scope.keys.append(key)
        self.available[key] = value
        return value

    def effect(self, text: str, lanes: int = 1, dtype: DType = I64) -> None:
        """An instruction that stays where it is."""
        self.module.count(lanes, dtype)
        self.scopes[-1].lines.append(f"  {text}{self.location}")

    def result(self, text: str, dtype: DType, lanes: int = 1) -> Value:
        """An instruction that stays where it is and has a result."""
        value = Value(f"%{self.fresh()}", dtype, lanes, len(self.scopes) - 1)
        self.effect(f"{value.text} = {text}", lanes, dtype)
        return value

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """Instructions come from the line of a stage, if the module has lines."""
        outer = self.location
        if self.module.lines is not None:
            self.location = self.module.lines.location(self.name, stage) or outer
        yield
        self.location = outer

    def stored(self, buffer: str) -> None:
        """Note a store: what was read of the buffer before is stale."""
        self.versions[buffer] += 1

    def alloca(self, type: str, hint: str) -> str:
        name = f"%{self.fresh(hint)}"
        self.allocas.append(f"  {name} = alloca {type}, align 64")
        return name

    def call(
        self, name: str, dtype: DType, operands: Sequence[Value], lanes: int = 1, *, costly: bool = True
    ) -> Value:
        """A call of a function without effects."""
        result = type_of(dtype, lanes)
        self.module.declare(f"declare {result} @{name}({', '.join(v.type for v in operands)})")
        text = f"call {result} @{name}({', '.join(v.typed for v in operands)})"
        return self.pure(text, dtype, operands, lanes, costly=costly)

    def intrinsic(self, name: str, operands: Sequence[Value], *, costly: bool = False) -> Value:
        """`llvm.NAME` on operands of one type, which is the result's too."""
        first = operands[0]
        full = f"llvm.{name}.{suffix(first.dtype, first.lanes)}"
        return self.call(full, first.dtype, operands, first.lanes, costly=costly)

    # ---------------------------------------------------------------- vectors

    def splat(self, value: Value, lanes: int) -> Value:
        """The scalar in every lane; a vector stays as it is."""
        if value.lanes == lanes:
            return value
        if value.constant is not None:
            return constant(value.constant, value.dtype, lanes)
        type = type_of(value.dtype, lanes)
        first = self.pure(f"insertelement {type} poison, {value.typed}, i64 0", value.dtype, [value], lanes)
        zeros = f"<{lanes} x i32> zeroinitializer"
        return self.pure(f"shufflevector {first.typed}, {type} poison, {zeros}", value.dtype, [first], lanes)

    def unify(self, *values: Value) -> list[Value]:
        """All as vectors, if one is."""
        lanes = max(v.lanes for v in values)
        return [self.splat(v, lanes) for v in values] if lanes > 1 else list(values)

    def extract(self, value: Value, lane: int) -> Value:
        if value.lanes == 1:
            return value
        if value.constant is not None:
            return constant(value.constant, value.dtype)
        return self.pure(f"extractelement {value.typed}, i64 {lane}", value.dtype, [value])

    def shuffle(self, value: Value, picks: Sequence[int], second: Value | None = None) -> Value:
        """Lanes of one vector, or of two: those of the second count on from those of the first."""
        other = second.typed if second else f"{value.type} poison"
        text = f"shufflevector {value.typed}, {other}, {shuffle_mask(picks)}"
        return self.pure(text, value.dtype, [value, second] if second else [value], len(picks))

    def select(self, condition: Value, then: Value, otherwise: Value) -> Value:
        """`select`: both sides are evaluated already."""
        if condition.constant is not None:
            return then if condition.constant else otherwise
        if then == otherwise:
            return then
        if condition.lanes == 1:
            then, otherwise = self.unify(then, otherwise)
        else:
            condition, then, otherwise = self.unify(condition, then, otherwise)
        return self.pure(
            f"select {condition.typed}, {then.typed}, {otherwise.typed}",
            then.dtype,
            [condition, then, otherwise],
            then.lanes,
            is_nonnegative=then.is_nonnegative and otherwise.is_nonnegative,
        )

    # ---------------------------------------------------------------- control flow

    @contextmanager
    def scope(self, scope: Scope) -> Iterator[Scope]:
        self.scopes.append(scope)
        yield scope
        self.scopes.pop()
        for key in scope.keys:
            del self.available[key]

    def start_block(self, label: str) -> None:
        self.scopes[-1].lines.append(f"{label}:")
        self.block = label

    def branch(
        self, condition: Value, then: Callable[[], None], otherwise: Callable[[], None] | None = None
    ) -> None:
        """Run `then` where the scalar condition holds, else `otherwise`."""
        yes, no, end = self.fresh("then"), self.fresh("else"), self.fresh("end")
        self.effect(f"br i1 {condition.text}, label %{yes}, label %{no if otherwise else end}")
        for label, arm in ((yes, then), (no, otherwise)):
            if arm is not None:
                lines: Lines = []
                self.scopes[-1].lines.append(lines)
                with self.scope(Scope(BRANCH, lines)):
                    self.start_block(label)
                    arm()
                    self.effect(f"br label %{end}")
        self.start_block(end)

    def branch_value(
        self, condition: Value, then: Callable[[], Value], otherwise: Callable[[], Value]
    ) -> Value:
        """The value of one side; the other is not evaluated."""
        yes, no, end = self.fresh("then"), self.fresh("else"), self.fresh("end")
        self.effect(f"br i1 {condition.text}, label %{yes}, label %{no}")
        arms: list[tuple[Value, str, Lines]] = []
        for label, arm in ((yes, then), (no, otherwise)):
            lines: Lines = []
            self.scopes[-1].lines.append(lines)
            with self.scope(Scope(BRANCH, lines)):
                self.start_block(label)
                value = arm()
            arms.append((value, self.block, lines))
        lanes = max(value.lanes for value, _, _ in arms)
        incoming = []
        for value, block, lines in arms:
            incoming.append(f"[ {self._widened(value, lanes, lines)}, %{block} ]")
            lines.append(f"  br label %{end}")
        self.start_block(end)
        dtype = arms[0][0].dtype
        return self.result(f"phi {type_of(dtype, lanes)} {', '.join(incoming)}", dtype, lanes)

    def _widened(self, value: Value, lanes: int, lines: Lines) -> str:
        """The text of `value` as a vector, computed at the end of a block that is no longer open."""
        if value.lanes == lanes or value.constant is not None:
            return self.splat(value, lanes).text
        type = type_of(value.dtype, lanes)
        first, all = f"%{self.fresh()}", f"%{self.fresh()}"
        lines.append(f"  {first} = insertelement {type} poison, {value.typed}, i64 0")
        lines.append(
            f"  {all} = shufflevector {type} {first}, {type} poison, <{lanes} x i32> zeroinitializer"
        )
        return all

    @contextmanager
    def loop(self, hint: str, low: Value, high: Value, writes: frozenset[str]) -> Iterator[Value]:
        """The body of `for i in low..high`; yields `i`."""
        before, body, end = (self.fresh(f"{hint}.{part}") for part in ("before", "body", "end"))
        may_be_skipped = low.constant is None or high.constant is None
        if may_be_skipped:
            has_trip = self.pure(f"icmp slt i64 {low.text}, {high.text}", BOOL, [low, high])
            self.effect(f"br i1 {has_trip.text}, label %{before}, label %{end}")
            self.start_block(before)
        else:
            # No block of its own: of two empty ones in a row LLVM keeps none, and what the loops of both
            # sides of a condition begin with, 24 vectors each, is then made before it and spilled.
            before = self.block
        for buffer in writes:
            self.stored(buffer)  # a trip sees what the trips before it stored
        hoisted: Lines = []
        lines: Lines = []
        self.scopes[-1].lines += [hoisted, f"  br label %{body}", lines]
        hoist = Scope(HOIST, hoisted, may_be_skipped=may_be_skipped)
        with self.scope(hoist), self.scope(Scope(BODY, lines, writes)):
            self.start_block(body)
            index = Value(f"%{self.fresh(hint)}", I64, 1, len(self.scopes) - 1, is_nonnegative=True)
            phi: Lines = []
            lines.append(phi)
            yield index
            following = f"%{self.fresh(hint)}"
            phi.append(f"  {index.text} = phi i64 [ {low.text}, %{before} ], [ {following}, %{self.block} ]")
            again = f"%{self.fresh()}"
            self.effect(f"{following} = add nuw nsw i64 {index.text}, 1")
            self.effect(f"{again} = icmp slt i64 {following}, {high.text}")
            self.effect(f"br i1 {again}, label %{body}, label %{end}")
        self.start_block(end)

    # ---------------------------------------------------------------- the whole text

    def function(self, linkage: str = "internal") -> str:
        """The function's definition. Call it last."""
        parameters = ", ".join(
            f"{v.type} {attributes} {v.text}" if attributes else v.typed for attributes, v in self.parameters
        )
        line = self.module.lines.of_function(self.name) if self.module.lines else ""
        head = f"define {linkage + ' ' if linkage else ''}void @{self.name}({parameters}) #0{line} {{"
        return "\n".join([head, "entry:", *_flatten(self.lines), "  ret void", "}", ""])


def _flatten(lines: Lines) -> Iterator[str]:
    for line in lines:
        if isinstance(line, str):
            yield line
        else:
            yield from _flatten(line)
