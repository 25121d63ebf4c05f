"""What holds of every op of the standard library: a doc text, an example that is right, a comparison."""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path

import pytest

import te
from tests.std.comparing import example, find, run_example

OPS = [f"{name}.{op.name}" for name in te.std.names() for op in getattr(te.std, name)]
TESTED_IN = (
    "math",
    "linalg",
    "reduce",
    "nn",
    "attention",
    "recurrent",
    "conv",
    "tensor",
    "quant",
    "x86",
    "cuda",
)


@pytest.mark.parametrize("op", OPS)
def test_the_doc_text_has_an_example_that_is_right(op: str) -> None:
    found = find(op)
    assert found.doc.split("\n")[0].strip()
    shown = example(found)
    assert shown is not None
    run_example(found, shown)


def test_every_op_is_compared_with_a_formula() -> None:
    modules = [importlib.import_module(f"tests.std.test_{name}") for name in TESTED_IN]
    compared = {case.op for module in modules for case in module.CASES}
    assert compared == set(OPS)


def test_python_finds_ops_by_module_and_name() -> None:
    assert isinstance(te.std.nn.softmax, te.Op)
    assert te.std.nn is te.std.nn
    assert [m.name.rpartition("/")[2] for m in te.std] == [f"{name}.te" for name in te.std.names()]
    with pytest.raises(AttributeError, match="did you mean `reduce`"):
        te.std.reduct  # noqa: B018


def test_the_reference_is_what_the_generator_writes() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    wanted = runpy.run_path(str(docs / "generate.py"))["std_page"]()
    assert (docs / "std.md").read_text(encoding="utf-8") == wanted, "run `python docs/generate.py`"


@pytest.mark.parametrize("name", te.std.names())
def test_te_check_finds_nothing(name: str) -> None:
    from te.module import check_source

    assert check_source(getattr(te.std, name).file.source) == []
