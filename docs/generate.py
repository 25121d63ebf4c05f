"""Writes the pages that are made from the sources: `python docs/generate.py`.

`std.md` is the reference of the standard library, from the comments and doc texts of `te/std/*.te`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import te

DOCS = Path(__file__).resolve().parent
BANNER = re.compile(r"^# -{5,} (.*)$", re.MULTILINE)
EXAMPLE = re.compile(r"(?:^    .*\n?)+", re.MULTILINE)

HEAD = """\
# The standard library

<!-- Made by docs/generate.py from te/std/*.te; change those. -->

{count} ops in {modules} modules, written in the language itself. In a `.te` text `use nn` makes
`nn.softmax` available, and `use nn.{{softmax, gelu}}` brings names in bare. In Python each is a
`te.Op`, which `te.build` compiles:

```python
softmax = te.build(te.std.nn.softmax)
```

`T` is decided by the arrays of the call, and so is how many axes `*S` stands for. A `const` is given
to the build, `te.build(te.std.conv.conv2d, consts={{"stride": 2}})`, or by name in a call,
`conv.conv2d(X, F, b, stride=2)`. Examples show lists for tensors; results have four digits.

| module | ops |
| --- | --- |
{table}
"""


def std_page() -> str:
    """The text of std.md."""
    modules = {name: getattr(te.std, name) for name in te.std.names()}
    table = "\n".join(f"| [{name}](#{name}) | {_links(name, module)} |" for name, module in modules.items())
    count = sum(len(module) for module in modules.values())
    head = HEAD.format(count=count, modules=len(modules), table=table)
    return head + "".join(f"\n{part}\n" for name, module in modules.items() for part in _module(name, module))


def _links(name: str, module: te.Module) -> str:
    return " ".join(f"[{op.name}](#{name}{op.name.lower()})" for op in module)


def _module(name: str, module: te.Module) -> Iterator[str]:
    text = module.file.source.text
    yield f"## {name}"
    yield _introduction(text)
    banners = [(m.start(), m[1]) for m in BANNER.finditer(text)]
    for op in module:
        while banners and banners[0][0] < op.tree.span.start:
            yield f"**{banners.pop(0)[1].capitalize()}**"
        yield f"### {name}.{op.name}"
        yield f"```te\n{_head(op)}\n```"
        yield EXAMPLE.sub(lambda m: _code(m[0]), op.doc).strip()


def _introduction(text: str) -> str:
    """The comment at the top of a file."""
    lines = []
    for line in text.split("\n"):
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" "))
    return "\n".join(lines).strip()


def _head(op: te.Op) -> str:
    """The op up to its body, in the lines in which it is written."""
    text = op.module.file.source.text[op.tree.span.start : op.tree.results[-1].span.end]
    return text.strip()


def _code(lines: str) -> str:
    return "```text\n" + "\n".join(line[4:] for line in lines.rstrip("\n").split("\n")) + "\n```\n"


PAGES = {"std.md": std_page}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (DOCS / page).write_text(text(), encoding="utf-8")
        print(f"docs/{page}")
