"""`te run`: an op on files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from te.cli.failures import Usage, WrongData
from te.cli.options import number
from te.cli.show import built
from te.runtime.arguments import Parameter
from te.runtime.arrays import Array, dtype_of
from te.runtime.files import FileProblem, check_kind, read_array, write_array


def run(file: str, op: str | None, inputs: Sequence[str], outputs: Sequence[str], **options: Any) -> int:
    """Read the inputs, run the op, and write or print its results."""
    kernel = built(file, op, options)
    sources = _assign("--input", inputs, kernel.inputs)
    sinks = _assign("--output", outputs, kernel.results)
    missing = [p.name for p in kernel.inputs if p.name not in sources]
    if missing:
        raise Usage(f"{kernel.signature} needs " + ", ".join(f"--input {name}=FILE" for name in missing))
    try:
        for path in sinks.values():
            check_kind(path)  # before anything is computed
        found = kernel(*[_read(sources[p.name], p) for p in kernel.inputs])
    except (FileProblem, TypeError, ValueError, IndexError) as wrong:
        raise WrongData(str(wrong)) from None
    results = found if isinstance(found, tuple) else (found,)
    for parameter, array in zip(kernel.results, results, strict=True):
        _give(parameter, array, sinks)
    return 0


def _assign(option: str, given: Iterable[str], parameters: Sequence[Parameter]) -> dict[str, str]:
    """Files by the names of inputs or results. `NAME=` may be left out where there is only one."""
    names = [p.name for p in parameters]
    files: dict[str, str] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or (name not in names and len(names) == 1 and not name.isidentifier()):
            if len(names) != 1:
                raise Usage(
                    f"{option} takes NAME=FILE, where NAME is one of {', '.join(names)}; found `{text}`"
                )
            name, file = names[0], text
        if name not in names:
            raise Usage(f"{option} {text}: there is no `{name}`, only {', '.join(names)}")
        if name in files:
            raise Usage(f"{option} gives `{name}` twice")
        if not file:
            raise Usage(f"{option} {text}: the name of a file is missing")
        files[name] = file
    return files


def _read(text: str, parameter: Parameter) -> Array | int | float | bool:
    if parameter.rank == 0:
        try:
            return number(text)
        except ValueError:
            pass  # a file with a 0-d array
    return read_array(text, parameter)


def _give(parameter: Parameter, array: Array, sinks: dict[str, str]) -> None:
    """Write a result to its file. Without any files, print it."""
    if parameter.name in sinks:
        try:
            write_array(sinks[parameter.name], parameter.name, array)
        except FileProblem as wrong:
            raise WrongData(str(wrong)) from None
    elif not sinks:
        shape = ", ".join(map(str, array.shape))
        print(f"{parameter.name}: {dtype_of(array)}[{shape}]\n{np.array2string(array, threshold=100)}")
