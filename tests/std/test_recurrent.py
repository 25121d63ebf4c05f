"""Recurrent layers of `nn` against loops in Python."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from tests.std.comparing import Array, Case, Input, case, compare, comparisons


def rnn(x: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, h: Array) -> tuple[Array, Array]:
    states = np.empty((len(x), *h.shape))
    for t, row in enumerate(x):
        h = np.tanh(row @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
        states[t] = h
    return states, h


def lstm(
    x: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, h: Array, c: Array
) -> tuple[Array, Array, Array]:
    states = np.empty((len(x), *h.shape))
    for t, row in enumerate(x):
        i, f, g, o = np.split(row @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, -1)
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        states[t] = h
    return states, h, c


def gru(x: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, h: Array) -> tuple[Array, Array]:
    states = np.empty((len(x), *h.shape))
    for t, row in enumerate(x):
        reset, update, new = np.split(row @ w_ih.T + b_ih, 3, -1)
        reset_h, update_h, new_h = np.split(h @ w_hh.T + b_hh, 3, -1)
        z = expit(update + update_h)
        h = (1 - z) * np.tanh(new + expit(reset + reset_h) * new_h) + z * h
        states[t] = h
    return states, h


def inputs(gates: int, states: int, steps: int, batch: int, width: int, hidden: int) -> tuple[Input, ...]:
    rows = gates * hidden
    state = [(batch, hidden)] * states
    return ((steps, batch, width), (rows, width), (rows, hidden), (rows,), (rows,), *state)


SIZES = [(5, 2, 3, 4), (1, 1, 1, 1), (3, 4, 2, 17), (0, 2, 3, 4), (4, 0, 3, 4), (3, 2, 0, 4)]

CASES = [
    case("nn.rnn", rnn, [inputs(1, 1, *s) for s in SIZES]),
    case("nn.lstm", lstm, [inputs(4, 2, *s) for s in SIZES]),
    case("nn.gru", gru, [inputs(3, 1, *s) for s in SIZES]),
]


@comparisons(CASES)
def test_recurrent_layers(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)
