"""What an op's names mean while it is elaborated.

`Scope` is one op under elaboration: its dtype
variables, sizes, `const`s and tensors share one namespace. `Knowledge` is what the
prover may use at a place in the text, in two versions: `generic` holds for all
sizes and `const`s, `bound` for those given to this build (a call of an op binds
the callee's sizes to the caller's shapes in the same way).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from te.diagnostics import CompileError, Diagnostic, Diagnostics, Note, Span, did_you_mean, error
from te.elaborate.builtins import CONSTANTS
from te.elaborate.modules import Definition, Module
from te.grammar import tree
from te.ir.bounds import Facts, prove
from te.ir.expr import Expr, compare, integer, sub
from te.ir.simplify import simplify
from te.ir.tensor import Call, Check, Recurrence, Requirement, Stage, Table, Tensor
from te.ir.types import DType
from te.ir.visit import substitute, variables

CONST_LIMIT = 1 << 31


class Failed(Exception):
    """A statement was given up; its diagnostic has been recorded."""


@dataclass(frozen=True, slots=True)
class ConstValue:
    """A `const` parameter. `value` is None where nothing has fixed it (checking a file)."""

    kind: str  # "int", "float" or "bool"
    value: int | float | bool | None


@dataclass(frozen=True, slots=True)
class Knowledge:
    generic: Facts
    bound: Facts
    bindings: Mapping[str, Expr]

    def with_range(self, name: str, extent: Expr) -> Knowledge:
        """`name` runs from 0 to `extent - 1`, which is not empty."""
        return Knowledge(
            _with_index(self.generic, name, extent),
            _with_index(self.bound, name, substitute(extent, self.bindings)),
            self.bindings,
        )

    def assuming(self, condition: Expr) -> Knowledge:
        return Knowledge(
            self.generic.with_assumption(condition),
            self.bound.with_assumption(substitute(condition, self.bindings)),
            self.bindings,
        )

    def proves(self, condition: Expr) -> bool:
        return prove(substitute(condition, self.bindings), self.bound)

    def proves_generically(self, condition: Expr) -> bool:
        """Whether it holds whatever the sizes and `const`s."""
        return prove(condition, self.generic)


def _with_index(facts: Facts, name: str, extent: Expr) -> Facts:
    return facts.with_range(name, integer(0), simplify(sub(extent, integer(1))))


@dataclass
class Scope:
    """One op under elaboration. Filled in by `signature`, then statement by statement."""

    op: tree.Op
    module: Module
    diagnostics: Diagnostics
    callers: tuple[tuple[str, str], ...] = ()  # the identities of the ops whose calls led here
    dtypes: dict[str, DType] = field(default_factory=dict)
    consts: dict[str, ConstValue] = field(default_factory=dict)
    sizes: list[str] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    results: dict[str, Tensor] = field(default_factory=dict)
    places: dict[str, Span] = field(default_factory=dict)
    knowledge: Knowledge = field(default_factory=lambda: Knowledge(Facts(), Facts(), {}))
    requirements: list[Requirement] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    recurrences: list[Recurrence] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)

    def declare(self, name: str, span: Span) -> None:
        """Enter a name into the op's one namespace."""
        if name in self.places:
            first = Note(self.places[name], "first used here")
            self.fail(
                error(
                    "duplicate-name",
                    f"the name `{name}` is already taken in op `{self.op.name}`",
                    span,
                    notes=[first],
                )
            )
        if name in CONSTANTS:
            self.fail(
                error("name-is-builtin", f"`{name}` is a built-in constant", span, help="choose another name")
            )
        self.places[name] = span

    def fail(self, diagnostic: Diagnostic) -> NoReturn:
        """Record a diagnostic and give the statement up."""
        self.diagnostics.add(diagnostic)
        raise Failed

    @property
    def identity(self) -> tuple[str, str]:
        return self.module.file.source.name, self.op.name

    def find_op(self, name: str) -> Definition | None:
        """The op that a call of `name` means; a file that cannot be read gives the statement up."""
        try:
            return self.module.find(name)
        except CompileError as wrong:
            for diagnostic in wrong.diagnostics:
                self.diagnostics.add(diagnostic)
            raise Failed from None

    def unknown_consts(self) -> set[str]:
        return {name for name, const in self.consts.items() if const.value is None}

    def waits_for_consts(self, condition: Expr, knowledge: Knowledge) -> bool:
        """Whether a proof may have failed only for want of a `const`'s value."""
        unknown = self.unknown_consts()
        if not unknown:
            return False
        mentioned = variables(condition)
        for name, low, high in reversed(knowledge.bound.ranges):
            if name in mentioned:
                mentioned |= variables(low) | variables(high)
        return bool(mentioned & unknown)

    def defined_names(self) -> list[str]:
        """The tensors that the op has equations for, elaborated or given up."""
        return [t.name for s in self.op.body if isinstance(s, tree.Equation) for t in s.targets]

    def fresh_name(self, wanted: str) -> str:
        """`wanted`, or `wanted2`, `wanted3`, ... where that is taken."""
        taken = {*self.places, *self.tensors, *(s.name for s in self.stages)}
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}{number}", number + 1
        return name

    def suggest(self, name: str, *more: str) -> str | None:
        return did_you_mean(name, [*self.places, *self.tensors, *more])


def nonnegative(extent: Expr) -> Expr:
    return compare(">=", extent, integer(0))
