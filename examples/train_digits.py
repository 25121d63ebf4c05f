"""A small convolutional network in plain NumPy, and its training on scikit-learn's digits.

Nothing here uses te: the forward pass is what the kernels of `digits.te` are held against.

Layers: 3 × 3 convolution to 16 maps, ReLU, 2 × 2 max pooling, 3 × 3 convolution to 32 maps, ReLU, dense to
10 scores, softmax. Arrays of pictures are [picture, y, x, channel].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Parameters = dict[str, np.ndarray]

SEED = 7
EPOCHS = 40
BATCH = 32
LEARNING_RATE = 2e-3
TEST_SHARE = 0.25


@dataclass(frozen=True)
class Digits:
    train_pictures: np.ndarray
    train_labels: np.ndarray
    test_pictures: np.ndarray
    test_labels: np.ndarray


def load() -> Digits:
    """1797 pictures of 8 × 8 pixels in 0..1. A quarter, drawn at random, is kept for the test alone."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pictures = (bunch.images / 16).astype(np.float32)[..., None]
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(labels))
    test, train = np.split(order, [round(TEST_SHARE * len(labels))])
    return Digits(pictures[train], labels[train], pictures[test], labels[test])


def train(pictures: np.ndarray, labels: np.ndarray, epochs: int = EPOCHS) -> Parameters:
    """Weights found by Adam on the cross entropy. The same seed gives the same weights."""
    random = np.random.default_rng(SEED)
    parameters = _initial(random)
    mean = {name: np.zeros_like(p) for name, p in parameters.items()}
    square = {name: np.zeros_like(p) for name, p in parameters.items()}
    step = 0
    for epoch in range(epochs):
        rate = LEARNING_RATE * (1 - epoch / epochs)
        for batch in np.array_split(random.permutation(len(labels)), len(labels) // BATCH):
            step += 1
            shifted = _shift(random, pictures[batch])
            for name, gradient in _gradients(parameters, shifted, labels[batch]).items():
                mean[name] += 0.1 * (gradient - mean[name])
                square[name] += 0.001 * (gradient * gradient - square[name])
                unbiased = mean[name] / (1 - 0.9**step)
                scale = np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8
                parameters[name] -= (rate * unbiased / scale).astype(np.float32)
    return parameters


def _initial(random: np.random.Generator) -> Parameters:
    def normal(fan_in: int, *shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    return {
        "F1": normal(9, 3, 3, 1, 16),
        "b1": np.zeros(16, np.float32),
        "F2": normal(9 * 16, 3, 3, 16, 32),
        "b2": np.zeros(32, np.float32),
        "F3": normal(4 * 4 * 32, 4, 4, 32, 10),
        "b3": np.zeros(10, np.float32),
    }


def _shift(random: np.random.Generator, pictures: np.ndarray) -> np.ndarray:
    """Each picture moved by up to a pixel down and sideways, so that there is more to learn from."""
    everywhere = windows(pictures, 8)  # [picture, 3, 3, 1, 8, 8]
    steps = random.choice([0, 1, 2], size=(2, len(pictures)), p=[0.2, 0.6, 0.2])
    return everywhere[np.arange(len(pictures)), steps[0], steps[1], 0][..., None]


# ---------------------------------------------------------------- forward


def forward(parameters: Parameters, pictures: np.ndarray) -> np.ndarray:
    """The probability of each digit for each picture."""
    p = parameters
    maps = max_pool(conv_relu(pictures, p["F1"], p["b1"]))
    maps = conv_relu(maps, p["F2"], p["b2"])
    return softmax(dense_maps(maps, p["F3"], p["b3"]))


def windows(pictures: np.ndarray, width: int = 3) -> np.ndarray:
    """All windows of the pictures with a border of zeros: [picture, y, x, channel, width, width]."""
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sliding_window_view(padded, (width, width), axis=(1, 2))


def conv(pictures: np.ndarray, filters: np.ndarray) -> np.ndarray:
    return np.tensordot(windows(pictures), filters, ([4, 5, 3], [0, 1, 2]))


def conv_relu(pictures: np.ndarray, filters: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.maximum(conv(pictures, filters) + bias, 0)


def max_pool(maps: np.ndarray) -> np.ndarray:
    return _by_window(maps).max(axis=(2, 4))


def _by_window(maps: np.ndarray) -> np.ndarray:
    """[picture, y, 2, x, 2, channel]: axes 2 and 4 run within windows of 2 × 2."""
    n, h, w, c = maps.shape
    return maps[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)


def dense_maps(maps: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.tensordot(maps, weights, 3) + bias


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------- backward


def _gradients(parameters: Parameters, pictures: np.ndarray, labels: np.ndarray) -> Parameters:
    """The derivative of the mean cross entropy by each parameter."""
    p = parameters
    first = conv_relu(pictures, p["F1"], p["b1"])
    pooled = max_pool(first)
    second = conv_relu(pooled, p["F2"], p["b2"])
    scores = softmax(dense_maps(second, p["F3"], p["b3"]))

    scores[np.arange(len(labels)), labels] -= 1
    scores /= len(labels)
    to_second = np.tensordot(scores, p["F3"], (1, 3)) * (second > 0)
    to_pooled = _conv_input_gradient(to_second, p["F2"])
    is_largest = (first == _spread(pooled)) & (first > 0)
    # Equal maxima of a window share its gradient.
    shares = np.maximum(_by_window(is_largest).sum(axis=(2, 4)), 1)
    to_first = _spread(to_pooled / shares.astype(pooled.dtype)) * is_largest
    return {
        "F1": _filter_gradient(pictures, to_first),
        "b1": to_first.sum(axis=(0, 1, 2)),
        "F2": _filter_gradient(pooled, to_second),
        "b2": to_second.sum(axis=(0, 1, 2)),
        "F3": np.tensordot(second, scores, (0, 0)),
        "b3": scores.sum(axis=0),
    }


def _filter_gradient(pictures: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """By the filters of a convolution, from what follows by its result."""
    by_channel = np.tensordot(windows(pictures), gradient, ([0, 1, 2], [0, 1, 2]))  # [channel, 3, 3, map]
    return by_channel.transpose(1, 2, 0, 3)


def _spread(maps: np.ndarray) -> np.ndarray:
    """Each pixel as a window of 2 × 2."""
    return maps.repeat(2, axis=1).repeat(2, axis=2)


def _conv_input_gradient(gradient: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """The same convolution backwards: filters turned round, and channels exchanged."""
    return conv(gradient, filters[::-1, ::-1].transpose(0, 1, 3, 2))
