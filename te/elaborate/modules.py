"""Files and the ops in them: what a name in a call means.

`use nn` makes the ops of `nn.te` available as `nn.softmax`: a file beside this one,
else of the standard library. `use nn.{softmax}` brings names in bare. A used file
is read when the first of its ops is called, once for all the files that use it, so
files may use each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from te.diagnostics import CompileError, Diagnostics, Note, Source, Span, did_you_mean, error
from te.elaborate.builtins import BUILTIN_NAMES
from te.elaborate.files import UsedFiles
from te.grammar import tree
from te.grammar.parser import parse_file

if TYPE_CHECKING:
    from te.elaborate.scope import Scope

STANDARD_LIBRARY = Path(__file__).parents[1] / "std"
MAX_CALLS = 1000


@dataclass(frozen=True, slots=True)
class Definition:
    """An op and the file whose names its body means."""

    op: tree.Op
    module: Module

    @property
    def identity(self) -> tuple[str, str]:
        return self.module.file.source.name, self.op.name


@dataclass
class Library:
    """All files that one build reads, each once, and how many calls it has put in."""

    modules: dict[Path, Module] = field(default_factory=dict)
    files: UsedFiles = field(default_factory=UsedFiles)
    calls: int = 0

    def count_call(self, scope: Scope, span: Span) -> None:
        """Bound the work: ops that call each other twice a level would double it with each level."""
        self.calls += 1
        if self.calls > MAX_CALLS:
            scope.fail(
                error(
                    "too-many-calls", f"the calls of ops in this file expand to more than {MAX_CALLS}", span
                )
            )


class Module:
    """A parsed file: its ops by name, and the files that it uses."""

    def __init__(self, file: tree.File, diagnostics: Diagnostics, library: Library | None = None):
        self.file = file
        self.library = library or Library()
        self.ops: dict[str, tree.Op] = {}
        self.tables: dict[str, tree.ConstTable] = {}
        self.uses: dict[str, tuple[tree.Use, Path]] = {}  # by the module's name
        self.bare: dict[str, str] = {}  # a name brought in bare -> the module that has it
        for item in file.items:
            match item:
                case tree.Op():
                    self._define(item, diagnostics)
                case tree.Use():
                    self._use(item, diagnostics)
                case tree.ConstTable():
                    self._define_table(item, diagnostics)
        self._refuse_clashes(diagnostics)

    def find(self, name: str) -> Definition | None:
        """The op that a call of `name` means here; None where there is none.

        Raises `CompileError` where the file that should have it cannot be read.
        """
        if name in self.ops:
            return Definition(self.ops[name], self)
        module_name, dot, op_name = name.rpartition(".")
        if not dot:
            module_name, op_name = self.bare.get(name, ""), name
        if module_name not in self.uses:
            return None
        module = self._load(module_name)
        return Definition(module.ops[op_name], module) if op_name in module.ops else None

    def callable_names(self) -> list[str]:
        """The names of all ops that a call may name here, of files read so far."""
        names = [*self.ops, *self.bare]
        for module_name, (_, path) in self.uses.items():
            loaded = self.library.modules.get(path)
            names += [f"{module_name}.{op}" for op in loaded.ops] if loaded else []
        return names

    def check_uses(self, diagnostics: Diagnostics) -> None:
        """Read every used file; report those that are wrong, and names that they do not have."""
        for name, (use, _) in self.uses.items():
            try:
                module = self._load(name)
            except CompileError as wrong:
                for diagnostic in wrong.diagnostics:
                    diagnostics.add(diagnostic)
                continue
            for wanted in use.names or ():
                if wanted not in module.ops:
                    diagnostics.add(
                        error(
                            "unknown-op-in-module",
                            f"`{name}` has no op `{wanted}`",
                            use.span,
                            help=did_you_mean(wanted, module.ops)
                            or f"it has {', '.join(sorted(module.ops))}",
                        )
                    )

    def _define(self, op: tree.Op, diagnostics: Diagnostics) -> None:
        if op.name in BUILTIN_NAMES:
            diagnostics.add(
                error(
                    "op-takes-builtin-name",
                    f"`{op.name}` is built in",
                    op.name_span,
                    help="choose another name",
                )
            )
        elif op.name in self.ops:
            first = Note(self.ops[op.name].name_span, "first defined here")
            diagnostics.add(
                error("duplicate-op", f"op `{op.name}` is defined twice", op.name_span, notes=[first])
            )
        else:
            self.ops[op.name] = op

    def _define_table(self, item: tree.ConstTable, diagnostics: Diagnostics) -> None:
        if item.name in self.tables:
            first = Note(self.tables[item.name].span, "first defined here")
            diagnostics.add(
                error("duplicate-table", f"`{item.name}` is defined twice", item.span, notes=[first])
            )
        self.tables.setdefault(item.name, item)

    def _use(self, use: tree.Use, diagnostics: Diagnostics) -> None:
        path = self._path_of(use.module)
        if path is None:
            known = sorted(p.stem for p in STANDARD_LIBRARY.glob("*.te"))
            diagnostics.add(
                error(
                    "unknown-module",
                    f"there is no file `{use.module}.te` beside this one, nor in the standard library",
                    use.span,
                    help=did_you_mean(use.module, known) or f"the standard library has {', '.join(known)}",
                )
            )
            return
        self.uses[use.module] = (use, path)
        for name in use.names or ():
            self.bare[name] = use.module

    def _refuse_clashes(self, diagnostics: Diagnostics) -> None:
        for name, module_name in self.bare.items():
            if name in self.ops:
                note = Note(self.ops[name].name_span, "defined here")
                use = self.uses[module_name][0]
                diagnostics.add(
                    error("duplicate-op", f"op `{name}` is defined here too", use.span, notes=[note])
                )

    def _path_of(self, name: str) -> Path | None:
        here = Path(self.file.source.name)
        candidates = [here.parent / f"{name}.te"] if here.suffix == ".te" else []
        candidates.append(STANDARD_LIBRARY / f"{name}.te")
        return next((path for path in map(self.library.files.find, candidates) if path), None)

    def _load(self, name: str) -> Module:
        use, path = self.uses[name]
        if path not in self.library.modules:
            self.library.modules[path] = _read(path, self.library, use)
        return self.library.modules[path]


def read_module(file: tree.File, library: Library) -> Module:
    """The module that a file is. Raises `CompileError` with all that is wrong with its names."""
    diagnostics = Diagnostics()
    module = Module(file, diagnostics, library)
    diagnostics.raise_if_errors()
    return module


def _read(path: Path, library: Library, use: tree.Use) -> Module:
    try:
        text = library.files.read(path)
    except (OSError, UnicodeDecodeError) as wrong:
        raise CompileError(
            error("module-unreadable", f"{path.name} cannot be read: {wrong}", use.span)
        ) from None
    return read_module(parse_file(Source(str(path), text)), library)
