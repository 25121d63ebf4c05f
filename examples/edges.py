"""The edges of a photograph, by `edges.te`, each step held against SciPy and NumPy.

`python examples/edges.py photo.jpg edges.png` does it for a picture of yours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

import te

if __name__ != "__main__":
    from report import Report

HERE = Path(__file__).parent
SIGMA, RADIUS = 1.4, 4
LOW, HIGH = 0.025, 0.07
CLOSE = 2e-6  # pictures span 0..1 in f32, whose last bit there is 6e-8; some 20 operations a pixel


def photograph() -> np.ndarray:
    """A cup of coffee, 400 × 600, u8 RGB: it comes with scikit-image and needs no network."""
    from skimage import data

    return data.coffee()


def run(report: Report, pixels: np.ndarray | None = None) -> None:
    """Find the edges of a picture, hold every step against SciPy and NumPy, and write the pictures."""
    pixels = photograph() if pixels is None else pixels
    rgb = pixels.astype(np.float32) / np.float32(255)
    _check_steps(report, rgb)

    detect = te.build(HERE / "edges.te", op="edges")
    found = detect(rgb)
    expected, is_clear = edges_in_scipy(rgb)
    # A comparison may turn out either way where its two sides are equal up to rounding.
    report.compare("edges, wherever they are clear", found[is_clear], expected[is_clear])
    report.require("pixels left open by rounding", np.mean(~is_clear) < 1e-3, f"{np.mean(~is_clear):.4%}")
    report.time(
        "edges", f"{rgb.shape[0]} × {rgb.shape[1]} × 3", lambda: detect(rgb), lambda: edges_in_scipy(rgb)
    )

    before, after, both = (report.folder / f"edges-{n}.png" for n in ("before", "after", "both"))
    outlines = np.repeat(np.uint8(255 * (1 - found))[..., None], 3, axis=2)
    for path, picture in (
        (before, pixels),
        (after, outlines),
        (both, np.concatenate([pixels, outlines], axis=1)),
    ):
        Image.fromarray(picture).save(path)
        report.wrote(path)


def _check_steps(report: Report, rgb: np.ndarray) -> None:
    """Each step alone, on what the step before it gave, so that a difference shows where it arises."""

    def step(name: str, *inputs: np.ndarray, in_numpy: Callable[[], object], **consts: float) -> np.ndarray:
        kernel = te.build(HERE / "edges.te", op=name, consts=consts or None)
        work = " × ".join(map(str, inputs[0].shape))
        report.time(name, work, lambda: kernel(*inputs), in_numpy)
        return kernel(*inputs)

    grey = step("grey", rgb, in_numpy=lambda: grey_in_numpy(rgb))
    report.compare("grey", grey, grey_in_numpy(rgb), CLOSE, CLOSE)

    smooth = step("gaussian", grey, in_numpy=lambda: gaussian_in_scipy(grey))
    report.compare("gaussian, against scipy.ndimage", smooth, gaussian_in_scipy(grey), CLOSE, CLOSE)

    right, down = step("sobel", smooth, in_numpy=lambda: sobel_in_scipy(smooth))
    for name, got, expected in zip(("right", "down"), (right, down), sobel_in_scipy(smooth), strict=True):
        report.compare(f"sobel {name}, against scipy.ndimage", got, expected, CLOSE, CLOSE)

    length = step("magnitude", right, down, in_numpy=lambda: np.hypot(right, down) / 4)
    report.compare("magnitude", length, np.hypot(right, down) / 4, CLOSE, CLOSE)

    thin = step("thin", length, right, down, in_numpy=lambda: thin_in_numpy(length, right, down))
    report.compare("thin", thin, thin_in_numpy(length, right, down))

    marked = step("threshold", thin, in_numpy=lambda: threshold_in_scipy(thin), low=LOW, high=HIGH)
    report.compare("threshold", marked, threshold_in_scipy(thin))


# ---------------------------------------------------------------- the same, written apart


def grey_in_numpy(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([0.2126, 0.7152, 0.0722], rgb.dtype)


def gaussian_in_scipy(x: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(x, SIGMA, mode="nearest", radius=RADIUS)


def sobel_in_scipy(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ndimage.sobel(x, axis=1, mode="nearest"), ndimage.sobel(x, axis=0, mode="nearest")


def steps_along(right: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step along the gradient, to the nearest of eight neighbours: (dy, dx), `dx` never to the left."""
    tangent = np.array(0.41421357, right.dtype)
    level = np.abs(down) <= tangent * np.abs(right)
    upright = np.abs(right) <= tangent * np.abs(down)
    falling = right * down > 0
    dy = np.select([level, upright, falling], [0, 1, 1], -1)
    return dy, np.where(upright, 0, 1)


def neighbours_along(
    length: np.ndarray, right: np.ndarray, down: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The gradient's length one step ahead and one behind; 0 beyond the border."""
    wide = np.pad(length, 1)
    dy, dx = steps_along(right, down)
    y, x = np.indices(length.shape)
    return wide[y + dy + 1, x + dx + 1], wide[y - dy + 1, x - dx + 1]


def thin_in_numpy(length: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    ahead, behind = neighbours_along(length, right, down)
    return np.where((length > ahead) & (length >= behind), length, np.zeros_like(length))


def threshold_in_scipy(thin: np.ndarray) -> np.ndarray:
    low, high = np.array([LOW, HIGH], thin.dtype)
    near_strong = ndimage.binary_dilation(thin >= high, np.ones((3, 3)))
    return ((thin >= low) & near_strong).astype(np.float32)


def edges_in_scipy(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The edges, computed in f64, and where every comparison that decides them is clear in f32 too."""
    smooth = gaussian_in_scipy(grey_in_numpy(rgb.astype(np.float64)))
    right, down = sobel_in_scipy(smooth)
    length = np.hypot(right, down) / 4
    ahead, behind = neighbours_along(length, right, down)
    thin = thin_in_numpy(length, right, down)

    tangent = 0.41421357
    distances = [
        length - ahead,
        length - behind,
        thin - LOW,
        thin - HIGH,
        np.abs(down) - tangent * np.abs(right),
        np.abs(right) - tangent * np.abs(down),
    ]
    open_pixels = np.minimum.reduce([np.abs(d) for d in distances]) < CLOSE
    open_pixels &= length + CLOSE >= LOW  # what is far too weak stays out, however it compares
    # A pixel depends on its neighbours' decisions too.
    is_clear = ~ndimage.binary_dilation(open_pixels, np.ones((3, 3)))
    return threshold_in_scipy(thin), is_clear


def main(source: str, target: str) -> None:
    with Image.open(source) as picture:
        rgb = np.asarray(picture.convert("RGB"), np.float32) / np.float32(255)
    found = te.build(HERE / "edges.te", op="edges")(rgb)
    Image.fromarray(np.uint8(255 * found)).save(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/edges.py PICTURE OUTPUT.png")
    main(sys.argv[1], sys.argv[2])
