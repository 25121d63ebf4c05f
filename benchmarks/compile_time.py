"""The phases between text and function, as functions to be timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from te.backends import llvm
from te.backends.llvm.compile import compile_text
from te.backends.llvm.jit import load_object
from te.diagnostics import Source
from te.elaborate.elaborate import elaborate
from te.elaborate.modules import Library, read_module
from te.grammar.parser import parse_file
from te.ir.loop import Kernel
from te.runtime.limits import SizeLimit
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from te.schedule.schedule import read_schedule
from te.schedule.written import Setting, schedules_for
from te.target import parse_target


def phases(text: str, op: str) -> dict[str, Callable[[], Any]]:
    """The phases of a build as functions to be timed; each works on what the one before it gave."""
    target = parse_target("llvm")
    source = Source("<benchmark>", text)
    file = parse_file(source)
    program = elaborate(file, op)
    setting = Setting(program, target.name, target.levels, read_module(file, Library()))
    written = schedules_for(setting)[0].schedule

    def schedule() -> Kernel:
        return read_schedule(written, setting)[0].schedule.apply(nest(program))

    kernel = schedule()
    final = finalize(kernel)
    text_of_code = llvm.emit([final], target).text
    code = compile_text(text_of_code, target)
    return {
        "parse": lambda: parse_file(source),
        "elaborate": lambda: elaborate(file, op),
        "schedule": schedule,
        "finalize": lambda: finalize(kernel),
        "largest sizes": lambda: SizeLimit(final).limit,
        "write LLVM IR": lambda: llvm.emit([final], target),
        "LLVM": lambda: compile_text(text_of_code, target),
        "load": lambda: load_object(code),
    }
