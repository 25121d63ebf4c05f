"""Where an expression stands: indices, what is known of them, and conditions that say more."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tests.properties.generated.nodes import COMPARISON, Env, Extent, Form, Index, Node
from tests.properties.generated.reference import Value


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may use where it stands."""

    indices: tuple[Index, ...] = ()
    forms: tuple[Form, ...] = ()
    guarded: frozenset[str] = frozenset()  # indices under a condition
    params: tuple[Node, ...] = ()  # of a function, which reads nothing else
    extents: tuple[Extent, ...] = ()  # of all loops here

    def with_index(self, index: Index) -> Scope:
        return replace(
            self,
            indices=(*self.indices, index),
            forms=(*self.forms, *index.forms()),
            extents=(*self.extents, index.extent),
        )

    def under(self, condition: Condition) -> Scope:
        return replace(
            self, guarded=self.guarded | condition.names, forms=(*self.forms, *condition.forms_then)
        )

    def against(self, condition: Condition) -> Scope:
        return replace(
            self, guarded=self.guarded | condition.names, forms=(*self.forms, *condition.forms_else)
        )

    def named_in(self, node: Node) -> frozenset[str]:
        """The indices that a condition may say something about."""
        words = set(re.findall(r"\w+", node.text))
        return frozenset(i.name for i in self.indices if i.name in words)

    def free(self) -> list[Index]:
        """Indices that no condition has narrowed."""
        return [i for i in self.indices if i.name not in self.guarded]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that holds for some indices and fails for others, and the reads that it makes legal."""

    node: Node
    names: frozenset[str] = frozenset()
    forms_then: tuple[Form, ...] = ()
    forms_else: tuple[Form, ...] = ()


# ---------------------------------------------------------------- conditions on indices


def _condition(text: str, of: Callable[[Env], np.ndarray]) -> Node:
    return Node(text, COMPARISON, "bool", lambda env: Value(np.asarray(of(env))))


def from_start(a: Index) -> Condition:
    before = Form(a.extent.text, f"{a.name} - 1", lambda env: a.of(env) - 1)
    return Condition(_condition(f"{a.name} > 0", lambda env: a.of(env) > 0), frozenset({a.name}), (before,))


def before_end(a: Index) -> Condition:
    after = Form(a.extent.text, f"{a.name} + 1", lambda env: a.of(env) + 1)
    return Condition(
        _condition(f"{a.name} + 1 < {a.extent.text}", lambda env: a.of(env) + 1 < a.extent.of(env.sizes)),
        frozenset({a.name}),
        (after,),
    )


def even(a: Index) -> Condition:
    return Condition(_condition(f"{a.name} % 2 == 0", lambda env: a.of(env) % 2 == 0), frozenset({a.name}))


def below(a: Index, limit: int) -> Condition:
    return Condition(
        _condition(f"{a.name} < {limit}", lambda env: a.of(env) < limit),
        frozenset({a.name}),
        forms_else=(Form(a.extent.text, f"{a.name} - {limit}", lambda env: a.of(env) - limit),),
    )


def triangle(a: Index, b: Index) -> Condition:
    distance = Form(b.extent.text, f"{b.name} - {a.name}", lambda env: b.of(env) - a.of(env))
    return Condition(
        _condition(f"{a.name} <= {b.name}", lambda env: a.of(env) <= b.of(env)),
        frozenset({a.name, b.name}),
        (distance,),
        (Form(a.extent.text, f"{a.name} - {b.name} - 1", lambda env: a.of(env) - b.of(env) - 1),),
    )


def strict_triangle(a: Index, b: Index) -> Condition:
    distance = Form(b.extent.text, f"{b.name} - {a.name} - 1", lambda env: b.of(env) - a.of(env) - 1)
    return Condition(
        _condition(f"{a.name} < {b.name}", lambda env: a.of(env) < b.of(env)),
        frozenset({a.name, b.name}),
        (distance,),
    )


def diagonal(a: Index, b: Index) -> Condition:
    return Condition(
        _condition(f"{a.name} == {b.name}", lambda env: a.of(env) == b.of(env)), frozenset({a.name, b.name})
    )


def sum_inside(a: Index, b: Index) -> Condition:
    total = Form(b.extent.text, f"{a.name} + {b.name}", lambda env: a.of(env) + b.of(env))
    return Condition(
        _condition(
            f"{a.name} + {b.name} < {b.extent.text}",
            lambda env: a.of(env) + b.of(env) < b.extent.of(env.sizes),
        ),
        frozenset({a.name, b.name}),
        (total,),
    )
