"""The names that every op may use: functions, constants, casts and reducers."""

from __future__ import annotations

import math

from te.ir.expr import FUNCTIONS, PREDICATES
from te.ir.types import DTYPES

CONSTANTS: dict[str, float | bool] = {
    "inf": math.inf,
    "nan": math.nan,
    "pi": math.pi,
    "true": True,
    "false": False,
}
REDUCERS = ("sum", "prod", "max", "min", "any", "all", "mean", "argmax", "argmin")
# Forms that the elaborator spells with other operators.
DERIVED_FUNCTIONS = ("where", "clamp", "size", "wide")
FUNCTION_NAMES = frozenset({*FUNCTIONS, *PREDICATES, "popcount", *DERIVED_FUNCTIONS} - {"pow"})
BUILTIN_NAMES = frozenset({*FUNCTION_NAMES, *CONSTANTS, *REDUCERS, *DTYPES})
