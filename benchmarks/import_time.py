"""What `import te` and a first build cost in a new process, beyond starting Python."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from measure import Row, interleaved

HERE = Path(__file__).parent


def run() -> list[Row]:
    first_build = f"import te; te.build({str(HERE / 'matmul.te')!r})"
    with tempfile.TemporaryDirectory() as folder:
        rounds = interleaved(
            [
                lambda: _python("pass"),
                lambda: _python("import te"),
                lambda: _python("import numpy"),
                lambda: _python(first_build),
                lambda: _python(first_build, cache=folder),
            ]
        )
    # Differences of neighbours in time.
    base, *others = rounds
    over = [[t - b for t, b in zip(times, base, strict=True)] for times in others]
    middle = [median(times) for times in over]
    return [
        Row("import te", middle[0], min(over[0]), "import numpy", middle[1], "aim: under 0.3 s"),
        Row("import te, build matmul", middle[2], min(over[2]), "from the cache", middle[3]),
    ]


def _python(code: str, cache: str = "0") -> None:
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TE_CACHE_DIR": cache})
