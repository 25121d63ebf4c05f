"""The demonstration, on smaller input: its parts agree with NumPy and SciPy, and it notices where one does not."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

threadpool_limits = pytest.importorskip("threadpoolctl").threadpool_limits  # comes with scikit-learn

EXAMPLES = Path(__file__).parents[2] / "examples"
MODULES = ("report", "small_ops", "edges", "digits", "train_digits")


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The demonstration's modules, which import each other as scripts do; they are forgotten afterwards."""
    pytest.importorskip("PIL")
    pytest.importorskip("scipy")
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    loaded = {}
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in MODULES:
        loaded[name] = __import__(name)
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, name, loaded[name])
    monkeypatch.setattr(loaded["report"], "TIMING_ROUNDS", 1)
    monkeypatch.setattr(loaded["report"], "SECONDS_A_ROUND", 0.0)
    return loaded


def test_small_ops(demo: dict[str, ModuleType], tmp_path: Path) -> None:
    report = demo["report"].Report(tmp_path)
    demo["small_ops"].run(report, size=24)
    assert report.differences == []


def test_edges(demo: dict[str, ModuleType], tmp_path: Path) -> None:
    report = demo["report"].Report(tmp_path)
    demo["edges"].run(report, demo["edges"].photograph()[100:221, 200:333])
    assert report.differences == []
    assert {path.name for path in tmp_path.iterdir()} == {p.name for p in report.files}
    assert len(report.files) == 3


def test_digits(demo: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo["digits"], "WANTED_ACCURACY", 0.9)  # after a shorter training
    report = demo["report"].Report(tmp_path)
    with threadpool_limits(1):  # small products: threads would only wait for each other
        demo["digits"].run(report, epochs=6)
    assert report.differences == []
    assert (tmp_path / "digits.png").exists()


def test_the_training_follows_its_gradient(demo: dict[str, ModuleType]) -> None:
    """The backward pass of the NumPy network, held against differences of the forward pass."""
    train_digits = demo["train_digits"]
    random = np.random.default_rng(5)
    # f64, and pictures of noise, so that no two values of a pooling window are equal.
    parameters = {n: p.astype(np.float64) for n, p in train_digits._initial(random).items()}
    pictures, labels = random.random((6, 8, 8, 1)), random.integers(0, 10, 6)

    def loss() -> float:
        probabilities = train_digits.forward(parameters, pictures)
        return float(-np.log(probabilities[np.arange(6), labels]).mean())

    gradients = train_digits._gradients(parameters, pictures, labels)
    for name, parameter in parameters.items():
        at = tuple(random.integers(0, n) for n in parameter.shape)
        kept = parameter[at]
        parameter[at] = kept + 1e-6
        above = loss()
        parameter[at] = kept - 1e-6
        slope = (above - loss()) / 2e-6
        parameter[at] = kept
        assert slope == pytest.approx(gradients[name][at], rel=1e-4, abs=1e-7), name


def test_differences_are_noticed(
    demo: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = demo["report"].Report(tmp_path)
    ones = np.ones(3, np.float32)
    report.compare("equal", ones, ones.copy())
    report.compare("near", ones, ones + np.float32(1e-6), relative=1e-5)
    assert report.close() == 0
    for name, wrong in (("far", ones + 1), ("nan", ones * np.nan), ("shape", ones[:2]), ("dtype", ones > 0)):
        report.compare(name, wrong, ones, relative=1e-5)
    report.require("promise", False, "broken")
    assert [line.split(":")[0] for line in report.differences] == ["far", "nan", "shape", "dtype", "promise"]
    assert report.close() == 1
    assert "far: at [0] it is 2.0, and should be 1.0" in capsys.readouterr().out


def test_edges_by_the_command(demo: dict[str, ModuleType], tmp_path: Path) -> None:
    """`te run examples/edges.te edges --input photo.png --output edges.png`."""
    from PIL import Image

    from te.cli import main

    pixels = demo["edges"].photograph()[100:180, 200:300]
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    paths = ["--input", str(tmp_path / "photo.png"), "--output", str(tmp_path / "edges.png")]
    assert main(["run", str(EXAMPLES / "edges.te"), "edges", *paths]) == 0

    expected, is_clear = demo["edges"].edges_in_scipy(pixels.astype(np.float32) / np.float32(255))
    written = np.asarray(Image.open(tmp_path / "edges.png"))
    np.testing.assert_array_equal(written[is_clear], np.uint8(255 * expected[is_clear]))
