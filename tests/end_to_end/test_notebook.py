"""What notebooks show: well-formed HTML in which no text of a program is markup."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import te
from te.runtime import notebook

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=\"alert('&')\"> \u202e\x1b[31m"
TEXT = f"""\
## Doubles: {HOSTILE}
op double(X: f32[N]) -> Y: f32[N] {{  # {HOSTILE}
    Y[i] = where(X[i] < 0, 0, 2 * X[i])
}}
schedule double on llvm {{ vectorize i by 8 }}
"""


class Reader(HTMLParser):
    """Collects tags, attributes and text, and sees that all tags are closed."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown() -> dict[str, str]:
    module = te.parse(TEXT)
    generic = te.build(f"## {HOSTILE}\nop g<T>(X: T[*S]) -> Y: T[*S] {{ Y[*s] = X[*s] + X[*s] }}")
    things: dict[str, Any] = {
        "module": module,
        "op": module.double,
        "kernel": te.build(module),
        "generic": generic,
    }
    return {name: thing._repr_html_() for name, thing in things.items()}


def test_everything_is_escaped() -> None:
    for html in shown().values():
        read = Reader(html)
        assert read.tags <= {"div", "code", "b", "pre", "span", "details", "summary"}
        assert read.attributes <= {"style"}
        assert "<script>alert(1)</script><img src=x onerror=\"alert('&')\">" in read.text
        assert r"\u202e\x1b[31m" in read.text
        assert read.text.isprintable() or "\n" in read.text


def test_what_is_shown() -> None:
    texts = {name: Reader(html).text for name, html in shown().items()}
    for name in ("module", "op"):
        assert "Y[i] = where(X[i] < 0, 0, 2 * X[i])" in texts[name]
    for name in ("op", "kernel"):
        assert texts[name].startswith("double(X: f32[N]) -> Y: f32[N]Doubles: ")
    assert "vectorize i by 8" in texts["kernel"]
    assert "vector for Y.ii < 8" in texts["kernel"]
    assert "schedule double" in texts["module"]
    assert "schedule double" not in texts["op"]
    assert texts["generic"].startswith("g(X: f32[S1]) -> Y: f32[S1]")


def test_colours() -> None:
    span = '<span style="color: {}">{}</span>'.format
    html = notebook.highlighted("op f16x(X: f32[12])  # on f32")
    colors = notebook.COLORS
    assert html == (
        f"{span(colors['keyword'], 'op')} f16x(X: {span(colors['dtype'], 'f32')}"
        f"[{span(colors['number'], '12')}])  {span(colors['comment'], '# on f32')}"
    )


def test_long_texts_are_cut() -> None:
    read = Reader(notebook.page("t", "", "Y\n" * 1000))
    assert read.text.endswith("# ... and 800 more lines")


@pytest.mark.parametrize("text", ["", "\n", "#", "&amp;", "\t1"])
def test_odd_texts(text: str) -> None:
    assert Reader(notebook.page(text, text, text)).tags >= {"div"}


def test_a_kernel_whose_files_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_CACHE_DIR", str(tmp_path / "cache"))
    lib, path = tmp_path / "lib.te", tmp_path / "f.te"
    lib.write_text("op twice(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }\n")
    path.write_text("use lib\nop f(X: f32[N]) -> Z: f32[N] {\n    Z = lib.twice(X)\n}\n")
    te.build(path)
    kernel = te.build(path)  # from the cache
    lib.write_text("op twice(X: f32[N]) -> Y: f32[N] { Y[i] = 3 * X[i] }\n")
    text = Reader(kernel._repr_html_()).text
    assert "has changed since it was compiled" in text
