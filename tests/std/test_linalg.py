"""Products of vectors and matrices against NumPy's."""

from __future__ import annotations

import numpy as np

from tests.std.comparing import Array, Case, case, compare, comparisons

NUMBERS = "f64 f32 i32"


def lower_matrix(rng: np.random.Generator) -> Array:
    """A matrix whose lower triangle is well conditioned, with NaN above it."""
    matrix = np.tril(rng.normal(size=(6, 6))) + 4 * np.eye(6)
    matrix[np.triu_indices(6, 1)] = np.nan
    return matrix


CASES = [
    case("linalg.dot", np.dot, [((7,), (7,)), ((0,), (0,)), ((1,), (1,))], NUMBERS),
    case(
        "linalg.vecdot", lambda a, b: (a * b).sum(-1), [((3, 5), (3, 5)), ((0, 5), (0, 5)), ((3, 0), (3, 0))]
    ),
    case("linalg.outer", np.outer, [((3,), (5,)), ((0,), (5,)), ((1,), (1,))], NUMBERS),
    case("linalg.matvec", lambda a, x: a @ x, [((3, 5), (5,)), ((2, 3, 5), (5,)), ((3, 0), (0,))]),
    case(
        "linalg.matmul",
        np.matmul,
        [((3, 5), (5, 4)), ((33, 17), (17, 35)), ((2, 3, 5), (2, 5, 4)), ((3, 0), (0, 4)), ((0, 5), (5, 4))],
        NUMBERS,
    ),
    case(
        "linalg.matmul_nt",
        lambda a, b: a @ np.swapaxes(b, -1, -2),
        [((3, 5), (4, 5)), ((2, 3, 5), (2, 4, 5)), ((3, 0), (4, 0))],
        NUMBERS,
    ),
    case(
        "linalg.matmul_tn",
        lambda a, b: np.swapaxes(a, -1, -2) @ b,
        [((5, 3), (5, 4)), ((2, 5, 3), (2, 5, 4)), ((0, 3), (0, 4))],
        NUMBERS,
    ),
    case("linalg.matmul_shared", np.matmul, [((3, 5), (5, 4)), ((2, 3, 5), (5, 4)), ((0, 3, 5), (5, 4))]),
    case(
        "linalg.gemm",
        lambda a, b, c, alpha, beta: alpha * (a @ b) + beta * c,
        [((3, 5), (5, 4), (3, 4)), ((3, 0), (0, 4), (3, 4))],
        alpha=0.5,
        beta=-2.0,
    ),
    case(
        "linalg.bilinear",
        lambda x, y, w, b: np.einsum("bi,oij,bj->bo", x, w, y) + b,
        [((2, 3), (2, 4), (5, 3, 4), (5,)), ((0, 3), (0, 4), (5, 3, 4), (5,))],
    ),
    case("linalg.kron", np.kron, [((2, 3), (4, 5)), ((1, 1), (2, 2))], NUMBERS),
    case("linalg.trace", lambda a: np.trace(a, axis1=-2, axis2=-1), [((4, 4),), ((3, 2, 2),), ((0, 0),)]),
    case(
        "linalg.diagonal", lambda a: np.diagonal(a, axis1=-2, axis2=-1), [((4, 4),), ((3, 2, 2),), ((0, 0),)]
    ),
    case("linalg.transpose", lambda a: np.swapaxes(a, -1, -2), [((3, 5),), ((2, 3, 5),), ((0, 5),)], NUMBERS),
    case("linalg.cross", np.cross, [((3,), (3,)), ((4, 3), (4, 3)), ((0, 3), (0, 3))]),
    case("linalg.solve_lower", lambda a, b: np.linalg.solve(np.tril(a), b), [(lower_matrix, (6,))]),
    case(
        "linalg.squared_distances",
        lambda a, b: np.linalg.norm(a[:, None] - b[None], axis=-1) ** 2,
        [((3, 5), (4, 5)), ((0, 5), (4, 5)), ((3, 0), (4, 0))],
    ),
]


@comparisons(CASES)
def test_products(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)
