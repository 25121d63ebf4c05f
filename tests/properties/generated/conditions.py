"""Draws bool expressions, and conditions that are facts for what they guard. Nothing here imports te."""

from __future__ import annotations

from collections.abc import Callable

from tests.properties.generated import places, reference
from tests.properties.generated.leaves import Leaves
from tests.properties.generated.nodes import (
    AND,
    COMPARISON,
    FLOATS,
    INTEGERS,
    NOT,
    OR,
    PIPE,
    PRIMARY,
    Env,
    Node,
    joined,
)
from tests.properties.generated.places import Condition, Scope
from tests.properties.generated.reference import Value


class Conditions(Leaves):
    """Bools."""

    def condition(self, depth: int, scope: Scope) -> Condition:
        """A condition for `where`, of indices or of data."""
        if not scope.params and self.chance(0.6):
            found = self._index_condition(scope)
            if found is not None:
                return found
        for _ in range(4):
            node = self.expression("bool", depth - 1, scope)
            if node.data:
                return Condition(node, scope.named_in(node))
        if scope.params:
            return Condition(self.compared(self.cast(self.rng.choice(scope.params), "i32"), scope, 0))
        tensor = self.rng.choice([t for t in self.tensors if not t.inexact])
        return Condition(self.cast(self.read(tensor, scope), "bool"))

    def _index_condition(self, scope: Scope) -> Condition | None:
        loose = [i for i in scope.free() if i.extent.is_loose]
        if not loose:
            return None
        a = self.rng.choice(loose)
        others = [i for i in loose if i.name != a.name]
        choices: list[Callable[[], Condition]] = [
            lambda: places.from_start(a),
            lambda: places.before_end(a),
            lambda: places.even(a),
            lambda: places.below(a, 1),
        ]
        if others:
            b = self.rng.choice(others)
            choices += [
                lambda: places.triangle(a, b),
                lambda: places.strict_triangle(a, b),
                lambda: places.diagonal(a, b),
            ]
            choices += [lambda: places.sum_inside(a, b)] if b.extent.kind != "constant" else []
        return self.rng.choice(choices)()

    # ------------------------------------------------------------ bools

    def _bool(self, depth: int, scope: Scope) -> Node | None:
        return self.one_of(
            (4, lambda: self._comparison(depth, scope)),
            (2, lambda: self._logical(depth, scope)),
            (1, lambda: self._not(depth, scope)),
            (1, lambda: self._equal_bools(depth, scope)),
            (1, lambda: self._predicate(depth, scope)),
            (1, lambda: self._guarded_and(depth, scope)),
            (1, lambda: self._where("bool", depth, scope, False)),
            (1.5, lambda: self._reduction("bool", depth, scope, False)),
            (0.5, lambda: self._call_function("bool", depth, scope)),
            (0.5, lambda: self._cast_expression("bool", depth, scope)),
        )

    def _comparison(self, depth: int, scope: Scope) -> Node:
        dtype = self.rng.choice([*FLOATS, *INTEGERS])
        return self.compared(self.expression(dtype, depth - 1, scope), scope, depth - 1)

    def compared(self, a: Node, scope: Scope, depth: int) -> Node:
        b = self.expression(a.dtype, depth, scope, literal=True)
        op = self.rng.choice(["<", "<=", ">", ">=", "==", "!="])
        text = f"{a.at(PIPE)} {op} {b.at(PIPE)}"
        if self.chance(0.15):  # chained, as in Python
            c = self.expression(a.dtype, depth, scope, literal=not b.literal)
            second = self.rng.choice(["<", "<=", ">", "=="])

            def of(env: Env) -> Value:
                middle = b.of(env)
                first = reference.compare(op, a.of(env), middle)
                return Value(first.data & reference.compare(second, middle, c.of(env)).data)

            return joined("bool", f"{text} {second} {c.at(PIPE)}", COMPARISON, of, a, b, c)
        return joined("bool", text, COMPARISON, lambda env: reference.compare(op, a.of(env), b.of(env)), a, b)

    def _logical(self, depth: int, scope: Scope) -> Node:
        op = self.rng.choice(["and", "or"])
        level = AND if op == "and" else OR
        a = self.expression("bool", depth - 1, scope)
        # The left side is a fact for the right one.
        b = self.expression("bool", depth - 1, scope.under(Condition(a, scope.named_in(a))))

        def of(env: Env) -> Value:
            left = a.of(env)
            right = b.of(env.where(left if op == "and" else Value(~left.data)))
            return Value(left.data & right.data if op == "and" else left.data | right.data)

        # `X and (Y and Z)` needs its parentheses to stay this tree; the value is the same.
        return joined("bool", f"{a.at(level)} {op} {b.at(level + 1)}", level, of, a, b)

    def _guarded_and(self, depth: int, scope: Scope) -> Node | None:
        """`i > 0 and X[i - 1] > 2`: the left side is a fact for the right one."""
        condition = None if scope.params else self._index_condition(scope)
        if condition is None:
            return None
        op = self.rng.choice(["and", "or"])
        level = AND if op == "and" else OR
        inner = scope.under(condition) if op == "and" else scope.against(condition)
        a, b = condition.node, self.expression("bool", depth - 1, inner)

        def of(env: Env) -> Value:
            left = a.of(env)
            right = b.of(env.where(left if op == "and" else Value(~left.data)))
            return Value(left.data & right.data if op == "and" else left.data | right.data)

        return joined("bool", f"{a.at(level)} {op} {b.at(level + 1)}", level, of, a, b)

    def _not(self, depth: int, scope: Scope) -> Node:
        a = self.expression("bool", depth - 1, scope)
        return joined("bool", f"not {a.at(NOT)}", NOT, lambda env: Value(~a.of(env).data), a)

    def _equal_bools(self, depth: int, scope: Scope) -> Node:
        a, b = self.expression("bool", depth - 1, scope), self.expression("bool", depth - 1, scope)
        op = self.rng.choice(["==", "!="])
        return joined(
            "bool",
            f"{a.at(PIPE)} {op} {b.at(PIPE)}",
            COMPARISON,
            lambda env: reference.compare(op, a.of(env), b.of(env)),
            a,
            b,
        )

    def _predicate(self, depth: int, scope: Scope) -> Node:
        name = self.rng.choice(["isnan", "isinf", "isfinite"])
        a = self.expression(self.rng.choice(FLOATS), depth - 1, scope)
        return joined(
            "bool", f"{name}({a.text})", PRIMARY, lambda env: reference.function(name, a.of(env)), a
        )
