"""Names of the `.te` text as identifiers of C++: the same where they can be."""

from __future__ import annotations

import re
from collections.abc import Iterable

_RESERVED = frozenset(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class
    compl concept const const_cast consteval constexpr constinit continue co_await co_return co_yield decltype
    default delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline
    int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register
    reinterpret_cast requires return short signed sizeof static static_assert static_cast struct switch template
    this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t
    while xor xor_eq

    threadIdx blockIdx blockDim gridDim warpSize dim3 half main

    abs acos acosh asin asinh atan atan2 atanh ceil cos cosh erf erfc exp exp2 expm1 fabs floor fma log log1p log2
    max min pow rint round rsqrt sin sinh sqrt tan tanh trunc j0 j1 jn y0 y1 yn gamma time clock signal index
    remainder div exit
    """.split()
)


def identifier(name: str) -> str:
    """A C++ identifier that looks like the name."""
    ascii_only = "".join(c if c.isascii() else f"u{ord(c):x}" for c in name)
    plain = re.sub(r"\W+", "_", ascii_only)
    return (
        f"{plain}_" if plain in _RESERVED or plain.startswith(("te_", "__")) or plain[0].isdigit() else plain
    )


class Names:
    """Identifiers of one function, each given once."""

    def __init__(self, taken: Iterable[str] = ()):
        self._taken = {*taken}

    def fresh(self, wanted: str) -> str:
        """An identifier that is free, `wanted` or one like it."""
        return self.unique(identifier(wanted))

    def unique(self, name: str) -> str:
        """The name, or it with a number."""
        base = name
        number = 2
        while name in self._taken:
            name = f"{base}_{number}"
            number += 1
        self._taken.add(name)
        return name

    def index(self, variable: str) -> str:
        """One for a loop's variable, called `stage.index`: by its index, where that is free."""
        short = identifier(variable.rsplit(".", 1)[-1])
        return self.fresh(short if short not in self._taken else variable)

    def release(self, name: str) -> None:
        """The name's block has ended: others may have it."""
        self._taken.discard(name)
