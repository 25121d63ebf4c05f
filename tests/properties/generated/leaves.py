"""Draws the leaves of expressions: literals, indices, casts and reads. Nothing here imports te."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from tests.properties.generated import reference
from tests.properties.generated.nodes import (
    FLOATS,
    INTEGERS,
    LARGEST_SIZE,
    NARROW,
    PRIMARY,
    UNARY,
    Env,
    Extent,
    Form,
    Function,
    Node,
    Sizes,
    Tensor,
    bits_stored,
    fits,
    joined,
    read,
    read_or_else,
)
from tests.properties.generated.places import Scope
from tests.properties.generated.reference import NUMPY, Value


@dataclass
class Leaves:
    """What all expressions of one op are made from."""

    rng: random.Random
    name: str
    functions: list[Function] = field(default_factory=list)
    consts: dict[str, int | float | bool] = field(default_factory=dict)
    sizes: tuple[str, ...] = ()
    required: Sizes = field(default_factory=dict)  # the least value of a size, by `require`
    tensors: list[Tensor] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    # The loops of each stage, which say how much work the op is.
    costs: list[tuple[Extent, ...]] = field(default_factory=list)

    def expression(
        self, dtype: str, depth: int, scope: Scope, *, literal: bool = False, inexact: bool = False
    ) -> Node:
        """An expression of that type. `literal` allows one of literals alone, `inexact` one with an error."""
        raise NotImplementedError

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def one_of(self, *actions: tuple[float, Callable[[], Node | None]]) -> Node | None:
        """The outcome of one action, drawn by weight."""
        weights = [w for w, _ in actions]
        return self.rng.choices([a for _, a in actions], weights)[0]()

    def _leaf(self, dtype: str, scope: Scope, literal: bool, inexact: bool = False) -> Node:
        if literal and self.chance(0.2):
            return self.literal(dtype)
        suitable = [t for t in self.tensors if t.dtype == dtype and (inexact or not t.inexact)]
        if scope.params:
            params = [p for p in scope.params if p.dtype == dtype]
            if params:
                return self.rng.choice(params)
        elif suitable and self.chance(0.8):
            return self.read(self._readable(suitable, scope), scope)
        if dtype == "i64" and self.chance(0.7) and not scope.params:
            return self.index_value(scope)
        return self._converted_leaf(dtype, scope)

    def _converted_leaf(self, dtype: str, scope: Scope) -> Node:
        """A value of another type, cast."""
        if scope.params:
            source = self.rng.choice(scope.params)
        else:
            others = [t for t in self.tensors if t.dtype != dtype and not t.inexact]
            if not others or self.chance(0.3):
                source = self.index_value(scope)
            else:
                source = self.read(self._readable(others, scope), scope)
        return self.cast(source, dtype) if source.dtype != dtype else source

    def literal(self, dtype: str) -> Node:
        rng = self.rng
        bits = None
        if dtype == "bool":
            value = self.chance(0.5)
            text = str(value).lower()
        elif dtype in FLOATS:
            text = rng.choice(["0.5", "2", "1.0", "0", "3", "-1", "-0.25", "1e-3", "0.1", "1.5e2", "pi"])
            text = rng.choice(["inf", "nan", "-inf"]) if self.chance(0.05) else text
            value = {"pi": np.pi}.get(text) or float(text)
            is_short = text not in ("1e-3", "0.1", "pi", "inf", "nan", "-inf")
            bits = (max(abs(value), 0.125), 0.125) if is_short else None
            if "alpha" in self.consts and self.chance(0.3):
                text, value, bits = "alpha", self.consts["alpha"], None
        else:
            value = rng.choice([1, 0, 2, 3, 5, 7, 12, 100])
            if dtype.startswith("i") and self.chance(0.4):
                value = -value
            text = hex(value) if value > 9 and self.chance(0.3) else str(value)
            if self.chance(0.08) and dtype != "i64":  # index arithmetic is i64, and must not overflow
                limits = np.iinfo(NUMPY[dtype])
                value = rng.choice([int(limits.min), int(limits.max)])
                text = str(value)
            elif "step" in self.consts and self.chance(0.3):
                text, value = "step", self.consts["step"]
            bits = (max(abs(value), 1), 1)
        if dtype == "bool" and "flag" in self.consts and self.chance(0.3):
            text, value = "flag", self.consts["flag"]
        number = Value(np.asarray(value, NUMPY[dtype]))
        level = UNARY if text.startswith("-") else PRIMARY
        return Node(text, level, dtype, lambda env: number, literal=dtype != "bool", bits=bits)

    def index_value(self, scope: Scope) -> Node:
        """An `i64` of indices and sizes."""

        def constant_size(name: str) -> Node:
            return Node(
                name,
                PRIMARY,
                "i64",
                lambda env: Value(np.asarray(env.sizes[name], np.int64)),
                indices=True,
                bits=(LARGEST_SIZE, 1),
            )

        if not scope.indices or self.chance(0.1):
            return (
                constant_size(self.rng.choice(self.sizes))
                if self.sizes
                else self.cast(scope.params[0], "i64")
            )
        index = self.rng.choice(scope.indices)
        return Node(
            index.name,
            PRIMARY,
            "i64",
            lambda env: Value(index.of(env)),
            indices=True,
            bits=(index.extent.most, 1),
        )

    def cast(self, a: Node, dtype: str) -> Node:
        def of(env: Env) -> Value:
            value = a.of(env)
            if dtype in NARROW:
                return reference.stored(value, dtype)  # rounded once, whatever it is cast from
            return reference.cast(value, NUMPY[dtype])

        node = joined(dtype, f"{dtype}({a.text})", PRIMARY, of, a)
        if dtype not in FLOATS:
            return replace(node, indices=False)
        bits = bits_stored(dtype, {"u8": (255.0, 1.0), "bool": (1.0, 1.0)}.get(a.dtype, a.bits))
        return replace(node, bits=bits if fits(dtype, bits) else None)

    # ------------------------------------------------------------ reads

    def read(self, tensor: Tensor, scope: Scope) -> Node:
        """A read of a tensor that is legal here."""
        choices: list[list[Form]] = []
        for extent in tensor.dims:
            fitting = [f for f in scope.forms if f.extent == extent.text]
            bare = [f for f in fitting if f.index]
            choices.append(bare if bare and self.chance(0.5) else fitting)
        extents = [d.text for d in tensor.dims]
        if all(choices) and not (tensor.dims and self.chance(0.15)):
            forms = [self.rng.choice(c) for c in choices]
            node = read(tensor.name, tensor.dtype, forms, extents)
        else:
            places = [self._place(c, scope) for c in choices]
            if not any(self._leaves(p, scope) for p in places):
                at = self.rng.randrange(len(places))
                places[at] = self._outside_place(scope)
            inner = self._outside_value(tensor, scope)
            node = read_or_else(tensor.name, tensor.dtype, places, extents, inner)
            bits = tensor.bits and inner.bits
            bits = bits and (max(tensor.bits[0], inner.bits[0]), min(tensor.bits[1], inner.bits[1]))
            return replace(node, bits=bits, inexact=node.inexact or tensor.inexact)
        return replace(node, bits=tensor.bits, inexact=tensor.inexact)

    def _readable(self, tensors: list[Tensor], scope: Scope) -> Tensor:
        """One of the tensors, mostly one with an index for every axis."""
        have = {f.extent for f in scope.forms}
        direct = [t for t in tensors if all(d.text in have for d in t.dims)]
        return self.rng.choice(direct if direct and self.chance(0.85) else tensors)

    def _place(self, fitting: list[Form], scope: Scope) -> Form:
        if fitting and self.chance(0.5):
            return self.rng.choice(fitting)
        return self._outside_place(scope)

    def _leaves(self, place: Form, scope: Scope) -> bool:
        """Whether the place was made to leave its axis for some indices."""
        return place.extent == ""

    def _outside_place(self, scope: Scope) -> Form:
        """An index that lies outside any axis for some values of what it is made of."""
        free = scope.free()
        data = [t for t in self.tensors if t.dtype in INTEGERS]
        if data and (self.chance(0.35) or not free):
            chosen = self.rng.choice(data)
            inner = self._plain_read(chosen, scope)
            if inner is not None:
                shift = self.rng.choice(["", "", " - 1", " + 2"]) if chosen.dtype == "i64" else ""
                add = {"": 0, " - 1": -1, " + 2": 2}[shift]

                def of_data(env: Env) -> np.ndarray:
                    with np.errstate(all="ignore"):
                        return inner.of(env).data.astype(np.int64) + np.int64(add)

                return Form("", inner.text + shift, of_data, direct=inner.direct)
        if not free:
            # Nothing in a program implies that a size is so large.
            name = self.rng.choice(self.sizes)
            return Form("", f"{name} - 1000", lambda env: np.asarray(env.sizes[name] - 1000))
        a = self.rng.choice(free)
        b = self.rng.choice(free)
        c = self.rng.choice([1, 2, 3])
        texts: list[tuple[str, Callable[[Env], np.ndarray]]] = [
            (f"{a.name} - {c}", lambda env: a.of(env) - c),
            (f"2*{a.name} - {c}", lambda env: 2 * a.of(env) - c),
            (f"{a.name} + {b.name} - {c}", lambda env: a.of(env) + b.of(env) - c),
            (f"{a.name} // 2 - {c}", lambda env: a.of(env) // 2 - c),
            (f"{a.name} * {b.name} - {c}", lambda env: a.of(env) * b.of(env) - c),
        ]
        if "step" in self.consts:
            step = int(self.consts["step"])
            texts.append((f"{a.name}*step - {c}", lambda env: a.of(env) * step - c))
        text, of = self.rng.choice(texts)
        return Form("", text, of)

    def _plain_read(self, tensor: Tensor, scope: Scope) -> Node | None:
        forms = []
        for extent in tensor.dims:
            fitting = [f for f in scope.forms if f.extent == extent.text]
            if not fitting:
                return None
            forms.append(self.rng.choice(fitting))
        return read(tensor.name, tensor.dtype, forms, [d.text for d in tensor.dims])

    def _outside_value(self, tensor: Tensor, scope: Scope) -> Node:
        others = [t for t in self.tensors if t.dtype == tensor.dtype and not t.inexact]
        if others and self.chance(0.2):
            found = self._plain_read(self.rng.choice(others), scope)
            if found is not None:
                return found
        return self.literal(tensor.dtype)
