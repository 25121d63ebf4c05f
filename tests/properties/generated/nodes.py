"""Pieces of generated programs: text beside its evaluation in NumPy. Nothing here imports te.

A `Node` is an expression as text together with a closure that evaluates it at all indices at once. `Extent`,
`Index` and `Form` are the same for sizes, loops over them, and index expressions that stay inside an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from tests.properties.generated import reference
from tests.properties.generated.reference import NUMPY, Value

NARROW = tuple(reference.NARROW)
FLOATS = ("f32", "f64", *NARROW)
INTEGERS = ("i32", "i64", "u8", "i8", "i16", "u16", "u32", "u64")
# Drawn from: the common types more often.
DTYPES = (*("f32", "f64", "i32", "i64", "u8", "bool") * 3, *FLOATS, *INTEGERS)
INDEX_NAMES = ("i", "j", "k", "l", "h", "w", "p", "q", "r", "n", "m", "x", "y", "z")
Sizes = dict[str, int]
# The largest size that programs are run with.
LARGEST_SIZE = 33

# How tightly operators bind, loosest first, as the language's reference lists them.
OR, AND, NOT, COMPARISON, PIPE, CARET, AMPERSAND, SHIFT, SUM, PRODUCT, UNARY, POWER, ELSE, PRIMARY = range(14)
LEVELS = {
    **{"|": PIPE, "^": CARET, "&": AMPERSAND, "<<": SHIFT, ">>": SHIFT},
    **{"+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "//": PRODUCT, "%": PRODUCT},
}


@dataclass(frozen=True, slots=True)
class Extent:
    """An expression of sizes. `kind` and `parts` say how it is made, for the index forms that suit it."""

    text: str
    of: Callable[[Sizes], int]
    kind: str
    parts: tuple[str, ...] = ()
    least: int = 0  # of the constant, for the kind "constant"

    @property
    def is_loose(self) -> bool:
        """Whether an index below it can have more than one value."""
        return self.kind != "constant" or self.least > 1

    @property
    def most(self) -> int:
        return max(1, self.of(dict.fromkeys(self.parts, LARGEST_SIZE)))


def size(name: str) -> Extent:
    return Extent(name, lambda s: s[name], "size", (name,))


def constant(value: int) -> Extent:
    return Extent(str(value), lambda s: value, "constant", (), value)


def composite(kind: str, *names: str) -> Extent:
    first, last = names[0], names[-1]
    match kind:
        case "half":
            return Extent(f"{first} // 2", lambda s: s[first] // 2, kind, names)
        case "double":
            return Extent(f"2*{first}", lambda s: 2 * s[first], kind, names)
        case "inside":  # of a window of 3
            return Extent(f"max({first} - 2, 0)", lambda s: max(s[first] - 2, 0), kind, names)
        case "less":  # needs `require N >= 2`
            return Extent(f"{first} - 2", lambda s: s[first] - 2, kind, names)
        case "windows":  # of 3, each 2 further; needs `require N >= 3`
            return Extent(f"({first} - 3) // 2 + 1", lambda s: (s[first] - 3) // 2 + 1, kind, names)
        case "joined":
            return Extent(f"{first} + {last}", lambda s: s[first] + s[last], kind, names)
        case "flat":
            return Extent(f"{first}*{last}", lambda s: s[first] * s[last], kind, names)
        case "shorter":
            return Extent(f"min({first}, {last})", lambda s: min(s[first], s[last]), kind, names)
    raise ValueError(kind)


COMPOSITES = ("half", "double", "inside", "less", "windows", "joined", "flat", "shorter")
REQUIRED_LEAST = {"less": 2, "windows": 3}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the generator knows it. `values` says how an input is filled."""

    name: str
    dtype: str
    dims: tuple[Extent, ...]
    inexact: bool = False
    bits: tuple[float, float] | None = None
    values: str = "mixed"

    @property
    def type(self) -> str:
        return f"{self.dtype}[{', '.join(d.text for d in self.dims)}]" if self.dims else self.dtype


@dataclass(frozen=True, slots=True)
class Env:
    """Where an expression is evaluated: every index is an array with an axis of its own.

    The axes of a reduction stand before those around it. `active` says where the value is used at all: a read
    under a guard may lie outside its tensor elsewhere.
    """

    sizes: Sizes
    tensors: dict[str, Value]
    scalars: dict[str, Value] = field(default_factory=dict)
    indices: dict[str, np.ndarray] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    active: np.ndarray = field(default_factory=lambda: np.ones((), bool))

    def inside(self, axes: Iterable[tuple[str, Extent]]) -> Env:
        """The same place with more indices, the first one outermost."""
        indices, shape = dict(self.indices), self.shape
        for name, extent in reversed(list(axes)):
            count = extent.of(self.sizes)
            indices[name] = np.arange(count, dtype=np.int64).reshape(count, *[1] * len(shape))
            shape = (count, *shape)
        return replace(self, indices=indices, shape=shape)

    def where(self, condition: Value) -> Env:
        return replace(self, active=self.active & condition.data)


@dataclass(frozen=True, slots=True)
class Form:
    """An index expression that lies inside an axis of the extent `extent`, wherever it may be used."""

    extent: str
    text: str
    of: Callable[[Env], np.ndarray]
    index: str | None = None  # the name, where the form is an index alone
    direct: frozenset[tuple[str, str, bool]] = frozenset()  # of reads in the index


@dataclass(frozen=True, slots=True)
class Index:
    name: str
    extent: Extent

    def of(self, env: Env) -> np.ndarray:
        return env.indices[self.name]

    def forms(self) -> list[Form]:
        """What the index alone gives to read with."""
        i, own = self.name, self.extent
        e = own.text
        limit = own.of

        def form(text: str, of: Callable[[np.ndarray, Sizes], np.ndarray], extent: str = e) -> Form:
            return Form(extent, text, lambda env: of(env.indices[i], env.sizes), i if text == i else None)

        found = [
            Form(e, i, self.of, i),
            form(f"{e} - 1 - {i}", lambda x, s: limit(s) - 1 - x),
            # Where there is an index, the axis is not empty.
            form("0", lambda x, s: np.zeros((), np.int64)),
            form(f"{e} - 1", lambda x, s: np.full((), limit(s) - 1)),
            form(f"{i} // 2", lambda x, s: x // 2),
            form(f"clamp({i} - 1, 0, {e} - 1)", lambda x, s: np.clip(x - 1, 0, max(limit(s) - 1, 0))),
        ]
        if own.kind not in ("inside", "shorter"):  # no proof is found through their `max` and `min`
            found += [
                form(
                    f"clamp(2*{i} - 3, 0, {e} - 1)", lambda x, s: np.clip(2 * x - 3, 0, max(limit(s) - 1, 0))
                ),
                form(f"({i} + 3) % ({e})", lambda x, s: (x + 3) % max(limit(s), 1)),
                form(f"abs({i} - 2) % ({e})", lambda x, s: abs(x - 2) % max(limit(s), 1)),
            ]
        names = own.parts
        match own.kind:
            case "half":
                found += [
                    form(f"2*{i}", lambda x, s: 2 * x, names[0]),
                    form(f"2*{i} + 1", lambda x, s: 2 * x + 1, names[0]),
                    form(f"{names[0]} - 1 - 2*{i}", lambda x, s: s[names[0]] - 1 - 2 * x, names[0]),
                ]
            case "double":
                found += [
                    form(f"{i} // 2", lambda x, s: x // 2, names[0]),
                    form(f"{i} % {names[0]}", lambda x, s: x % max(s[names[0]], 1), names[0]),
                ]
            case "inside":
                found.append(form(i, lambda x, s: x, names[0]))
            case "less":
                found += [
                    form(i, lambda x, s: x, names[0]),
                    form(f"{i} + 1", lambda x, s: x + 1, names[0]),
                    form(f"{i} + 2", lambda x, s: x + 2, names[0]),
                ]
            case "windows":
                found += [
                    form(f"2*{i}", lambda x, s: 2 * x, names[0]),
                    form(f"2*{i} + 2", lambda x, s: 2 * x + 2, names[0]),
                ]
            case "flat":
                found += [
                    form(f"{i} // {names[-1]}", lambda x, s: x // max(s[names[-1]], 1), names[0]),
                    form(f"{i} % {names[-1]}", lambda x, s: x % max(s[names[-1]], 1), names[-1]),
                ]
            case "shorter":
                found += [form(i, lambda x, s: x, n) for n in names]
        return found


@dataclass(frozen=True, slots=True)
class Node:
    """An expression: its text, and its value at all indices of an `Env`.

    literal:  made of literals alone, so that the context gives it its type
    inexact:  a float that other orders of additions, or other libraries, round otherwise
    bits:     (largest magnitude, smallest step), where both are known. Float sums of few such are exact
    data:     depends on a tensor or a scalar
    indices:  an integer made of indices, sizes and integers alone, whose arithmetic must not overflow
    product:  its outermost operator is a float `*`, which a sum of it fuses
    direct:   reads with a bare index: (index, extent of the axis, has an `else`)
    """

    text: str
    level: int
    dtype: str
    of: Callable[[Env], Value]
    literal: bool = False
    inexact: bool = False
    bits: tuple[float, float] | None = None
    data: bool = False
    indices: bool = False
    product: bool = False
    direct: frozenset[tuple[str, str, bool]] = frozenset()

    def at(self, level: int) -> str:
        """The text, in parentheses where it binds more loosely."""
        return self.text if self.level >= level else f"({self.text})"


@dataclass(frozen=True, slots=True)
class Function:
    """An op of scalars, to be called in expressions."""

    name: str
    params: tuple[str, ...]  # dtypes
    result: Node
    text: str


def joined(dtype: str, text: str, level: int, of: Callable[[Env], Value], *parts: Node) -> Node:
    """A node made of others, without `bits`."""
    return Node(
        text,
        level,
        dtype,
        of,
        inexact=any(p.inexact for p in parts) and dtype in FLOATS,
        data=any(p.data for p in parts),
        indices=dtype == "i64" and any(p.indices for p in parts) and not any(p.data for p in parts),
        direct=frozenset().union(*(p.direct for p in parts)),
    )


def fits(dtype: str, bits: tuple[float, float] | None, terms: int = 1) -> bool:
    """Whether every sum of so many numbers of these bits is exact in the float type."""
    if bits is None:
        return False
    magnitude, step = bits
    return terms * magnitude / step <= 2.0 ** (53 if dtype == "f64" else 24) and step >= 2.0**-100


def bits_stored(dtype: str, bits: tuple[float, float] | None) -> tuple[float, float] | None:
    """The bits of what a tensor of that type makes of numbers with these: rounding may make them larger."""
    if bits is None or dtype not in NARROW:
        return bits
    magnitude, step = bits
    return (2 * magnitude, step) if 2 * magnitude <= reference.NARROW[dtype].largest else None


def read(name: str, dtype: str, forms: list[Form], extents: list[str]) -> Node:
    """A read that needs no guard. The reference asserts that it stays inside."""
    text = f"{name}[{', '.join(f.text for f in forms)}]" if forms else name
    direct = _direct(forms, extents, has_else=False)

    def of(env: Env) -> Value:
        tensor = env.tensors[name]
        places = [f.of(env) for f in forms]
        outside = np.broadcast_to(~_is_inside(tensor, places) & env.active, env.shape)
        assert not outside.any(), f"{text} reads outside"
        return _gather(tensor, places)

    return Node(text, PRIMARY, dtype, of, data=True, direct=direct)


def read_or_else(name: str, dtype: str, places: list[Form], extents: list[str], outside: Node) -> Node:
    text = f"{name}[{', '.join(p.text for p in places)}] else {outside.at(PRIMARY)}"
    if outside.literal and outside.text.startswith("-"):  # a sign is allowed there
        text = f"{name}[{', '.join(p.text for p in places)}] else {outside.text}"
    direct = _direct(places, extents, has_else=True)

    def of(env: Env) -> Value:
        tensor = env.tensors[name]
        at = [p.of(env) for p in places]
        is_inside = Value(_is_inside(tensor, at))
        other = outside.of(env.where(Value(~is_inside.data)))
        return reference.select(is_inside, _gather(tensor, at), other)

    return Node(text, ELSE, dtype, of, data=True, direct=direct | outside.direct, inexact=outside.inexact)


def _direct(forms: list[Form], extents: list[str], has_else: bool) -> frozenset[tuple[str, str, bool]]:
    bare = frozenset((f.index, e, has_else) for f, e in zip(forms, extents, strict=True) if f.index)
    return bare.union(*(f.direct for f in forms))


def _is_inside(tensor: Value, places: list[np.ndarray]) -> np.ndarray:
    result = np.ones((), bool)
    for place, extent in zip(places, tensor.data.shape, strict=True):
        result = result & (place >= 0) & (place < extent)
    return result


def _gather(tensor: Value, places: list[np.ndarray]) -> Value:
    """The elements at these places; anything where a place lies outside."""
    if not places:
        return tensor
    if tensor.data.size == 0:
        shape = np.broadcast_shapes(*(p.shape for p in places))
        return Value(np.zeros(shape, tensor.dtype), None if tensor.error is None else np.zeros(shape))
    at = tuple(np.clip(p, 0, n - 1) for p, n in zip(places, tensor.data.shape, strict=True))
    return Value(tensor.data[at], None if tensor.error is None else tensor.error[at])


def reduction(
    kind: str, axes: list[tuple[Index, bool]], condition: Node | None, term: Node, is_exact: bool
) -> Node:
    """`kind[axes where condition](term)`. With each axis: whether its extent is written."""
    shown = ", ".join(f"{i.name} < {i.extent.text}" if written else i.name for i, written in axes)
    trimmed = f" where {condition.text}" if condition else ""
    dtype = NUMPY[term.dtype]

    def of(env: Env) -> Value:
        inner = env.inside((i.name, i.extent) for i, _ in axes)
        # The terms of a lifted reduction are computed wherever it is read, and then not used.
        kept = np.ones((), bool) if condition is None else condition.of(inner).data
        inner = replace(inner, active=inner.active & kept)
        terms = term.of(inner)
        spread = Value(
            np.broadcast_to(terms.data, inner.shape),
            None if terms.error is None else np.broadcast_to(terms.error, inner.shape),
        )
        kept = np.broadcast_to(kept, inner.shape)
        if kind != "mean":
            return reference.reduce(kind, spread, kept, len(axes), is_exact, term.product)
        total = reference.reduce("sum", spread, kept, len(axes), is_exact, term.product)
        count = np.asarray(kept.sum(axis=tuple(range(len(axes)))))
        return reference.binary("/", total, reference.cast(Value(count), dtype))

    parts = (term,) if condition is None else (term, condition)
    node = joined(term.dtype, f"{kind}[{shown}{trimmed}]({term.text})", PRIMARY, of, *parts)
    own = {i.name for i, _ in axes}
    is_sum = kind in ("sum", "prod", "mean") and term.dtype in FLOATS
    return replace(
        node,
        data=True,
        inexact=term.inexact or (is_sum and not is_exact),
        direct=frozenset(d for d in node.direct if d[0] not in own),
    )
