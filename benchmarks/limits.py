"""What the machine gives at best: products a second, and bytes a second, from loops that do nothing else.

The loops are LLVM IR. They run beside what is measured, in the same rounds, because a virtual machine's
limits depend on its neighbours.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from measure import timed

from te.backends.llvm.compile import compile_text
from te.backends.llvm.jit import load_object
from te.target import Target, parse_target

_KINDS = {
    # kind: (element, bits of it, operations a lane, operand type, call)
    "f32": ("float", 32, 2, None, "llvm.fma.v{n}f32"),
    "f64": ("double", 64, 2, None, "llvm.fma.v{n}f64"),
    "bf16": ("float", 32, 4, "<{m} x bfloat>", "llvm.x86.avx512bf16.dpbf16ps.512"),
    "int8": ("i32", 32, 8, "<{m} x i8>", "llvm.x86.avx512.vpdpbusd.512"),
}
_NEEDS = {"bf16": "llvm.avx512_bf16", "int8": "llvm.avx512_vnni"}
_SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
# Through the cache or past it; one stream, or four: hardware fetches ahead for each of them.
WAYS = ("", "_nt", "_parts", "_nt_parts")
_BLOCK = 4 * 64  # bytes that a trip of a streaming loop moves
SECONDS = 0.004  # what a call of a limit's loop takes, at least


@dataclass(frozen=True)
class Loop:
    """A loop to be timed: `call()` does the work `passes` times."""

    call: Callable[[], None]
    passes: float


class Limits:
    """The loops of this machine, on so many threads."""

    def __init__(self, threads: int):
        self.threads = threads
        self.target = parse_target("llvm")
        self.kinds = [k for k in _KINDS if _NEEDS.get(k, "llvm") in self.target.levels]
        text = _module(self.target, self.kinds)
        self._engine = load_object(compile_text(text, self.target))
        self._pool = ThreadPoolExecutor(max(1, threads - 1))
        self._sinks = [_aligned(64) for _ in range(threads)]  # what loops of arithmetic store at their end
        self._memory: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    # ------------------------------------------------------------ arithmetic

    def arithmetic(self, kind: str, flops: float) -> Loop | None:
        """A loop that does about so many operations in registers, scaled to a fraction of them."""
        if kind not in self.kinds:
            return None
        _, bits, operations, _, _ = _KINDS[kind]
        a_trip = self._accumulators * (self.target.vector_bits // bits) * operations
        trips = max(1, round(self._trips_for_a_call(kind)))
        done = float(a_trip * trips * self.threads)
        function = self._function(f"peak_{kind}")
        parts = [(sink.ctypes.data, sink.ctypes.data, trips, 1) for sink in self._sinks]
        return Loop(lambda: self._run(function, parts), done / flops)

    @property
    def _accumulators(self) -> int:
        return _accumulators(self.target)

    def _trips_for_a_call(self, kind: str) -> float:
        function = self._function(f"peak_{kind}")
        sink = self._sinks[0].ctypes.data
        once = timed(lambda: function(sink, sink, 10_000, 1), 3)
        return SECONDS / once * 10_000

    # ------------------------------------------------------------ memory

    def streaming(self, read: int, written: int) -> Loop:
        """A loop that moves as many bytes: as a copy as far as both go, and the rest read or written.

        In the fastest of some ways for so many bytes.
        """
        both, rest_read, rest_written = min(read, written), max(0, read - written), max(0, written - read)
        plans = [
            self._moves([("copy", both), ("read", rest_read), ("fill", rest_written)], way) for way in WAYS
        ]
        return min(plans, key=lambda loop: min(timed(loop.call) for _ in range(3)) / loop.passes)

    def _moves(self, moves: list[tuple[str, int]], way: str) -> Loop:
        needed = sum(size * (2 if name == "copy" else 1) for name, size in moves)
        passes = max(1, round(SECONDS * 30e9 * self.threads / max(needed, 1)))
        works = [
            self._parts(name + (way.replace("_nt", "") if name == "read" else way), size, passes)
            for name, size in moves
            if size
        ]

        def call() -> None:
            for function, parts in works:
                self._run(function, parts)

        call()
        return Loop(call, passes)

    def _parts(self, name: str, size: int, passes: int):
        blocks = max(1, size // self.threads // _BLOCK)
        parts = []
        for thread in range(self.threads):
            arrays = self._memory.setdefault(
                (size, thread), (_aligned(blocks * _BLOCK), _aligned(blocks * _BLOCK))
            )
            parts.append((arrays[0].ctypes.data, arrays[1].ctypes.data, blocks, passes))
        return self._function(name), parts

    def forget(self) -> None:
        """Give back the memory of the streaming loops."""
        self._memory = {}

    # ------------------------------------------------------------ a table for the whole machine

    def table(self) -> dict[str, float]:
        """Operations and bytes a second: the best of some measurements."""
        found = {}
        for kind in self.kinds:
            loop = self.arithmetic(kind, 1.0)
            assert loop is not None
            found[f"{kind} arithmetic"] = loop.passes / min(timed(loop.call) for _ in range(15))
        for level, size in {
            "L2": 3 * 2**17 * self.threads,
            "L3": 2**23 * self.threads,
            "memory": 2**27,
        }.items():
            for name in ("read", "copy", "fill"):
                loops = [self._moves([(name, size)], way) for way in WAYS]
                best = min(timed(loop.call) / loop.passes for loop in loops for _ in range(4))
                found[f"{level} {name}"] = size * (2 if name == "copy" else 1) / best
                self.forget()
        return found

    # ------------------------------------------------------------ running

    def _function(self, name: str):
        return _SIGNATURE(self._engine.get_function_address(f"limit_{name}"))

    def _run(self, function, parts) -> None:
        others = [self._pool.submit(function, *part) for part in parts[1:]]
        function(*parts[0])
        for other in others:
            other.result()


def _aligned(size: int) -> np.ndarray:
    """Bytes that start at a page, written once so that they are there."""
    memory = np.ones(size + 4096, np.uint8)
    offset = -memory.ctypes.data % 4096
    return memory[offset : offset + size]


# ---------------------------------------------------------------- LLVM IR


def _accumulators(target: Target) -> int:
    return 24 if target.vector_registers >= 32 else 12


def _module(target: Target, kinds: list[str]) -> str:
    functions = [_peak(target, kind) for kind in kinds]
    for way in WAYS:
        functions += [_stream("copy", True, True, way), _stream("fill", False, True, way)]
        functions += [_stream("read", True, False, way)] if "_nt" not in way else []
    attributes = f'attributes #0 = {{ nounwind "prefer-vector-width"="{target.vector_bits}" }}'
    return "\n".join([*functions, attributes, "!0 = !{i32 1}"])


def _peak(target: Target, kind: str) -> str:
    """`trips` times a product for each of many accumulators, which do not wait for each other."""
    element, bits, _, operand, called = _KINDS[kind]
    lanes = target.vector_bits // bits
    vector = f"<{lanes} x {element}>"
    count = _accumulators(target)
    callee = called.format(n=lanes)
    a = range(count)
    if operand is None:
        x, zero = vector, "zeroinitializer"
        step = [f"  %n{i} = call {vector} @{callee}({x} %x, {x} %x, {vector} %a{i})" for i in a]
        declaration = f"declare {vector} @{callee}({x}, {x}, {vector})"
    else:
        x, zero = operand.format(m=target.vector_bits // (16 if kind == "bf16" else 8)), "zeroinitializer"
        step = [f"  %n{i} = call {vector} @{callee}({vector} %a{i}, {x} %x, {x} %x)" for i in a]
        declaration = f"declare {vector} @{callee}({vector}, {x}, {x})"
    total = [
        f"  %s{i} = {'add' if element == 'i32' else 'fadd'} {vector} %{f's{i - 1}' if i else 'x0'}, %n{i}"
        for i in a
    ]
    return "\n".join(
        [
            declaration,
            f"define void @limit_peak_{kind}(ptr %from, ptr %sink, i64 %trips, i64 %passes) #0 {{",
            "entry:",
            f"  %x = load {x}, ptr %from, align 64",
            f"  %x0 = load {vector}, ptr %from, align 64",
            "  br label %loop",
            "loop:",
            "  %k = phi i64 [ 0, %entry ], [ %next, %loop ]",
            *[f"  %a{i} = phi {vector} [ {zero}, %entry ], [ %n{i}, %loop ]" for i in a],
            *step,
            "  %next = add i64 %k, 1",
            "  %more = icmp slt i64 %next, %trips",
            "  br i1 %more, label %loop, label %end",
            "end:",
            *total,
            f"  store {vector} %s{count - 1}, ptr %sink, align 64",
            "  ret void",
            "}",
        ]
    )


def _stream(name: str, reads: bool, writes: bool, way: str) -> str:
    """`passes` times over `blocks` blocks of four vectors of 64 bytes; or over four parts at once."""
    a = range(4)
    mark = ", !nontemporal !0" if "_nt" in way else ""
    if "_parts" in way:
        offsets = ["  %o0 = mul i64 %k, 64", "  %part = mul i64 %blocks, 64"]
        offsets += [f"  %o{i} = add i64 %o{i - 1}, %part" for i in a[1:]]
    else:
        offsets = [f"  %o0 = mul i64 %k, {_BLOCK}", *[f"  %o{i} = add i64 %o0, {64 * i}" for i in a[1:]]]
    vector = "<16 x i32>"
    at = [
        f"  %{p}{i} = getelementptr i8, ptr %{w}, i64 %o{i}"
        for p, w in (("f", "from"), ("t", "to"))
        for i in a
    ]
    body = offsets + at
    if reads:
        body += [f"  %v{i} = load {vector}, ptr %f{i}, align 64" for i in a]
    if writes:
        value = "%v{}" if reads else "splat (i32 7)"
        body += [f"  store {vector} {value.format(i)}, ptr %t{i}, align 64{mark}" for i in a]
    keep = reads and not writes
    body += [
        f"  %n{i} = {f'or {vector} %s{i}, %v{i}' if keep else f'or {vector} %s{i}, zeroinitializer'}"
        for i in a
    ]
    return "\n".join(
        [
            f"define void @limit_{name}{way}(ptr %from, ptr %to, i64 %blocks, i64 %passes) #0 {{",
            "entry:",
            "  br label %pass",
            "pass:",
            "  %p = phi i64 [ 0, %entry ], [ %p.next, %passed ]",
            *[f"  %q{i} = phi {vector} [ zeroinitializer, %entry ], [ %n{i}, %passed ]" for i in a],
            "  br label %loop",
            "loop:",
            "  %k = phi i64 [ 0, %pass ], [ %next, %loop ]",
            *[f"  %s{i} = phi {vector} [ %q{i}, %pass ], [ %n{i}, %loop ]" for i in a],
            *body,
            "  %next = add i64 %k, 1",
            "  %more = icmp slt i64 %next, %blocks",
            "  br i1 %more, label %loop, label %passed",
            "passed:",
            "  %p.next = add i64 %p, 1",
            "  %again = icmp slt i64 %p.next, %passes",
            "  br i1 %again, label %pass, label %end",
            "end:",
            *([f"  store {vector} %n{i}, ptr %to, align 64" for i in a] if keep else []),
            "  ret void",
            "}",
        ]
    )
