"""Draws integer and float expressions. Nothing here imports te."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.properties.generated import reference
from tests.properties.generated.conditions import Conditions
from tests.properties.generated.nodes import (
    FLOATS,
    INTEGERS,
    LEVELS,
    POWER,
    PRIMARY,
    UNARY,
    Env,
    Node,
    fits,
    joined,
)
from tests.properties.generated.places import Scope
from tests.properties.generated.reference import NUMPY, Value


class Numbers(Conditions):
    """Integers and floats."""

    def _integer(self, dtype: str, depth: int, scope: Scope) -> Node | None:
        return self.one_of(
            (6, lambda: self._binary(dtype, self._integer_operator(), depth, scope, False)),
            (1.5, lambda: self._unary(dtype, depth, scope, False)),
            (1.5, lambda: self._extreme(dtype, depth, scope, False)),
            (1, lambda: self._integer_function(dtype, depth, scope)),
            (1, lambda: self._integer_power(dtype, depth, scope)),
            (2, lambda: self._where(dtype, depth, scope, False)),
            (2.5, lambda: self._reduction(dtype, depth, scope, False)),
            (1.5, lambda: self._cast_expression(dtype, depth, scope)),
            (1, lambda: self._call_function(dtype, depth, scope)),
        )

    def _integer_operator(self) -> str:
        return self.rng.choice(["+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>"])

    def _integer_function(self, dtype: str, depth: int, scope: Scope) -> Node:
        a = self.expression(dtype, depth - 1, scope)
        if a.indices:  # bit functions of plain indices are rare, and stay so
            a = self.cast(self.cast(a, "i32"), dtype)
        name, of = self.rng.choice(
            [("abs", reference.absolute), ("sign", reference.sign), ("popcount", reference.popcount)]
        )
        return joined(dtype, f"{name}({a.text})", PRIMARY, lambda env: of(a.of(env)), a)

    def _integer_power(self, dtype: str, depth: int, scope: Scope) -> Node:
        a = self._tamed(self.expression(dtype, depth - 1, scope))
        exponent = self.rng.choice([0, 1, 2] if a.indices else [0, 1, 2, 3, 5])

        def of(env: Env) -> Value:
            value = a.of(env)
            result = Value(np.ones_like(value.data))
            for _ in range(exponent):
                result = reference.binary("*", result, value)
            return result

        node = joined(dtype, f"{a.at(PRIMARY)} ** {exponent}", POWER, of, a)
        return replace(node, bits=a.bits and (max(a.bits[0], 1) ** exponent, 1) if a.indices else None)

    # ------------------------------------------------------------ floats

    def _float(self, dtype: str, depth: int, scope: Scope, inexact: bool) -> Node | None:
        rng = self.rng
        return self.one_of(
            (6, lambda: self._binary(dtype, rng.choice("+-*+-*/"), depth, scope, inexact)),
            (1.5, lambda: self._unary(dtype, depth, scope, inexact)),
            (1.5, lambda: self._extreme(dtype, depth, scope, inexact)),
            (1, lambda: self._rounding(dtype, depth, scope)),
            (1.5, lambda: self._function(dtype, depth, scope) if inexact else None),
            (0.7, lambda: self._function_of_inexact(dtype, depth, scope) if inexact else None),
            (0.7, lambda: self._fused(dtype, depth, scope) if inexact else None),
            (0.7, lambda: self._float_power(dtype, depth, scope, inexact)),
            (2, lambda: self._where(dtype, depth, scope, inexact)),
            (3.5, lambda: self._reduction(dtype, depth, scope, inexact)),
            (1.5, lambda: self._cast_expression(dtype, depth, scope)),
            (1, lambda: self._call_function(dtype, depth, scope)),
        )

    def _rounding(self, dtype: str, depth: int, scope: Scope) -> Node:
        a = self.expression(dtype, depth - 1, scope)
        if self.chance(0.25):
            return joined(dtype, f"sign({a.text})", PRIMARY, lambda env: reference.sign(a.of(env)), a)
        if self.chance(0.25):
            return joined(
                dtype,
                f"sqrt(abs({a.text}))",
                PRIMARY,
                lambda env: reference.function("sqrt", reference.absolute(a.of(env))),
                a,
            )
        name = self.rng.choice(["floor", "ceil", "round", "trunc", "sqrt"])
        return joined(dtype, f"{name}({a.text})", PRIMARY, lambda env: reference.function(name, a.of(env)), a)

    def _function(self, dtype: str, depth: int, scope: Scope) -> Node:
        a = self.expression(dtype, depth - 1, scope)
        if self.chance(0.1):
            b = self.expression(dtype, depth - 1, scope)
            text = f"atan2({a.text}, {b.text})"
            node = joined(dtype, text, PRIMARY, lambda env: reference.arc_tangent(a.of(env), b.of(env)), a, b)
            return replace(node, inexact=True)
        name = self.rng.choice(reference.FUNCTIONS_OF_EXACT)
        if name in ("sin", "cos", "tan"):
            # Far from 0 the error of reducing the angle is a matter of its own.
            a = self._clamped(a, 100)
        node = joined(dtype, f"{name}({a.text})", PRIMARY, lambda env: reference.function(name, a.of(env)), a)
        return replace(node, inexact=True)

    def _clamped(self, a: Node, limit: int) -> Node:
        low, high = (Value(np.asarray(x, NUMPY[a.dtype])) for x in (-limit, limit))

        def of(env: Env) -> Value:
            return reference.extreme(False, reference.extreme(True, a.of(env), low), high)

        return joined(a.dtype, f"clamp({a.text}, -{limit}, {limit})", PRIMARY, of, a)

    def _function_of_inexact(self, dtype: str, depth: int, scope: Scope) -> Node:
        a = self.expression(dtype, depth - 1, scope, inexact=True)
        name = self.rng.choice(reference.FUNCTIONS_OF_INEXACT)
        node = joined(dtype, f"{name}({a.text})", PRIMARY, lambda env: reference.function(name, a.of(env)), a)
        return replace(node, inexact=True)

    def _fused(self, dtype: str, depth: int, scope: Scope) -> Node:
        a, b = (self.expression(dtype, depth - 1, scope) for _ in range(2))
        c = self.expression(dtype, depth - 1, scope, literal=True)
        text = f"fma({a.text}, {b.text}, {c.text})"
        node = joined(
            dtype, text, PRIMARY, lambda env: reference.fused(a.of(env), b.of(env), c.of(env)), a, b, c
        )
        return replace(node, inexact=True)

    def _float_power(self, dtype: str, depth: int, scope: Scope, inexact: bool) -> Node:
        a = self.expression(dtype, depth - 1, scope)
        if not inexact or self.chance(0.5):  # a square is a product
            square = joined(
                dtype, f"{a.at(PRIMARY)} ** 2", POWER, lambda env: _times(a.of(env), a.of(env)), a
            )
            bits = a.bits and (a.bits[0] ** 2, a.bits[1] ** 2)
            return replace(square, bits=bits if fits(dtype, bits) else None, product=True)
        exponent = self.rng.choice(["0.5", "-1.5", "3"])
        number = Value(np.asarray(float(exponent), NUMPY[dtype]))
        positive = joined(dtype, f"(abs({a.text}) + 1)", PRIMARY, lambda env: _above_one(a.of(env)), a)
        node = joined(
            dtype,
            f"{positive.text} ** {exponent}",
            POWER,
            lambda env: reference.power(positive.of(env), number),
            positive,
        )
        return replace(node, inexact=True)

    # ------------------------------------------------------------ of both kinds

    def _binary(self, dtype: str, op: str, depth: int, scope: Scope, inexact: bool) -> Node:
        a = self.expression(dtype, depth - 1, scope, literal=self.chance(0.15), inexact=inexact)
        b = self.expression(dtype, depth - 1, scope, literal=not a.literal, inexact=inexact)
        if a.indices or b.indices:
            a, b = self._tamed(a), self._tamed(b)
            op = "+" if op == "<<" else op
        elif dtype == "i64" and b.literal and a.data and self.chance(0.15):
            limit = self.rng.choice([-(2**63), 2**63 - 1])
            b = Node(str(limit), UNARY, dtype, lambda env: Value(np.asarray(limit)), literal=True)
        level = LEVELS[op]
        left, right = a.at(level), b.at(level + 1)
        gap = "\n        " if self.chance(0.03) else " "
        node = joined(
            dtype,
            f"{left} {op}{gap}{right}",
            level,
            lambda env: reference.binary(op, a.of(env), b.of(env)),
            a,
            b,
        )
        is_product = op == "*" and dtype in FLOATS
        return replace(node, bits=bits_of(dtype, op, a, b), product=is_product)

    def _tamed(self, a: Node) -> Node:
        """Index arithmetic must not overflow, so what it meets is small, or no index."""
        if a.literal and a.bits is not None and a.bits[0] > 12:
            return Node("3", PRIMARY, "i64", lambda env: Value(np.asarray(3)), literal=True, bits=(3, 1))
        if a.indices and a.bits is None:
            return self.cast(self.cast(a, "i32"), "i64")
        return a

    def _unary(self, dtype: str, depth: int, scope: Scope, inexact: bool) -> Node:
        a = self.expression(dtype, depth - 1, scope, inexact=inexact)
        if dtype in FLOATS and self.chance(0.4):
            node = joined(dtype, f"abs({a.text})", PRIMARY, lambda env: reference.absolute(a.of(env)), a)
            return replace(node, bits=a.bits)
        if dtype in INTEGERS and not a.indices and self.chance(0.4):
            return joined(dtype, f"~{a.at(UNARY)}", UNARY, lambda env: reference.invert(a.of(env)), a)
        node = joined(dtype, f"-{a.at(UNARY)}", UNARY, lambda env: reference.negative(a.of(env)), a)
        return replace(node, bits=a.bits)

    def _extreme(self, dtype: str, depth: int, scope: Scope, inexact: bool) -> Node:
        if self.chance(0.2) and not inexact:
            low, high = self.literal(dtype), self.expression(dtype, depth - 2, scope)
            a = self.expression(dtype, depth - 1, scope)

            def clamped(env: Env) -> Value:
                return reference.extreme(False, reference.extreme(True, a.of(env), low.of(env)), high.of(env))

            return joined(dtype, f"clamp({a.text}, {low.text}, {high.text})", PRIMARY, clamped, a, low, high)
        is_max = self.chance(0.5)
        values = [self.expression(dtype, depth - 1, scope, inexact=inexact)]
        for _ in range(self.rng.choice([1, 1, 2])):
            literal = not any(v.literal for v in values)
            values.append(self.expression(dtype, depth - 1, scope, literal=literal, inexact=inexact))

        def of(env: Env) -> Value:
            result = values[0].of(env)
            for v in values[1:]:
                result = reference.extreme(is_max, result, v.of(env))
            return result

        text = f"{'max' if is_max else 'min'}({', '.join(v.text for v in values)})"
        return replace(joined(dtype, text, PRIMARY, of, *values), bits=bits_of_any(values))


def bits_of(dtype: str, op: str, a: Node, b: Node) -> tuple[float, float] | None:
    if a.bits is None or b.bits is None:
        return None
    (a_size, a_step), (b_size, b_step) = a.bits, b.bits
    match op:
        case "+" | "-":
            bits = (a_size + b_size, min(a_step, b_step))
        case "*":
            bits = (a_size * b_size, a_step * b_step)
        case _:
            return None
    return bits if fits(dtype, bits) else None


def bits_of_any(nodes: list[Node]) -> tuple[float, float] | None:
    bits = [n.bits for n in nodes if n.bits is not None]
    if len(bits) < len(nodes):
        return None
    return max(b[0] for b in bits), min(b[1] for b in bits)


def _times(a: Value, b: Value) -> Value:
    return reference.binary("*", a, b)


def _above_one(a: Value) -> Value:
    return reference.binary("+", reference.absolute(a), Value(np.asarray(1, a.dtype)))
