"""What the functions of one module share: declarations, constants, and a limit on its size."""

from __future__ import annotations

from te.backends.llvm.lines import LineTable
from te.diagnostics import Diagnostic, ScheduleError, error
from te.ir.types import DType

LIMIT = 40_000  # machine instructions, roughly; LLVM needs some 10 s for as many

# Where a read must not happen but an address is needed: as many zeros as the widest vector.
ZEROS = "@te.zeros"
ZEROS_BYTES = 256 * 8


class ModuleText:
    def __init__(
        self,
        vector_bits: int,
        *,
        has_half: bool,
        has_fma: bool,
        has_rounding: bool,
        has_avx512: bool = False,
        has_sfence: bool = False,
        has_fast_math: bool = False,
        has_lines: bool = False,
    ) -> None:
        """`has_half`: whether the CPU has instructions that convert between f16 and f32.

        `has_fma`: whether it fuses multiply-adds.

        `has_avx512`: whether it has AVX-512, whose instructions take floats apart (`math/parts.py`).

        `has_rounding`: whether it rounds to whole numbers (SSE4.1 does, SSE2 does not).

        `has_sfence`: whether streamed stores are ordered by x86's `sfence`.

        `has_fast_math`: whether functions may be less accurate (`math/fast.py`).

        `has_lines`: whether instructions name the `.te` line that they come from.
        """
        self.vector_bits = vector_bits
        self.has_half = has_half
        self.has_fma = has_fma
        self.has_rounding = has_rounding
        self.has_avx512 = has_avx512
        self.has_fast_math = has_fast_math
        self.has_sfence = has_sfence
        self.has_streams = False  # whether the kernel that is written has stores past the caches
        self.lines = LineTable() if has_lines else None
        self.functions: list[str] = []
        self.unrolled: dict[str, int] = {}  # the loops that were written out, with their trips
        self.size = 0
        self._declarations: dict[str, None] = {}
        self._names: set[str] = set()

    def declare(self, text: str) -> None:
        self._declarations[text] = None

    def unique(self, name: str) -> str:
        """A name for a function or a constant that this module has not used."""
        candidate, number = name, 1
        while candidate in self._names:
            number += 1
            candidate = f"{name}.{number}"
        self._names.add(candidate)
        return candidate

    def is_new(self, name: str) -> bool:
        """Whether a name has not been used; it has from now on."""
        if name in self._names:
            return False
        self._names.add(name)
        return True

    def count(self, lanes: int, dtype: DType, *, by_lane: bool = False) -> None:
        """Count an instruction: once for each machine vector it needs, or a call for each lane."""
        if by_lane:
            self.size += 2 * lanes
        else:
            self.size += 1 if lanes == 1 else -(-lanes * max(8, dtype.bits) // self.vector_bits)
        if self.size > LIMIT:
            raise ScheduleError(self._too_large())

    def _too_large(self) -> Diagnostic:
        loops = ", ".join(f"`{name}` ({trips} trips)" for name, trips in self.unrolled.items())
        cause = f"these loops are unrolled or vectorised: {loops}" if loops else "the op has too many stages"
        return error(
            "code-too-large",
            f"the schedule makes more than {LIMIT:,} instructions; {cause}",
            None,
            help="split a loop before it is unrolled, and unroll the inner part only",
        )

    def text(self, head: str, attributes: str) -> str:
        constants = []
        if any(ZEROS in function for function in self.functions):
            type = f"[{ZEROS_BYTES} x i8]"
            constants.append(f"{ZEROS} = private unnamed_addr constant {type} zeroinitializer, align 64")
        return "\n".join(
            [head, *constants, "", *sorted(self._declarations), "", *self.functions, attributes, ""]
        ) + (self.lines.text() if self.lines else "")
