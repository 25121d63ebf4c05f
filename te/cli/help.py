"""`te help`: what the directives of schedules do, from their own documentation."""

from __future__ import annotations

import inspect

from te.cli.failures import Usage
from te.diagnostics import did_you_mean
from te.schedule.directives import VERBS, shape_of


def show_help(verb: str | None) -> int:
    """Print the list of verbs, or all about one. Raises Usage for a verb that there is not."""
    if verb is None:
        print("The directives of schedules; `te help VERB` tells more of one. For the command: te --help\n")
        width = max(map(len, VERBS))
        for name in VERBS:
            print(f"  {name:{width}}  {_lines(name)[0]}")
        return 0
    if verb not in VERBS:
        hint = did_you_mean(verb, VERBS)
        raise Usage(f"there is no directive `{verb}`; {hint or 'the directives are ' + ', '.join(VERBS)}")
    print("\n".join([_form(verb), "", *_lines(verb)]))
    return 0


def _lines(verb: str) -> list[str]:
    return (inspect.getdoc(VERBS[verb]) or "").split("\n")


def _form(verb: str) -> str:
    """`split <a loop> [by <an integer constant>] ...`, as the table of verbs says it."""
    shape = shape_of(verb)
    clauses = [
        f"{name} <{takes}>" if name in shape.required else f"[{name} <{takes}>]"
        for name, takes in shape.clauses.items()
    ]
    return " ".join([verb, f"<{shape.operand_takes}>", *clauses])
