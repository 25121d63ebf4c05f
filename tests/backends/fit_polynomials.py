"""Finds the coefficients of `backends/llvm/math`: `python tests/backends/fit_polynomials.py`.

Remez' exchange on a grid of Chebyshev points, with mpmath: the polynomial that makes the largest
weighted error smallest. The weight turns the error of the polynomial into the relative error of the
function that it serves. Coefficients are rounded when they are printed; the error is that before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np

Function = Callable[[Any], Any]
GRID = 601  # odd: no point is 0
ROUNDS = 12
ERFC_K, ERFC_C = mp.mpf(2.171875), mp.mpf(float(np.float32(0.5 / 2.171875)))


def remez(f: Function, low: Any, high: Any, degree: int, weight: Function) -> tuple[list[Any], float]:
    """The coefficients, from the constant one on, and log2 of the largest weighted error."""
    low, high = mp.mpf(low), mp.mpf(high)
    xs = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * i / GRID) for i in range(GRID + 1)]
    values, weights = [f(x) for x in xs], [weight(x) for x in xs]
    chosen = [round(GRID * i / (degree + 1)) for i in range(degree + 2)]
    best: tuple[float, list[Any]] | None = None
    for _ in range(ROUNDS):
        rows = [
            [xs[i] ** power for power in range(degree + 1)] + [(-1) ** row / weights[i]]
            for row, i in enumerate(chosen)
        ]
        solution = list(mp.lu_solve(mp.matrix(rows), mp.matrix([values[i] for i in chosen])))
        coefficients = solution[:-1]
        errors = [
            w * (mp.polyval(coefficients[::-1], x) - v) for x, v, w in zip(xs, values, weights, strict=True)
        ]
        largest = float(max(abs(e) for e in errors))
        if best is None or largest < best[0]:
            best = largest, coefficients
        peaks = _peaks(errors)
        while len(peaks) > degree + 2:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        if len(peaks) < degree + 2 or largest <= 1.02 * abs(float(solution[-1])):
            break
        chosen = peaks
    assert best is not None
    return best[1], float(np.log2(best[0]))


def _peaks(errors: list[Any]) -> list[int]:
    """The place of the largest error in each run of one sign."""
    peaks: list[int] = []
    for i, e in enumerate(errors):
        if peaks and (e > 0) == (errors[peaks[-1]] > 0):
            if abs(e) > abs(errors[peaks[-1]]):
                peaks[-1] = i
        else:
            peaks.append(i)
    return peaks


def _erfc_scaled(center: int) -> Function:
    def scaled(q: Any) -> Any:
        a = center * (1 + q) / (1 - q)
        return (1 + 2 * a) * mp.exp(a * a) * mp.erfc(a)

    return scaled


def _erfc_of_inverse(s: Any) -> Any:
    inverse = s + ERFC_C
    a = 1 / inverse - ERFC_K
    return mp.exp(a * a) * mp.erfc(a) / inverse


def fits() -> list[tuple[str, Function, Any, Any, int, Function]]:
    """Name, function, interval, degree, weight. What is subtracted and divided out is exact in the code."""
    half_log, eighth = mp.log(2) / 2 * 1.001, (mp.pi / 4 * 1.0005) ** 2
    below, above = mp.mpf(-0.25) * 1.0005, mp.mpf(0.5) * 1.0005  # of f, where 1 + f is in [3/4, 3/2)
    root = mp.sqrt

    def exp(r: Any) -> Any:
        return (mp.expm1(r) - r) / r**2

    def exp2(r: Any) -> Any:
        return (mp.power(2, r) - 1) / r

    def log1p(f: Any) -> Any:
        return ((mp.log1p(f) - f) / f**2 + mp.mpf(1) / 2) / f

    def log(z: Any) -> Any:
        return (2 * mp.atanh(root(z)) - 2 * root(z)) / root(z) ** 3

    def log2(z: Any) -> Any:
        return 2 * mp.atanh(root(z)) / root(z) / mp.log(2)

    def odd(f: Function) -> Function:
        return lambda z: (f(root(z)) - root(z)) / root(z) ** 3

    def cos(z: Any) -> Any:
        return (mp.cos(root(z)) - 1 + z / 2) / z**2

    def of_z(z: Any) -> Any:
        return z

    def relative(f: Function) -> Function:
        return lambda z: root(z) ** 3 / f(root(z))

    table: list[tuple[str, Function, Any, Any, int, Function]] = []
    table.append(("EXP_F32", exp, -half_log, half_log, 4, lambda r: r * r / mp.exp(r)))
    for name, degree in (("EXP_SHORT", 5), ("EXP_F64", 10)):
        table.append((name, exp, -half_log, half_log, degree, lambda r: abs(r * r / mp.expm1(r))))
    for name, degree in (("EXP2_F32", 5), ("EXP2_F64", 11)):
        table.append((name, exp2, -0.501, 0.501, degree, abs))
    table.append(("LOG_F32", log1p, below, above, 7, lambda f: abs(f**3 / mp.log1p(f))))
    table.append(
        ("LOG2_F32", lambda f: mp.log(1 + f, 2) / f - 1, below, above, 9, lambda f: abs(f / mp.log(1 + f, 2)))
    )
    table.append(("LOG_F64", log, 0, 0.0401, 7, of_z))
    table.append(("LOG2_SHORT", log2, 0, 0.0401, 4, lambda z: 1 / log2(z)))
    table.append(("LOG_TAIL", lambda z: (log(z) - mp.mpf(2) / 3) / z, 0, 0.0401, 7, lambda z: z * z / 2))
    for name, degree in (("SIN_F32", 2), ("SIN_SHORT", 3), ("SIN_F64", 5)):
        table.append((name, odd(mp.sin), 0, eighth, degree, of_z))
    table.append(("TAN_F32", odd(mp.tan), 0, (mp.pi / 4 * 1.004) ** 2, 6, relative(mp.tan)))
    for name, degree in (("COS_F32", 2), ("COS_SHORT", 3), ("COS_F64", 5)):
        table.append((name, cos, 0, eighth, degree, lambda z: z * z))
    for name, degree in (("ASIN_F32", 4), ("ASIN_F64", 12)):
        table.append((name, odd(mp.asin), 0, 0.2505, degree, of_z))
    for name, degree in (("ATAN_F32", 8), ("ATAN_F64", 20)):
        table.append((name, odd(mp.atan), 0, 1, degree, relative(mp.atan)))
    table.append(("EXP_ABOVE_F32", exp, 0, mp.log(2) * 1.002, 5, lambda r: r * r / mp.expm1(r)))
    table.append(("SINH_F32", odd(mp.sinh), 0, 1.002, 3, relative(mp.sinh)))
    for name, end, degree in (("ERF_F32", 0.93**2, 5), ("ERF_F64", 1, 12)):
        table.append((name, lambda z: mp.erf(root(z)) / root(z) - 1, 0, end, degree, lambda z: 1))
    table.append(
        ("LOG_ERFC_F32", lambda a: -mp.log(mp.erfc(a)) / a, 0.92, 4, 7, lambda a: a * mp.erfc(a) / mp.erf(a))
    )
    for name, center, end, degree in (("ERFC_SHORT", 2, 10.1, 11), ("ERFC_F64", 4, 27.5, 24)):
        scaled = _erfc_scaled(center)
        last = (mp.mpf(end) - center) / (mp.mpf(end) + center)
        table.append((name, scaled, -1, last, degree, lambda q, scaled=scaled: 1 / scaled(q)))
    inverses = (1 / (mp.mpf(10.1) + ERFC_K) - ERFC_C, 1 / ERFC_K - ERFC_C)
    table.append(("ERFC_F32", _erfc_of_inverse, *inverses, 10, lambda s: 1 / _erfc_of_inverse(s)))
    return table


def main() -> None:
    mp.mp.dps = 70
    tiny = mp.mpf(10) ** -9  # a weight of 0 has no inverse
    for name, f, low, high, degree, weight in fits():
        start = tiny if low == 0 else low
        coefficients, error = remez(f, start, high, degree, lambda x, weight=weight: weight(x) + tiny)
        text = ", ".join(f"{float(c):.9g}" if "F32" in name else repr(float(c)) for c in coefficients)
        print(f"{name}: 2^{error:.1f}\n    {text}")


if __name__ == "__main__":
    main()
