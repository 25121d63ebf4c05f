"""What all tests share: golden files, Hypothesis profiles, and the verifier between passes."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Each pass's output is verified while tests run (te.ir.verify).
os.environ.setdefault("TE_VERIFY", "1")

# Tests compile, whatever the user's cache holds; those of the cache choose a folder of their own.
os.environ["TE_CACHE_DIR"] = "0"

# Compiling takes milliseconds and differs much between machines: no example has a deadline.
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=25, **COMMON)  # type: ignore[arg-type]  # a plain dict
settings.register_profile("ci", max_examples=50, derandomize=True, print_blob=True, **COMMON)  # type: ignore[arg-type]
settings.register_profile("thorough", max_examples=2000, print_blob=True, **COMMON)  # type: ignore[arg-type]
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

Golden = Callable[[Path, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the golden files with what the tests find; review the diff as you review code",
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """`golden(path, text)` fails where the file at `path` does not hold `text` and a final newline.

    With `--update-golden` it writes the file instead.
    """

    def check(path: Path, text: str) -> None:
        wanted = text.rstrip("\n") + "\n"
        if request.config.getoption("--update-golden"):
            if not path.exists() or path.read_text(encoding="utf-8") != wanted:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(wanted, encoding="utf-8")
            return
        if not path.exists():
            pytest.fail(f"{path} is missing; `pytest --update-golden` writes it:\n\n{wanted}", pytrace=False)
        held = path.read_text(encoding="utf-8")
        if held != wanted:
            diff = difflib.unified_diff(
                held.splitlines(), wanted.splitlines(), str(path), "found", lineterm=""
            )
            pytest.fail("\n".join(diff) + "\n\n`pytest --update-golden` accepts it", pytrace=False)

    return check
