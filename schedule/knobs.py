"""Knobs: the numbers of a schedule that a build may choose, `(MR in {6, 12, 14} = 12, KC = 256)`."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import SupportsFloat

from te.diagnostics import Diagnostic, ScheduleError, error, given_value
from te.elaborate.constants import constant_value
from te.grammar import tree
from te.grammar.literals import LARGEST_INTEGER
from te.schedule.condition import Constant


@dataclass(frozen=True, slots=True)
class Knob:
    """A knob of a schedule: its value, and what a tuner may choose; no choices: any value of its kind."""

    name: str
    value: Constant
    choices: tuple[Constant, ...] = ()

    def __str__(self) -> str:
        choices = f" in {{{', '.join(map(shown, self.choices))}}}" if self.choices else ""
        return f"{self.name}{choices} = {shown(self.value)}"


def shown(value: Constant) -> str:
    """A constant as it is written in the language."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_knobs(
    schedule: tree.Schedule, constants: Mapping[str, Constant], given: Mapping[str, object] | None = None
) -> tuple[Knob, ...]:
    """The knobs of a schedule, in order, each with the value that is given for it, else its default.

    A default or a choice is arithmetic on `constants` and the knobs before it. Raises `ScheduleError`
    with everything that is wrong. What is given for other names is for other schedules.
    """
    knobs: dict[str, Knob] = {}
    wrong: list[Diagnostic] = []
    for written in schedule.knobs:
        if written.name in knobs:
            wrong.append(error("duplicate-knob", f"two knobs are called `{written.name}`", written.span))
            continue
        try:
            knobs[written.name] = _knob(
                written, {**constants, **{k.name: k.value for k in knobs.values()}}, given or {}
            )
        except ScheduleError as refused:
            wrong += refused.diagnostics
            break  # those behind it may depend on it
    if wrong:
        raise ScheduleError(wrong)
    return tuple(knobs.values())


def _knob(written: tree.Knob, known: Mapping[str, Constant], given: Mapping[str, object]) -> Knob:
    default = constant_value(None, written.default, known)
    choices = [constant_value(None, choice, known) for choice in written.choices]
    if default is None or None in choices:
        at = written.default if default is None else written.choices[choices.index(None)]
        raise ScheduleError(error("knob-value", "the values of a knob are constants", at.span, "no constant"))
    found = tuple(c for c in choices if c is not None)
    one_of = f"one of {', '.join(map(shown, found))}"
    if written.name in given:
        value = _of_kind(given[written.name], default)
        if value is None or (found and value not in found):
            kinds = {bool: "a truth value", int: "an integer", float: "a number"}
            raise ScheduleError(
                error(
                    "knob-choice",
                    f"`{written.name}` cannot be {given_value(given[written.name])}, which this build gives it",
                    written.span,
                    one_of if found else f"{kinds[type(default)]}, as {shown(default)} is",
                )
            )
        return Knob(written.name, value, found)
    if found and default not in found:
        raise ScheduleError(
            error("knob-value", f"`{written.name}` is none of its choices", written.default.span, one_of)
        )
    return Knob(written.name, default, found)


def _of_kind(value: object, default: Constant) -> Constant | None:
    """A given value in Python's own type; None where it is of another kind than the default, or too large for it."""
    is_bool = type(value).__name__ in ("bool", "bool_")  # NumPy's too
    if isinstance(default, bool) or is_bool:
        return bool(value) if isinstance(default, bool) and is_bool else None
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        return _as_float(value) if isinstance(default, float) and hasattr(value, "__float__") else None
    if abs(number) > LARGEST_INTEGER:
        return None
    return number if isinstance(default, int) else float(number)


def _as_float(value: SupportsFloat) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):  # of several numbers, or beyond all floats
        return None
