"""What emitted CUDA code calls: functions with the meaning `te.ir.types` gives operators and casts, as CUDA C++.

The text stands in the `.cuh` files beside this one, a paragraph for each definition, and a source gets the paragraphs
it uses (`definitions`). Interface, by convention:

    te_OP_DTYPE(...)      operators and functions of `te.ir.expr`: te_add_i32, te_floordiv_i64, te_exp_f32
    te_cast_FROM_TO(x)    all pairs of different dtypes
    te_DTYPE              the types; f32, f64 and bool are C's own
    te_fast_OP_f32(...)   the shorter functions of `math="fast"`, for the operators in `FAST`

A paragraph below a line `//@ T: i8 i16` is one for each dtype, with `@T` for its name and more as `_words` says.
The same text is compiled by NVRTC, nvcc and, for the emulator, g++: it takes nothing from headers but the intrinsics
of CUDA that the emulator supplies too. What has PTX in it has a twin in C++.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from itertools import product

from te.ir.types import BOOL, DTYPES, F32, F64, DType, integer_limits

FILES = (
    "types",
    "integers",
    "floats",
    "casts",
    "elementary",
    "exponential",
    "logarithm",
    "trigonometric",
    "inverse_trigonometric",
    "hyperbolic",
    "error_function",
    "power",
    "fast",
    "vectors",
    "copies",
    "caches",
    "shuffles",
    "matrices",
)
# Functions of f32 that have a shorter form under `math="fast"`.
FAST = frozenset("sigmoid tanh erf erfc sin cos pow".split())
OPERATORS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "//": "floordiv",
    "%": "mod",
    "<<": "shl",
    ">>": "shr",
}

_NAME = re.compile(r"\bte_\w+")
_DEFINED = re.compile(r"struct (te_\w+)|(te_\w+)(?=\s*[({;[=:])")
_COMMENT = re.compile(r"//.*")
_WORD = re.compile(r"@(LAST_BIT|MIN|MAX|CS|[A-Z])")
_FLOAT = re.compile(r"\b(?:float|double)\b")


@dataclass(frozen=True, slots=True)
class Definition:
    """A paragraph: a type, a constant or a function, with the comment above it."""

    text: str
    names: frozenset[str]  # that it gives a meaning; functions of one name may have several definitions
    needs: frozenset[str]
    floats: frozenset[str]  # those of C++ that it is for; empty where it is for any


def function_name(op: str, dtype: DType, *, fast: bool = False) -> str:
    """The function for an operator of `te.ir.expr`; `fast` as under `math="fast"`.

    >>> function_name("//", DTYPES["i32"])
    'te_floordiv_i32'
    """
    if fast and dtype == F32 and op in FAST:
        return f"te_fast_{op}_f32"
    return f"te_{OPERATORS.get(op, op)}_{dtype}"


def cast_name(source: DType, to: DType) -> str:
    """The function for a cast between two dtypes.

    >>> cast_name(DTYPES["f32"], DTYPES["bf16"])
    'te_cast_f32_bf16'
    """
    return f"te_cast_{source}_{to}"


def type_name(dtype: DType) -> str:
    """The type of a dtype's values, in memory too."""
    return {F32: "float", F64: "double", BOOL: "bool"}.get(dtype, f"te_{dtype}")


def names() -> frozenset[str]:
    """All that is defined here."""
    return frozenset(_by_name())


def definitions(text: str) -> str:
    """The definitions that some CUDA text needs, in an order in which each follows what it needs.

    >>> print(definitions("y = te_add_i32(a, b);"))
    typedef int te_i32;
    <BLANKLINE>
    typedef unsigned int te_u32;
    <BLANKLINE>
    __device__ inline te_i32 te_add_i32(te_i32 a, te_i32 b) {
        return (te_i32)((te_u32)a + (te_u32)b);
    }
    <BLANKLINE>
    """
    wanted = _wanted(_names_in(text) & names())
    written: dict[Definition, None] = {}

    def write(needs: Iterable[str]) -> None:
        for name in sorted(needs, key=_position):
            for definition in _by_name()[name]:
                if definition in wanted and definition not in written:
                    write(definition.needs - definition.names)
                    written[definition] = None

    write(_names_in(text) & names())
    return "\n".join(f"{d.text}\n" for d in written)


def _wanted(used: Iterable[str]) -> set[Definition]:
    """The definitions that calls of these names reach. What is for all floats calls what its caller's floats need."""
    reached: set[tuple[Definition, frozenset[str]]] = set()

    def reach(name: str, floats: frozenset[str]) -> None:
        for definition in _by_name()[name]:
            own = definition.floats
            if len(_by_name()[name]) > 1 and own and floats and not own & floats:
                continue  # an overload for other floats
            inside = own or floats
            if (definition, inside) not in reached:
                reached.add((definition, inside))
                for need in definition.needs - definition.names:
                    reach(need, inside)

    for name in used:
        reach(name, frozenset())
    return {definition for definition, _ in reached}


@cache
def _by_name() -> dict[str, list[Definition]]:
    found: dict[str, list[Definition]] = {}
    for definition in _read():
        for name in definition.names:
            found.setdefault(name, []).append(definition)
    return found


@cache
def _order() -> dict[str, int]:
    return {name: place for place, name in enumerate(_by_name())}


def _position(name: str) -> int:
    return _order()[name]


def _names_in(text: str) -> frozenset[str]:
    return frozenset(_NAME.findall(_COMMENT.sub("", text)))


# ---------------------------------------------------------------- paragraphs


def _read() -> Iterator[Definition]:
    folder = resources.files(__package__)
    for file in FILES:
        _, *paragraphs = (folder / f"{file}.cuh").read_text(encoding="utf-8").split("\n\n")
        for paragraph in paragraphs:
            for text in _expanded(paragraph.strip("\n")):
                defined = _defined(text)
                code = _COMMENT.sub("", text)
                floats = frozenset(() if "<class T" in code else _FLOAT.findall(code))
                yield Definition(text, defined, _names_in(text) - defined, floats)


def _defined(text: str) -> frozenset[str]:
    """The names that stand outside of all brackets, before what follows a definition's name."""
    depth, outside = 0, []
    for character in _COMMENT.sub("", text):
        depth -= character in ")}]"
        if depth == 0:
            outside.append(character)
        depth += character in "({["
    return frozenset(a or b for a, b in _DEFINED.findall("".join(outside)))


def _expanded(paragraph: str) -> Iterator[str]:
    """The paragraph for each choice of the dtypes on its line `//@`."""
    lines = paragraph.split("\n")
    heads = [line for line in lines if line.startswith("//@ ")]
    if not heads:
        yield paragraph
        return
    choices = [part.split(":") for part in heads[0].removeprefix("//@ ").split("; ")]
    body = "\n".join(line for line in lines if line not in heads)
    for dtypes in product(*(dtype.split() for _, dtype in choices)):
        if len(set(dtypes)) == len(dtypes):
            words: dict[str, str] = {}
            for (letter, _), dtype in zip(choices, dtypes, strict=True):
                words |= _words(letter, DTYPES[dtype])
            yield _WORD.sub(partial(_replaced, words), body)


def _replaced(words: Mapping[str, str], word: re.Match[str]) -> str:
    return words[word[1]]


def _words(letter: str, dtype: DType) -> dict[str, str]:
    """What `@` words stand for. `letter` is T, or S for the source of a cast."""
    if letter == "S":
        return {"S": str(dtype), "CS": type_name(dtype)}
    words = {"T": str(dtype), "C": type_name(dtype), "F": "f" if dtype == F32 else ""}
    if dtype.is_integer:
        low, high = integer_limits(dtype)
        ending = ("u" if dtype.kind == "uint" else "") + ("ll" if dtype.bits == 64 else "")
        words |= {
            "U": f"u{dtype.bits}",  # the unsigned type of the same width
            "W": f"u{max(32, dtype.bits)}",  # the unsigned type in which arithmetic is done
            "LAST_BIT": str(dtype.bits - 1),
            "MIN": f"({low + 1}{ending} - 1)" if low else "0",
            "MAX": f"{high}{ending}",
        }
    return words
