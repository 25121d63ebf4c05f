"""Draws whole expressions: `where`, reductions, calls of functions, and all the rest. Nothing here imports te."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.properties.generated import reference
from tests.properties.generated.nodes import (
    COMPARISON,
    COMPOSITES,
    DTYPES,
    FLOATS,
    INDEX_NAMES,
    INTEGERS,
    NARROW,
    PRIMARY,
    REQUIRED_LEAST,
    Env,
    Extent,
    Form,
    Index,
    Node,
    composite,
    constant,
    fits,
    joined,
    reduction,
    size,
)
from tests.properties.generated.numbers import Numbers, bits_of_any
from tests.properties.generated.places import Condition, Scope
from tests.properties.generated.reference import Value, stored


class Expressions(Numbers):
    """Expressions of every type."""

    def expression(
        self, dtype: str, depth: int, scope: Scope, *, literal: bool = False, inexact: bool = False
    ) -> Node:
        """An expression of that type. `literal` allows one of literals alone, `inexact` one with an error."""
        node: Node | None = None
        for _ in range(8):
            if depth <= 0 or self.chance(0.12):
                node = self._leaf(dtype, scope, literal)
            elif dtype == "bool":
                node = self._bool(depth, scope)
            elif dtype in INTEGERS:
                node = self._integer(dtype, depth, scope)
            else:
                node = self._float(dtype, depth, scope, inexact)
            if node is not None and (inexact or not node.inexact):
                assert node.dtype == dtype, f"{node.text} is {node.dtype}, not {dtype}"
                return node
        return self._leaf(dtype, scope, literal, inexact)

    def _where(self, dtype: str, depth: int, scope: Scope, inexact: bool) -> Node:
        condition = self.condition(depth, scope)
        then = self.expression(dtype, depth - 1, scope.under(condition), inexact=inexact)
        otherwise = self.expression(dtype, depth - 1, scope.against(condition), literal=True, inexact=inexact)
        c = condition.node

        def of(env: Env) -> Value:
            holds = c.of(env)
            return reference.select(
                holds, then.of(env.where(holds)), otherwise.of(env.where(Value(~holds.data)))
            )

        text = f"where({c.text}, {then.text}, {otherwise.text})"
        node = joined(dtype, text, PRIMARY, of, c, then, otherwise)
        return replace(node, bits=bits_of_any([then, otherwise]))

    def _cast_expression(self, dtype: str, depth: int, scope: Scope) -> Node:
        source = self.rng.choice([d for d in DTYPES if d != dtype or d in NARROW])
        return self.cast(self.expression(source, depth - 1, scope), dtype)

    def _call_function(self, dtype: str, depth: int, scope: Scope) -> Node | None:
        suitable = [f for f in self.functions if f.result.dtype == dtype and f.name != self.name]
        if not suitable:
            return None
        f = self.rng.choice(suitable)
        arguments = [self.expression(d, depth - 1, scope) for d in f.params]

        def of(env: Env) -> Value:
            # What a function takes and gives are values of their types.
            given = (stored(a.of(env), a.dtype) for a in arguments)
            inner = Env(env.sizes, {}, dict(zip("xy", given, strict=False)), shape=env.shape)
            return stored(f.result.of(inner), dtype)

        node = joined(dtype, f"{f.name}({', '.join(a.text for a in arguments)})", PRIMARY, of, *arguments)
        return replace(node, inexact=f.result.inexact, product=f.result.product and dtype not in NARROW)

    # ------------------------------------------------------------ reductions and concatenation

    def _reduction(self, dtype: str, depth: int, scope: Scope, inexact: bool) -> Node | None:
        if scope.params or len(scope.extents) > 4:
            return None
        kinds = ["any", "all"] if dtype == "bool" else ["sum", "sum", "sum", "max", "min", "prod"]
        kind = self.rng.choice([*kinds, "mean"] if dtype in FLOATS else kinds)
        inner, axes = scope, []
        for _ in range(self.rng.choice([1, 1, 2])):
            index = self.new_index(inner, self._likely_extent())
            inner = inner.with_index(index)
            axes.append(index)
        self.costs.append(inner.extents)
        condition = self._trimming(depth, inner) if self.chance(0.3) else None
        if condition is not None:
            inner = inner.under(condition)
        term = self._term(dtype, depth, inner, inexact)
        terms = int(np.prod([a.extent.most for a in axes]))
        is_exact = kind != "prod" and fits(dtype, term.bits, terms) and not term.inexact
        if kind in ("sum", "prod", "mean") and dtype in FLOATS and not is_exact and not inexact:
            kind = self.rng.choice(["max", "min"])
        test = condition.node if condition else None
        direct = term.direct | (test.direct if test else frozenset())
        written = [(a, not (is_inferred(a, direct) and self.chance(0.6))) for a in axes]
        node = reduction(kind, written, test, term, is_exact)
        bits = None
        if kind in ("max", "min") and term.bits:
            bits = None  # infinite over nothing, and then no sum of it is special: kept simple
        if kind == "sum" and is_exact and term.bits:
            bits = (terms * term.bits[0], term.bits[1])
        return replace(node, bits=bits)

    def _likely_extent(self) -> Extent:
        """Mostly the extent of some tensor's axis, so that an index below it can read there."""
        dims = [d for t in self.tensors for d in t.dims]
        return self.rng.choice(dims) if dims and self.chance(0.7) else self.extent()

    def extent(self) -> Extent:
        rng = self.rng
        if self.chance(0.6):
            return size(rng.choice(self.sizes))
        if self.chance(0.5):
            return constant(rng.choice([1, 2, 3, 4, 9]))
        kind = rng.choice(COMPOSITES)
        names = [rng.choice(self.sizes)]
        if kind in ("joined", "flat", "shorter"):
            names.append(rng.choice(self.sizes))
        if kind in REQUIRED_LEAST:
            self.require(names[0], REQUIRED_LEAST[kind])
        return composite(kind, *names)

    def require(self, name: str, least: int) -> None:
        self.required[name] = max(least, self.required.get(name, 0))

    def new_index(self, scope: Scope, extent: Extent) -> Index:
        used = {i.name for i in scope.indices} | self.taken
        pool = [n for n in INDEX_NAMES if n not in used]
        return Index(self.rng.choice(pool[:4]), extent)

    def _term(self, dtype: str, depth: int, scope: Scope, inexact: bool) -> Node:
        if dtype in FLOATS and self.chance(0.4):  # a product: the sum accumulates it by `fma`
            return self._binary(dtype, "*", min(depth, 2), scope, inexact)
        return self.expression(dtype, depth - 1, scope, inexact=inexact)

    def _trimming(self, depth: int, scope: Scope) -> Condition:
        return self.condition(min(depth, 2), scope)

    def _joined_tensors(self, dtype: str, scope: Scope) -> Node | None:
        """`where(i < M, A[i], B[i - M])`, over an axis of `M + N`."""
        joined_axes = [i for i in scope.indices if i.extent.kind == "joined"]
        if not joined_axes:
            return None
        index = self.rng.choice(joined_axes)
        first, last = index.extent.parts[0], index.extent.parts[-1]
        i = index.name
        test = Node(f"{i} < {first}", COMPARISON, "bool", lambda env: Value(index.of(env) < env.sizes[first]))
        condition = Condition(
            test,
            frozenset({i}),
            (Form(first, i, index.of, i),),
            (Form(last, f"{i} - {first}", lambda env: index.of(env) - env.sizes[first]),),
        )
        then = self.expression(dtype, 1, scope.under(condition))
        otherwise = self.expression(dtype, 1, scope.against(condition))

        def of(env: Env) -> Value:
            holds = test.of(env)
            return reference.select(
                holds, then.of(env.where(holds)), otherwise.of(env.where(Value(~holds.data)))
            )

        return joined(
            dtype, f"where({test.text}, {then.text}, {otherwise.text})", PRIMARY, of, test, then, otherwise
        )


def is_inferred(index: Index, direct: frozenset[tuple[str, str, bool]]) -> bool:
    """Whether reads alone say how far an index runs, and say what is meant."""
    uses = [(extent, has_else) for name, extent, has_else in direct if name == index.name]
    plain = {extent for extent, has_else in uses if not has_else}
    return (plain or {extent for extent, _ in uses}) == {index.extent.text}
