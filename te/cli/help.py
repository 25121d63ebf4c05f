"""`te help`: what the directives of schedules do, from their own documentation.

`python -m te.cli.help > docs/schedule.md` writes the same as a page.
"""

from __future__ import annotations

import inspect

from te.cli.failures import Usage
from te.diagnostics import did_you_mean
from te.schedule.directives import VERBS
from te.schedule.vocabulary import shape_of


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


# ---------------------------------------------------------------- as a page

HEADING = """\
# Directives of schedules

<!-- Made by `python -m te.cli.help > docs/schedule.md` from schedule/directives.py; change that. -->

`te help VERB` prints what stands here about one of them. In a form, what
stands in `[ ]` may be left out. `S(i)` is a stage's one statement, for the element `i`. Loops are named
`stage.index`, or by the index alone where one stage has it. In Python each verb is a method of
`te.Schedule`, with its clauses as keyword arguments: `s.split("i", by=8, into=("io", "ii"))`.
The [tutorial](tutorial/08-schedules.md) shows them at work.
"""


def reference() -> str:
    """All about every verb, as Markdown."""
    table = ["| directive | what it does |", "| --- | --- |"]
    table += [f"| [`{verb}`](#{verb}) | {_lines(verb)[0]} |" for verb in VERBS]
    return "\n".join([HEADING, *table, "", "\n\n".join(map(_section, VERBS)), ""])


def _section(verb: str) -> str:
    first, *rest = "\n".join(_lines(verb)).split("\n\n")
    paragraphs = [_fenced(p) if p.startswith("Before:") else p for p in rest]
    return "\n\n".join([f"## {verb}", first, _fenced(_form(verb)), *paragraphs])


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```"


if __name__ == "__main__":
    print(reference(), end="")
