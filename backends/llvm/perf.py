"""The lines of loaded code for Linux's `perf`: each run of instructions of one `.te` line is a symbol.

perf knows code that no file holds from `/tmp/perf-PID.map`, lines of address, size and name. It takes
only names, so the line table is read here, and the line is the name: `perf report` lists lines.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from te.diagnostics import printable

ABSOLUTE_64 = (1, 257)  # relocations that put a 64-bit address: x86-64, AArch64


def write_perf_map(code: bytes, symbol: str, address: int) -> None:
    """Tell perf the lines of an object file in which `symbol` was loaded at `address`.

    The file has the name that perf wants, belongs to the user and is not followed if it is a link.
    """
    names = _read_elf(code)
    base = address - names.symbols[symbol]
    rows = "".join(
        f"{base + start:x} {size:x} {printable(name)}\n" for start, size, name in _runs(names.lines)
    )
    path = f"/tmp/perf-{os.getpid()}.map"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w") as file:
        file.write(rows)


def _runs(lines: bytes) -> Iterator[tuple[int, int, str]]:
    """Start, size and name of each run of instructions that come from one line."""
    begin, current = 0, ""
    for address, name in line_rows(lines):
        if name == current:
            continue
        if current and address > begin:
            yield begin, address - begin, current
        begin, current = address, name


# ---------------------------------------------------------------- ELF


@dataclass(frozen=True, slots=True)
class _Names:
    symbols: dict[str, int]  # the place of each function in the code
    lines: bytes  # the section .debug_line, with addresses counted from the start of the code


def _read_elf(code: bytes) -> _Names:
    """What perf needs of a 64-bit little-endian object file."""
    (table,) = struct.unpack_from("<Q", code, 40)
    size, count, names_index = struct.unpack_from("<HHH", code, 58)
    heads = [struct.unpack_from("<IIQQQQIIQQ", code, table + size * n) for n in range(count)]
    data = [code[head[4] : head[4] + head[5]] for head in heads]
    sections = {_string(data[names_index], head[0]): number for number, head in enumerate(heads)}

    symbols = {}
    strings = data[heads[sections[".symtab"]][6]]
    for name, info, _, _, value, _ in struct.iter_unpack("<IBBHQQ", data[sections[".symtab"]]):
        if info & 15 == 2:  # a function
            symbols[_string(strings, name)] = value

    lines = bytearray(data[sections[".debug_line"]])
    for offset, info, addend in struct.iter_unpack("<QQq", data[sections[".rela.debug_line"]]):
        if info & 0xFFFFFFFF in ABSOLUTE_64:
            struct.pack_into("<q", lines, offset, addend)
    return _Names(symbols, bytes(lines))


def _string(data: bytes, start: int) -> str:
    return _string_at(data, start).decode()


# ---------------------------------------------------------------- DWARF, section 6.2 of version 4


def line_rows(data: bytes) -> Iterator[tuple[int, str]]:
    """Addresses in the code with the `file:line` that begins there; an empty name ends a sequence."""
    header = struct.unpack_from("<IHIBBBbBB", data)
    length, version, header_length, step, _, _, line_base, line_range, opcode_base = header
    if version != 4:
        raise ValueError(f"a line table of DWARF {version}")
    operands = data[16 : 15 + opcode_base]
    reader = _Reader(data, 15 + opcode_base)
    while reader.string():
        pass  # folders
    files = []
    while file := reader.string():
        files.append(file)
        for _ in range(3):  # folder, time, size
            reader.number()
    reader.position = 10 + header_length

    address, line, number = 0, 1, 1
    while reader.position < 4 + length:
        opcode = reader.byte()
        if opcode >= opcode_base:
            opcode -= opcode_base
            address += opcode // line_range * step
            line += line_base + opcode % line_range
        elif opcode == 0:
            size = reader.number()
            end = reader.position + size
            kind = reader.byte()
            if kind == 1:
                yield address, ""
                address, line, number = 0, 1, 1
            elif kind == 2:
                (address,) = struct.unpack_from("<Q", data, reader.position)
            reader.position = end
            continue
        elif opcode == 1:
            pass  # copy
        elif opcode == 8:
            address += (255 - opcode_base) // line_range * step
            continue
        elif opcode == 9:
            (advance,) = struct.unpack_from("<H", data, reader.position)
            address += advance
            reader.position += 2
            continue
        else:
            values = [reader.number(signed=opcode == 3) for _ in range(operands[opcode - 1])]
            if opcode == 2:
                address += values[0] * step
            elif opcode == 3:
                line += values[0]
            elif opcode == 4:
                number = values[0]
            continue
        yield address, f"{files[number - 1]}:{line}" if line else files[number - 1]


class _Reader:
    def __init__(self, data: bytes, position: int):
        self.data = data
        self.position = position

    def byte(self) -> int:
        self.position += 1
        return self.data[self.position - 1]

    def string(self) -> str:
        text = _string_at(self.data, self.position)
        self.position += len(text) + 1
        return text.decode()

    def number(self, *, signed: bool = False) -> int:
        """LEB128."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value - (1 << shift) if signed and byte & 64 else value


def _string_at(data: bytes, start: int) -> bytes:
    return data[start : data.index(0, start)]
