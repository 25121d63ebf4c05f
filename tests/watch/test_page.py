"""The page of `te show --html`: its data, and how it works in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from te.cli import main
from te.watch.graph import Edge, Node, draw
from tests.watch.browser import Browser, open_browser, why_not
from tests.watch.test_steps import MATMUL, REFUSED

EXAMPLES = Path(__file__).parents[2] / "examples"
LONG = ("attention", "digits")  # schedules of many lines, each of which is a step of the page
# What must not become markup.
HOSTILE = """
## </script><script>document.title = "owned"</script><img src=x onerror="document.title = 'owned'"> $title & \u202eodd
op f(X: f32[N]) -> Y: f32[N] {
    Y[i] = where(X[i] < 1.0 and X[i] > 0.0, 1.0, 2.0)
}
"""
DEEP = """
op deep(X: f32[A, B, C, D, E, F]) -> Y: f32[A, B, C, D, E, F] {
    Y[a, b, c, d, e, f] = exp(X[a, b, c, d, e, f])
}
"""
DEEP_LINES = "tile a, b, c, d, e, f by 2, 2, 2, 2, 2, 2"


def write(folder: Path, text: str, *arguments: str, code: int = 0) -> Path:
    """The page of a text's only op."""
    source, page = folder / "source.te", folder / "page.html"
    source.write_text(text, encoding="utf-8")
    assert main(["show", str(source), "--html", str(page), *arguments]) == code
    return page


def data_of(page: Path) -> dict:
    (found,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.S
    )
    return json.loads(found)


# ---------------------------------------------------------------- without a browser


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    page = write(tmp_path, MATMUL).read_text("utf-8")
    assert not re.search(r"""(src|href)\s*=|@import|url\((?!#)|https?://(?!www\.w3\.org/2000/svg)""", page)
    assert "default-src 'none'" in page


def test_data(tmp_path: Path) -> None:
    data = data_of(write(tmp_path, MATMUL, "--sizes", "M=64", "--size", "K=8"))
    assert data["sizes"] == {"M": 64, "N": None}
    assert data["fixed"] == {"K": 8}
    assert [step["line"] for step in data["steps"]][:2] == [
        "the plain nest",
        "tile i, j by 8, 32 into io, jo, ii, ji",
    ]
    assert {mark for mark, _ in data["steps"][0]["diff"]} == {" "}
    assert data["steps"][0]["nest"]["work"]["operations"] == ["*", 16, ["*", "M", "N"]]


def test_what_is_inlined_stays_in_the_drawing(tmp_path: Path) -> None:
    source = (EXAMPLES / "blur.te").read_text("utf-8").split("## One step")[0]
    data = data_of(write(tmp_path, source))
    assert {node["name"] for node in data["graph"]["nodes"]} == {"X", "rows", "Y"}
    assert data["steps"][0]["tensors"] == ["X", "rows", "Y"]
    assert data["steps"][1]["tensors"] == ["X", "Y"]
    assert data["steps"][1]["edges"] == ["X>Y"]


def test_a_refused_line_is_the_last_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_of(write(tmp_path, REFUSED, code=1))
    assert [step["line"] for step in data["steps"]] == ["the plain nest", "split i by 4", "parallel io"]
    assert "is a reduction loop" in data["steps"][2]["refusal"]
    assert "is a reduction loop" in capsys.readouterr().err


def test_texts_are_no_markup(tmp_path: Path) -> None:
    page = write(tmp_path, HOSTILE)
    text = page.read_text("utf-8")
    assert text.count("<script") == text.count("</script>") == 2
    assert "<img" not in text
    assert data_of(page)["doc"].startswith("</script><script>")
    assert "\u202e" not in text


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in LONG else ())
        for path in sorted(EXAMPLES.glob("*.te"))
    ],
)
def test_every_example_has_a_page(path: Path, tmp_path: Path) -> None:
    for op in re.findall(r"^op (\w+)", path.read_text("utf-8"), re.M):
        consts = ["--const", "low=0.1", "--const", "high=0.3"] if op == "threshold" else []
        assert main(["show", str(path), op, "--html", str(tmp_path / f"{op}.html"), *consts]) == 0


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if reason := why_not():
        pytest.skip(reason)
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def matmul(browser: Browser, tmp_path: Path) -> Browser:
    browser.resize(1400, 1000)
    browser.open(write(tmp_path, MATMUL))
    return browser


def loops(browser: Browser) -> list[str]:
    return browser.run("return [...document.querySelectorAll('.box')].map(e => e.dataset.loop)")


@pytest.mark.chromium
def test_the_slider_walks_through_the_schedule(matmul: Browser) -> None:
    assert (matmul.text("#line"), matmul.text("#count")) == ("the plain nest", "0 of 5")
    assert loops(matmul) == ["C.i", "C.j", "C.k"]
    matmul.type("#slider", "ArrowRight")
    assert matmul.text("#line") == "tile i, j by 8, 32 into io, jo, ii, ji"
    assert loops(matmul) == ["C.io", "C.jo", "C.ii", "C.ji", "C.k"]
    assert "  for C.i < M:" in matmul.texts("#diff .removed")
    assert "  for C.io < (M + 7) // 8:" in matmul.texts("#diff .added")
    matmul.type("#slider", "End")
    assert matmul.text("#line") == "parallel io"
    assert matmul.texts(".parallel > .head .title") == ["C.io < ⌈M/8⌉"]
    assert matmul.texts(".vector > .head .title") == ["C.ji < 32"]
    assert matmul.messages() == []


@pytest.mark.chromium
def test_keys_buttons_and_lines(matmul: Browser) -> None:
    matmul.type("body", "ArrowRight")
    matmul.type("body", "ArrowRight")
    assert matmul.text("#line") == "reorder io, jo, k, ii, ji"
    matmul.click("#forth")
    assert matmul.text("#line") == "unroll ii"
    matmul.click("#lines li:nth-child(2) button")
    assert matmul.text("#count") == "1 of 5"
    matmul.click("#back")
    matmul.type("body", "ArrowLeft")  # there is none before the first
    assert matmul.text("#count") == "0 of 5"
    assert matmul.run("return location.hash") == "#0"


@pytest.mark.chromium
def test_costs_and_sizes(matmul: Browser) -> None:
    assert "2·K·M·N flop" in matmul.text("#details")
    for name in ("M", "K", "N"):
        matmul.type(f"[data-size={name}]", "512")
    assert "268.4 Mflop" in matmul.text("#details")
    assert "3 MiB" in matmul.text("#details")
    matmul.click("[data-loop='C.j'] > .head")
    assert "for C.j < N" in matmul.text("#details .title")
    assert "1 × 512 f32" in matmul.text("#details")
    matmul.click("[data-loop='C.k'] > .head")
    matmul.type("body", "ArrowRight")
    assert "for C.k < K" in matmul.text("#details .title")  # the same loop, though another stands there now
    matmul.click("[data-loop='C.io'] > .head")
    matmul.type("body", "ArrowLeft")  # which the plain nest has not
    assert matmul.text("#details h2") == "One call"


@pytest.mark.chromium
def test_hostile_texts_stay_texts(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path, HOSTILE))
    assert browser.run("return document.title") == "f — te"
    assert "</script><script>" in browser.text("#doc")
    assert browser.texts("img") == []


@pytest.mark.chromium
def test_a_refusal_is_shown(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path, REFUSED, code=1))
    browser.type("#slider", "End")
    assert "is a reduction loop" in browser.text("#refusal")
    assert browser.texts("#lines .refused") == ["parallel io"]
    assert browser.messages() == []


@pytest.mark.chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 900, 1500])
def test_nothing_runs_over_the_edge(browser: Browser, tmp_path: Path, scheme: str, width: int) -> None:
    """Twelve loops deep, on narrow and wide windows: only panels scroll sideways, never the page."""
    browser.resize(width, 900)
    browser.emulate(scheme)
    browser.open(write(tmp_path, DEEP, "--schedule", DEEP_LINES))
    browser.type("#slider", "End")
    assert len(loops(browser)) == 12
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    too_wide = """
        return [...document.querySelectorAll('#nest *')]
            .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1)
            .map(e => e.className + ': ' + e.textContent.slice(0, 60))
    """
    assert browser.run(too_wide) == []
    assert browser.messages() == []


# ---------------------------------------------------------------- the drawing of the stages


def test_stages_that_recur_together_are_drawn() -> None:
    """An edge that turns back hangs below; no box lies upon another."""
    names = ["x", "h", "z", "c", "y"]
    edges = [Edge(a, b) for a, b in ["xz", "hz", "zc", "ch", "cy", "xy"]]
    drawing = draw([Node(name, name * 8) for name in names], edges)
    assert drawing.turning == {Edge("c", "h")}
    places = list(drawing.places.values())
    for number, a in enumerate(places):
        assert a.x >= 0
        assert a.x + a.width <= drawing.width
        assert a.y + a.height <= drawing.height
        for b in places[:number]:
            is_beside = a.x + a.width <= b.x or b.x + b.width <= a.x
            assert is_beside or a.y + a.height <= b.y or b.y + b.height <= a.y
    for edge in edges:
        if edge not in drawing.turning:
            assert drawing.places[edge.source].x < drawing.places[edge.target].x


def test_the_drawing_of_nothing() -> None:
    assert draw([], []).width == 0
