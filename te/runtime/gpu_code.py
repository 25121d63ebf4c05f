"""Machine code for GPUs, kept on disk by its content.

The key of an entry is a hash of the CUDA C++, of the architecture, and of the compiler with its options. It is
in the folder of the object cache, with the same limits (docs/cache.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from te.backends.cuda.compile import OPTIONS, Compiled, compile_text, compiler_version
from te.diagnostics import Span
from te.runtime.cache_folder import open_folder

__all__ = ["machine_code"]

FORMAT = 1  # of the entries


def machine_code(text: str, sm: str, lines: Sequence[Span | None] = ()) -> Compiled:
    """What `compile_text` gives, compiled once. Raises what it raises."""
    folder = open_folder()
    compiler = compiler_version()
    if folder is None or compiler is None:
        return compile_text(text, sm, lines)
    described = ["cuda", FORMAT, compiler, *OPTIONS, sm, text]
    key = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    found = folder.read(key)
    if found is not None:
        header = json.loads(found[0])
        return Compiled(found[1], header["ptx"], header["log"])
    made = compile_text(text, sm, lines)
    folder.write(key, json.dumps({"ptx": made.ptx, "log": made.log}).encode(), made.cubin)
    return made
