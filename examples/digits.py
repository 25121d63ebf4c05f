"""A convolutional network reads handwritten digits, each layer a kernel of `digits.te`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import train_digits
from PIL import Image, ImageDraw
from report import Report

import te

HERE = Path(__file__).parent
WANTED_ACCURACY = 0.97
# f32 sums of up to 512 products, in another order than NumPy's.
CLOSE = 5e-5
Layer = tuple[str, tuple[np.ndarray, ...]]


def run(report: Report, epochs: int = train_digits.EPOCHS) -> None:
    """Train in NumPy, read the test pictures with te, and hold each layer against NumPy."""
    digits = train_digits.load()
    parameters = train_digits.train(digits.train_pictures, digits.train_labels, epochs)
    report.say(f"trained in NumPy on {len(digits.train_labels)} pictures")

    scores = _layers(report, parameters, digits.test_pictures)
    classify = te.build(HERE / "digits.te", op="classify")
    weights = [parameters[name] for name in ("F1", "b1", "F2", "b2", "F3", "b3")]
    probabilities = classify(digits.test_pictures, *weights)
    report.compare("classify, all layers in one op", probabilities, scores, CLOSE, CLOSE)
    report.time(
        "classify",
        " × ".join(map(str, digits.test_pictures.shape)),
        lambda: classify(digits.test_pictures, *weights),
        lambda: train_digits.forward(parameters, digits.test_pictures),
    )

    predicted = probabilities.argmax(axis=1)
    by_numpy = train_digits.forward(parameters, digits.test_pictures).argmax(axis=1)
    report.compare("digits read", predicted, by_numpy)
    right = predicted == digits.test_labels
    found = f"{right.mean():.2%} of {len(right)} pictures not trained on"
    report.require("read right", right.mean() >= WANTED_ACCURACY, found)
    _write_sheet(report, digits, predicted)


def _layers(report: Report, parameters: train_digits.Parameters, pictures: np.ndarray) -> np.ndarray:
    """The network layer by layer; each layer's input is what the kernel before it gave."""
    p = parameters
    value = pictures
    layers = [
        ("conv_relu", train_digits.conv_relu, (p["F1"], p["b1"])),
        ("max_pool", train_digits.max_pool, ()),
        ("conv_relu", train_digits.conv_relu, (p["F2"], p["b2"])),
        ("dense_maps", train_digits.dense_maps, (p["F3"], p["b3"])),
        ("softmax", train_digits.softmax, ()),
    ]
    for name, formula, weights in layers:
        kernel = te.build(HERE / "digits.te", op=name)
        work = " × ".join(map(str, value.shape))
        report.time(
            name,
            work,
            lambda kernel=kernel, value=value, weights=weights: kernel(value, *weights),
            lambda formula=formula, value=value, weights=weights: formula(value, *weights),
        )
        result = kernel(value, *weights)
        report.compare(f"{name}, {work}", result, formula(value, *weights), CLOSE, CLOSE)
        value = result
    return value


# ---------------------------------------------------------------- pictures


def _write_sheet(report: Report, digits: train_digits.Digits, predicted: np.ndarray) -> None:
    """All mistakes first, framed in red, then other test pictures, each with what was read."""
    wrong = np.flatnonzero(predicted != digits.test_labels)
    others = np.flatnonzero(predicted == digits.test_labels)
    shown = [*wrong[:20], *others][:100]
    cell, columns = 64, 20
    sheet = Image.new("RGB", (columns * cell, -(-len(shown) // columns) * (cell + 16)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, number in enumerate(shown):
        x, y = place % columns * cell, place // columns * (cell + 16)
        shades = np.uint8(255 * (1 - digits.test_pictures[number, :, :, 0]))
        sheet.paste(
            Image.fromarray(shades).resize((cell - 8, cell - 8), Image.Resampling.NEAREST), (x + 4, y + 4)
        )
        is_right = predicted[number] == digits.test_labels[number]
        text = (
            f"{predicted[number]}"
            if is_right
            else f"read {predicted[number]}, is {digits.test_labels[number]}"
        )
        draw.text((x + 5, y + cell), text, fill="black" if is_right else "red")
        if not is_right:
            draw.rectangle((x + 1, y + 1, x + cell - 2, y + cell + 13), outline="red", width=2)
    path = report.folder / "digits.png"
    sheet.save(path)
    report.wrote(path)
