"""What may be assumed about variables where an expression stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from te.ir.expr import TRUE, Expr


@dataclass(frozen=True)
class Facts:
    """Ranges of variables and conditions that hold.

    `ranges` lists `(name, low, high)`, both ends included, outermost first: the ends may mention
    sizes and the variables before. A variable in range has a value, so `low <= high` is known.
    A variable without a range is a size, an integer >= 0.
    """

    ranges: tuple[tuple[str, Expr, Expr], ...] = ()
    assumptions: tuple[Expr, ...] = ()
    # For te.ir.context: what it derives from the facts, so that many questions share the work, and
    # the facts that these extend by one range or assumption.
    cache: dict[str, object] = field(default_factory=dict, init=False, repr=False, compare=False)
    base: Facts | None = field(default=None, init=False, repr=False, compare=False)

    def with_range(self, name: str, low: Expr, high: Expr) -> Facts:
        """The facts inside a loop whose variable runs from `low` to `high`."""
        return self._extended(Facts((*self.ranges, (name, low, high)), self.assumptions))

    def with_assumption(self, condition: Expr) -> Facts:
        """The facts where the condition holds."""
        return (
            self if condition == TRUE else self._extended(Facts(self.ranges, (*self.assumptions, condition)))
        )

    def _extended(self, more: Facts) -> Facts:
        object.__setattr__(more, "base", self)
        return more


NO_FACTS = Facts()
