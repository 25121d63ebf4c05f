"""The command `te`: check, format, show and run `.te` files.

Exit codes: 0 all is well; 1 something is wrong with the program or its data; 2 the command itself
makes no sense (an unknown option, a file that is not there); 70 a bug in te.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from te.cli.failures import Usage, WrongData
from te.cli.options import parser
from te.cli.output import complain, show_diagnostics
from te.diagnostics import CompileError

OK, WRONG, USAGE, BUG, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 70, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, or the process's own, and give the exit code."""
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(arguments: list[str]) -> int:
    try:
        options = parser().parse_args(arguments)
    except SystemExit as done:  # argparse has printed the help or what is wrong
        return done.code if isinstance(done.code, int) else USAGE
    try:
        code: int = options.command(options)
        return code
    except CompileError as wrong:
        show_diagnostics(wrong.diagnostics)
        return WRONG
    except WrongData as wrong:
        complain(str(wrong))
        return WRONG
    except Usage as wrong:
        complain(str(wrong))
        return USAGE
    except BrokenPipeError:
        raise
    except OSError as problem:
        complain(f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem))
        return USAGE
    except MemoryError as problem:
        complain(f"out of memory: {problem}")
        return WRONG
    except Exception as bug:
        _report(bug, arguments)
        return BUG


def _report(bug: Exception, arguments: list[str]) -> None:
    traceback.print_exception(bug)
    if not hasattr(bug, "__notes__"):  # te.build has added the program
        complain("this is a bug in te. Please report it, with the lines above and the file")
    complain(f"the command was: te {' '.join(arguments)}")
