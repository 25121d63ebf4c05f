"""What `import te` and a first build cost in a new process, beyond starting Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median

from measure import Row, interleaved

HERE = Path(__file__).parent


def run() -> list[Row]:
    first_build = f"import te; te.build({str(HERE / 'matmul.te')!r})"
    programs = ["pass", "import te", "import numpy", first_build]
    rounds = interleaved([lambda code=code: _python(code) for code in programs])
    # The difference of two rounds next to each other; a median of medians would compare other moments.
    base, te_alone, numpy_alone, build = rounds
    over = [[t - b for t, b in zip(times, base, strict=True)] for times in (te_alone, numpy_alone, build)]
    return [
        Row("import te", median(over[0]), min(over[0]), "import numpy", median(over[1]), "aim: under 0.3 s"),
        Row("import te, build matmul", median(over[2]), min(over[2]), note="NumPy and LLVM load here"),
    ]


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)
