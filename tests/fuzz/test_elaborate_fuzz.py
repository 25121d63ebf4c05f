"""Broken and random text ends in diagnostics: never a traceback, never a hang.

Every text of the repository (examples, golden errors) is mutated token by token,
parsed, and checked. Whatever happens, it is a `CompileError` or a list of
diagnostics, and it takes bounded time.
"""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from te.diagnostics import CompileError, Source, render
from te.elaborate.elaborate import check, elaborate
from te.grammar import tree
from te.grammar.parser import parse_file

ROOT = Path(__file__).parents[2]
TOKEN = re.compile(r"\s+|\w+|\*\*|//|->|<=|>=|==|!=|.")
WORDS = (
    "i j k X Y N M 0 1 2 -1 1.5 99999999999 else where sum max mean require and or not f32 i64 u8 bool "
    "( ) [ ] { } , : = -> + - * / // % ** < <= == != & | ^ ~ << >> inf nan true exp clamp size op f x"
).split()
SECONDS_PER_TEXT = 5.0


def texts_of(pattern: str) -> list[str]:
    texts = [path.read_bytes().decode("utf-8", "surrogateescape") for path in sorted(ROOT.glob(pattern))]
    return [text for text in texts if len(text) < 6000]


def single_ops(texts: list[str]) -> list[str]:
    """The ops of valid files, each alone: a mutation then leaves little else to compile."""
    found = []
    for text in texts:
        file = parse_file(Source("corpus.te", text))
        found += [item.span.text for item in file.items if isinstance(item, tree.Op)]
    return found


def mutate(text: str, rng: random.Random) -> str:
    tokens = TOKEN.findall(text)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(tokens) + 1) if tokens else 0
        match rng.randrange(5):
            case 0:
                del tokens[at : at + rng.choice((1, 1, 2, 5))]
            case 1:
                tokens[at:at] = [rng.choice(WORDS), " "]
            case 2 if tokens:
                tokens[min(at, len(tokens) - 1)] = rng.choice(WORDS)
            case 3 if tokens:
                other = rng.randrange(len(tokens))
                here = min(at, len(tokens) - 1)
                tokens[here], tokens[other] = tokens[other], tokens[here]
            case 4 if tokens:
                start = rng.randrange(len(tokens))
                tokens[at:at] = tokens[start : start + rng.choice((1, 3, 8))]
    return "".join(tokens)


def survives(text: str) -> bool:
    """Check a text as `te check` would, then elaborate each op. True where it compiles."""
    started = time.process_time()  # what others on the machine take does not count
    compiled = False
    try:
        file = parse_file(Source("fuzz.te", text))
        for diagnostic in check(file):
            render(diagnostic)
        for item in file.items:
            if isinstance(item, tree.Op):
                elaborate(file, item.name, consts=dict.fromkeys(_open_consts(item), 1))
                compiled = True
    except CompileError as error:
        if not error.diagnostics:
            raise AssertionError("an error without a diagnostic") from error
        str(error)
    assert time.process_time() - started < SECONDS_PER_TEXT, text
    return compiled


def _open_consts(op: tree.Op) -> list[str]:
    return [p.name for p in op.params if p.kind == "const" and p.default is None and p.type.name == "int"]


def run(count: int, seed: int) -> int:
    rng = random.Random(seed)
    broken, valid = texts_of("tests/errors/*.te"), texts_of("examples/*.te")
    corpora = [broken, valid, single_ops(valid), single_ops(valid)]
    compiled = 0
    for _ in range(count):
        text = mutate(rng.choice(rng.choice(corpora)), rng)
        try:
            compiled += survives(text)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n--- text:\n{text}") from error
    return compiled


@pytest.mark.parametrize("seed", range(4))
def test_mutated_texts(seed):
    assert run(750, seed) > 20  # some mutations still mean something, so the elaborator is reached


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 108))
def test_many_mutated_texts(seed):
    assert run(12_500, seed) > 300
