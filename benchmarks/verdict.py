"""From medians to verdicts: `met 1.12 (floor 1.00)`, `short 0.93 (floor 1.00)`, `not compared (no OpenVINO)`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

TITLES = {
    "numpy": "NumPy",
    "torch": "PyTorch",
    "compile": "torch.compile",
    "onnxruntime": "onnxruntime",
    "openvino": "OpenVINO",
    "jax": "JAX",
    "halide": "Halide",
    "tvm": "TVM",
}


def ratio_to_fastest(seconds: float, peers: Mapping[str, float]) -> tuple[float, str] | None:
    """The fastest peer's time over te's, and which peer that is; None where there is none.

    >>> ratio_to_fastest(2.0, {"numpy": 3.0, "torch": 4.0})
    (1.5, 'numpy')
    """
    if not peers:
        return None
    fastest = min(peers, key=peers.__getitem__)
    return peers[fastest] / seconds, fastest


def verdict(
    ratio: float | None,
    floor: float,
    strongest: Iterable[str],
    compared: Iterable[str],
    slow: Iterable[str] = (),
) -> str:
    """What a row says of its floor.

    `compared` are the peers that were measured, `slow` those that were left out after a first call
    that took many times as long: they were compared as well.

    >>> verdict(1.12, 1.0, ["openvino"], ["numpy", "openvino"])
    'met 1.12 (floor 1.00)'
    >>> verdict(0.934, 1.0, ["openvino"], ["openvino"])
    'short 0.93 (floor 1.00)'
    >>> verdict(1.3, 1.0, ["openvino"], ["numpy"])
    'not compared (no OpenVINO)'
    """
    missing = [TITLES.get(name, name) for name in strongest if name not in {*compared, *slow}]
    if ratio is None or missing:
        return f"not compared (no {', '.join(missing) or 'peer'})"
    return f"{'met' if ratio >= floor else 'short'} {rounded_down(ratio)} (floor {floor:.2f})"


def rounded_down(ratio: float) -> str:
    """Two digits that never flatter: 0.998 is not 1.00.

    >>> rounded_down(0.998), rounded_down(1.0)
    ('0.99', '1.00')
    """
    return f"{math.floor(ratio * 100 + 1e-9) / 100:.2f}"


def geometric_mean(ratios: Iterable[float]) -> float:
    """
    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs))
