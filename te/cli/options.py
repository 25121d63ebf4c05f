"""The command line: which options there are, and what their values mean."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import te
from te.cli.failures import Usage

LEVELS = (
    "tensor",
    "loop",
    "final",
    "llvm",
    "cuda",
    "ptx",
    "asm",
)  # te.runtime.kernel.LEVELS, without loading NumPy


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command. Each subcommand's `command` is the function that runs it."""
    top = argparse.ArgumentParser(
        prog="te", description="Tensor expressions in a small language, compiled to native code."
    )
    top.add_argument("--version", action="version", version=f"te {te.__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _check(commands)
    _fmt(commands)
    _show(commands)
    _schedule(commands)
    _run(commands)
    _bench(commands)
    _cache(commands)
    _help(commands)
    _doctor(commands)
    return top


def _command(commands: Any, name: str, help: str, command: Callable[[argparse.Namespace], int]) -> Any:
    added = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    added.set_defaults(command=command)
    return added


def _check(commands: Any) -> None:
    def command(options: argparse.Namespace) -> int:
        from te.cli.check import check

        return check(options.files, options.json, has_races=options.races)

    added = _command(commands, "check", "report everything that is wrong with files", command)
    added.add_argument("files", nargs="+", metavar="FILE", help="a .te file, or a folder of them")
    added.add_argument("--json", action="store_true", help="print the diagnostics as JSON, on stdout")
    added.add_argument(
        "--races",
        action="store_true",
        help="also run the ops in an emulator of GPUs, which finds races, wrong barriers "
        "and accesses out of bounds (needs g++)",
    )


def _fmt(commands: Any) -> None:
    def command(options: argparse.Namespace) -> int:
        from te.cli.fmt import fmt

        return fmt(options.files, options.check, options.diff)

    added = _command(commands, "fmt", "format files in place", command)
    added.add_argument(
        "files", nargs="+", metavar="FILE", help="a .te file, a folder of them, or `-`: stdin to stdout"
    )
    added.add_argument(
        "--check",
        action="store_true",
        help="write nothing; name the files that would change, and exit with 1",
    )
    added.add_argument("--diff", action="store_true", help="write nothing; print what would change")


def _show(commands: Any) -> None:
    def command(options: argparse.Namespace) -> int:
        if options.step or options.html is not None:
            from te.cli.watch import show_steps, write_page

            watched = watch_options(options)
            return show_steps(watched) if options.step else write_page(watched, options.html)
        from te.cli.show import show, show_resources

        if options.resources:
            return show_resources(options.file, options.op, **build_options(options))
        return show(options.file, options.op, options.ir, **build_options(options))

    added = _command(
        commands, "show", "print an op at a level of the compiler, or its schedule at work", command
    )
    _add_op(added)
    what = added.add_mutually_exclusive_group()
    what.add_argument(
        "--ir", choices=LEVELS, default="tensor", help="what is computed (tensor, the default), or how"
    )
    what.add_argument(
        "--step", action="store_true", help="the loops, and what each line of the schedule changes"
    )
    what.add_argument(
        "--html", metavar="OUT.html", help="write a page that shows the loops and their costs after each line"
    )
    what.add_argument(
        "--resources",
        action="store_true",
        help="what each launch takes of a GPU: registers, spills, shared memory, occupancy (targets cuda...)",
    )
    _add_sizes(added, "sizes to count with: --sizes M=512,N=512 (with --step and --html)")
    _add_build_options(added)


def _schedule(commands: Any) -> None:
    def command(options: argparse.Namespace) -> int:
        from te.cli.show import show_schedule

        return show_schedule(options.file, options.op, **build_options(options))

    added = _command(
        commands, "schedule", "print how an op is scheduled, the automatic schedule too, as text", command
    )
    _add_op(added)
    _add_build_options(added)


def _bench(commands: Any) -> None:
    def command(options: argparse.Namespace) -> int:
        from te.cli.bench import bench, bench_steps

        run = bench_steps if options.step else bench
        return run(watch_options(options), options.repeat)

    added = _command(commands, "bench", "measure how long an op takes, by schedule", command)
    _add_op(added)
    added.add_argument("--step", action="store_true", help="after each line of the schedule")
    added.add_argument(
        "--repeat", type=int, default=9, metavar="N", help="measure each N times; medians count (default: 9)"
    )
    _add_sizes(added, "the sizes of the inputs, which are random: --sizes M=512,N=512")
    _add_build_options(added)


def _run(commands: Any) -> None:
    def command(options: argparse.Namespace) -> int:
        from te.cli.run import run

        return run(options.file, options.op, options.input, options.output, **build_options(options))

    added = _command(commands, "run", "run an op on files: .npy, or pictures if Pillow is installed", command)
    _add_op(added)
    added.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="X=FILE",
        help="where an input is; a number for a scalar. `X=` may be left out where there is one input",
    )
    added.add_argument(
        "--output",
        action="append",
        default=[],
        metavar="Y=FILE",
        help="where to write a result; without one, results are printed",
    )
    _add_build_options(added)


def _cache(commands: Any) -> None:
    def command(options: argparse.Namespace) -> int:
        from te.cli.cache import clear, show_info

        return clear() if options.action == "clear" else show_info()

    added = _command(commands, "cache", "show or clear the cache of compiled kernels", command)
    added.add_argument("action", choices=("info", "clear"), help="what it holds and where, or remove it all")


def _help(commands: Any) -> None:
    def command(options: argparse.Namespace) -> int:
        from te.cli.help import show_help

        return show_help(options.verb)

    added = _command(commands, "help", "explain the directives of schedules", command)
    added.add_argument("verb", nargs="?", metavar="VERB", help="a directive, such as split")


def _doctor(commands: Any) -> None:
    def command(options: argparse.Namespace) -> int:
        from te.cli.doctor import examine

        return examine()

    _command(commands, "doctor", "show what te finds on this machine, and whether it works", command)


# ---------------------------------------------------------------- shared by `show` and `run`


def _add_op(added: Any) -> None:
    added.add_argument("file", metavar="FILE", help="a .te file")
    added.add_argument("op", nargs="?", metavar="OP", help="an op in it; needed if it has several")


def _add_build_options(added: Any) -> None:
    added.add_argument("--schedule", metavar="S", help="directives, the path of a .te file, `auto` or `none`")
    added.add_argument("--target", default="llvm", metavar="T", help="what to compile for (default: llvm)")
    added.add_argument("--size", action="append", default=[], metavar="M=4", help="fix a size")
    added.add_argument("--const", action="append", default=[], metavar="C=1", help="give a const a value")
    added.add_argument(
        "--knob", action="append", default=[], metavar="K=8", help="set a knob of the schedule"
    )
    added.add_argument("--dtype", action="append", default=[], metavar="T=f32", help="fix a dtype variable")
    added.add_argument(
        "--math",
        choices=("strict", "fast"),
        default="strict",
        help="`fast` admits instructions that do more than sum in another order, and takes functions with "
        "larger errors (default: strict)",
    )


def _add_sizes(added: Any, help: str) -> None:
    added.add_argument("--sizes", action="append", default=[], metavar="M=4,...", help=help)


@dataclass(frozen=True, slots=True)
class Watched:
    """An op whose schedule is watched: what `te.build` takes, and sizes to count and to measure with."""

    file: str
    op: str | None
    build: dict[str, Any]
    sizes: dict[str, int]


def watch_options(options: argparse.Namespace) -> Watched:
    parts = [part for text in options.sizes for part in text.split(",")]
    sizes: dict[str, int] = _pairs("--sizes", parts, _integer)
    for name, value in sizes.items():
        if value < 0:
            raise Usage(f"--sizes {name}={value}: a size is at least 0")
    return Watched(options.file, options.op, build_options(options), sizes)


def build_options(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `te.build` that the options give."""
    return {
        "schedule": options.schedule,
        "target": options.target,
        "sizes": _pairs("--size", options.size, _integer),
        "consts": _pairs("--const", options.const, number),
        "dtypes": _pairs("--dtype", options.dtype, str),
        "knobs": _pairs("--knob", options.knob, number),
        "math": options.math,
    }


def _pairs(option: str, given: Iterable[str], read: Callable[[str], Any]) -> dict[str, Any]:
    values = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise Usage(f"{option} takes NAME=VALUE, found `{text}`")
        try:
            values[name.strip()] = read(value.strip())
        except ValueError:
            raise Usage(f"{option} {text}: `{value}` is no number") from None
    return values


def _integer(text: str) -> int:
    return int(text, 0)


def number(text: str) -> int | float | bool:
    """A number or a truth value, as it is written in the language. Raises ValueError for anything else."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text, 0)
    except ValueError:
        return float(text)
