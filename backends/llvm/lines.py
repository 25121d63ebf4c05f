"""The `.te` lines of instructions, as LLVM metadata: the object file gets DWARF line tables.

A function's instructions name the line of the stage that they compute. gdb takes the tables from the
JIT's registration interface; no variables are described.
"""

from __future__ import annotations

import os

from te.diagnostics import Source, Span
from te.ir.tensor import Program

MAX_COLUMN = 0xFFFF  # DWARF has 16 bits for it in LLVM


class LineTable:
    """The metadata of one module, numbered in the order in which it is asked for."""

    def __init__(self) -> None:
        self._nodes: list[str] = []
        self._numbers: dict[str, int] = {}  # of nodes that were asked for, by what was asked
        self._unit: int | None = None
        self._head: Span | None = None
        self._spans: dict[str, Span | None] = {}

    def begin(self, program: Program) -> None:
        """The stages of the functions that follow are those of this program."""
        self._head = program.span
        self._spans = {stage.name: stage.span for stage in program.stages}

    def head(self, function: str) -> str:
        """What ends the text of instructions of no stage: the place of the op. Nothing where it has none."""
        return self._location(function, self._head) if self._head else ""

    def location(self, function: str, stage: str) -> str:
        """What ends the text of a stage's instructions, `, !dbg !7`; nothing where it has no place."""
        span = self._spans.get(stage)
        return self._location(function, span) if span and self._head else ""

    def _location(self, function: str, span: Span) -> str:
        assert self._head is not None
        scope = self._subprogram(function, self._head)
        if span.source != self._head.source:  # a stage of an op in another file
            scope = self._node(
                f"!DILexicalBlockFile(scope: !{scope}, file: !{self._file(span.source)}, discriminator: 0)"
            )
        column = min(span.column, MAX_COLUMN)
        return f", !dbg !{self._node(f'!DILocation(line: {span.line}, column: {column}, scope: !{scope})')}"

    def of_function(self, function: str) -> str:
        """What follows the attributes in a definition; nothing where no instruction has a line."""
        number = self._numbers.get(function)
        return "" if number is None else f" !dbg !{number}"

    def text(self) -> str:
        """All metadata, for the end of the module."""
        if self._unit is None:
            return ""
        flags = [
            self._node('!{i32 2, !"Debug Info Version", i32 3}'),
            self._node('!{i32 7, !"Dwarf Version", i32 4}'),
        ]
        named = [
            f"!llvm.dbg.cu = !{{!{self._unit}}}",
            f"!llvm.module.flags = !{{{', '.join(f'!{n}' for n in flags)}}}",
        ]
        return "\n".join([*named, *(f"!{n} = {node}" for n, node in enumerate(self._nodes)), ""])

    # ------------------------------------------------------------ nodes

    def _node(self, text: str, key: str | None = None) -> int:
        number = self._numbers.get(key or text)
        if number is None:
            number = self._numbers[key or text] = len(self._nodes)
            self._nodes.append(text)
        return number

    def _file(self, source: Source) -> int:
        is_file = os.path.exists(source.name)
        folder, name = os.path.split(os.path.abspath(source.name)) if is_file else ("", source.name)
        return self._node(f"!DIFile(filename: {_string(name)}, directory: {_string(folder)})")

    def _subprogram(self, function: str, head: Span) -> int:
        number = self._numbers.get(function)
        if number is not None:
            return number
        file = self._file(head.source)
        if self._unit is None:
            self._unit = self._node(
                f'distinct !DICompileUnit(language: DW_LANG_C99, file: !{file}, producer: "te", '
                "isOptimized: true, runtimeVersion: 0, emissionKind: FullDebug)"
            )
        type = self._node(f"!DISubroutineType(types: !{self._node('!{null}')})")
        # `break blur` is what a user types; the function that takes the arguments apart is `te_blur`.
        name = function.removeprefix("te_").replace(".body", "") if ".body" in function else function
        return self._node(
            f"distinct !DISubprogram(name: {_string(name)}, "
            f"scope: !{file}, file: !{file}, line: {head.line}, scopeLine: {head.line}, type: !{type}, "
            f"spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !{self._unit})",
            function,
        )


def _string(text: str) -> str:
    """A string of metadata: what is no plain ASCII as `\\C3`."""
    safe = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\' else f"\\{b:02X}" for b in text.encode())
    return f'"{"".join(safe)}"'
