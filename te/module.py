"""Files and texts as Python sees them: modules of ops, and what a build may fix of an op."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from te.diagnostics import CompileError, Diagnostic, Diagnostics, Source, did_you_mean
from te.elaborate.elaborate import CHECKED_RANK, elaborate
from te.elaborate.elaborate import check as check_ops
from te.elaborate.modules import STANDARD_LIBRARY, Definition
from te.elaborate.modules import Module as OpsByName
from te.elaborate.packs import pack_names
from te.elaborate.scope import CONST_LIMIT
from te.grammar import tree
from te.grammar.parser import parse_file
from te.ir.types import DTYPES
from te.runtime.laws import broken_laws
from te.schedule.intrinsics import wrong_intrinsics
from te.schedule.schedule import check_schedule
from te.schedule.written import Setting, Written, check_headers
from te.sources import Path_, decode_source, is_text, read_source
from te.target import TARGET_NAMES, levels_of

__all__ = [
    "Library",
    "Module",
    "Op",
    "Options",
    "check_source",
    "decode_source",
    "load",
    "parse",
    "read_source",
    "select_op",
    "std",
]

Constant: TypeAlias = int | float | bool


# ---------------------------------------------------------------- reading


def load(path: Path_) -> Module:
    """The ops of a `.te` file.

    Raises OSError where the file cannot be read, and `te.CompileError` with every syntax error.
    """
    return Module(parse_file(read_source(path)))


def parse(text: str) -> Module:
    """The ops of a text.

    Raises `te.CompileError` with every syntax error.

    >>> import te
    >>> module = te.parse("op double(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }")
    >>> module.double
    <te.Op double(X: f32[N]) -> Y: f32[N]>
    >>> [op.name for op in module]
    ['double']
    """
    return Module(parse_file(Source("<text>", text)))


# ---------------------------------------------------------------- what they hold


@dataclass(frozen=True, slots=True)
class Options:
    """What a build fixes of an op, checked against the op."""

    sizes: Mapping[str, int]
    consts: Mapping[str, Constant]
    dtypes: Mapping[str, str]


class Op:
    """An op of a module, as it was written. `te.build` compiles it.

    `name`, `doc` (its `##` lines) and `signature` are texts.
    """

    def __init__(self, module: Module, written: tree.Op):
        self.module = module
        self.tree = written
        self.name = written.name
        self.doc = written.doc
        self.__doc__ = written.doc

    @property
    def signature(self) -> str:
        """The head of the op, as it was written."""
        text = self.tree.span.source.text[self.tree.name_span.start : self.tree.results[-1].span.end]
        return " ".join(" ".join(line.split("#")[0] for line in text.split("\n")).split())

    @property
    def inputs(self) -> tuple[tree.Param, ...]:
        return tuple(p for p in self.tree.params if p.kind != "const")

    @property
    def consts(self) -> dict[str, str]:
        """The `const`s with their kinds, `int`, `float` or `bool`."""
        return {p.name: p.type.name for p in self.tree.params if p.kind == "const"}

    @property
    def sizes(self) -> tuple[str, ...]:
        """The names that an input has bare as a dimension, in order."""
        dims = [d for p in self.inputs for d in p.type.dims or ()]
        names = [d.name for d in dims if isinstance(d, tree.Name) and d.name not in self.consts]
        return tuple(dict.fromkeys(names))

    @property
    def dtype_variables(self) -> tuple[str, ...]:
        return tuple(g.name for g in self.tree.generics)

    @property
    def packs(self) -> tuple[str, ...]:
        """The `*S` of the inputs: how many axes they stand for is for the call to decide."""
        return pack_names(self.tree)

    def dimension_texts(self) -> dict[str, list[str]]:
        """The dimensions of inputs and results in the words of the source, except where packs are among them."""
        typed: list[tree.Param | tree.Result] = [*self.inputs, *self.tree.results]
        return {
            t.name: [" ".join(d.span.text.split()) for d in t.type.dims or ()]
            for t in typed
            if not any(isinstance(d, tree.Pack) for d in t.type.dims or ())
        }

    def options(
        self,
        sizes: Mapping[str, int] | None = None,
        consts: Mapping[str, Constant] | None = None,
        dtypes: Mapping[str, str] | None = None,
    ) -> Options:
        """What a build is asked to fix, in plain Python types.

        Raises ValueError for a name that the op does not have or a value that makes no sense, and
        TypeError for a value of the wrong type.
        """
        sizes, consts, dtypes = sizes or {}, consts or {}, dtypes or {}
        self._refuse_unknown("size", sizes, self.sizes)
        self._refuse_unknown("const", consts, self.consts)
        self._refuse_unknown("dtype variable", dtypes, self.dtype_variables)
        return Options(
            {name: _size(f"{self.name}: size `{name}`", value) for name, value in sizes.items()},
            {
                name: _constant(f"{self.name}: const `{name}`", self.consts[name], value)
                for name, value in consts.items()
            },
            {
                name: _dtype_name(f"{self.name}: dtype variable `{name}`", value)
                for name, value in dtypes.items()
            },
        )

    def _refuse_unknown(self, what: str, given: Iterable[str], known: Iterable[str]) -> None:
        known = list(known)
        for name in given:
            if name not in known:
                there_are = f"; it has {', '.join(f'`{k}`' for k in known)}" if known else "; it has none"
                hint = did_you_mean(str(name), known)
                raise ValueError(
                    f"{self.name} has no {what} `{name}`{there_are}" + (f" ({hint})" if hint else "")
                )

    def __repr__(self) -> str:
        return f"<te.Op {self.signature}>"

    def _repr_html_(self) -> str:
        """For notebooks: signature, doc and source."""
        from te.runtime.notebook import page

        return page(self.signature, self.doc, self.tree.span.text)


class Module:
    """The ops of one file or text: `module.softmax`, `module["softmax"]`, `for op in module`."""

    def __init__(self, file: tree.File):
        diagnostics = Diagnostics()
        self._ops = {name: Op(self, op) for name, op in OpsByName(file, diagnostics).ops.items()}
        diagnostics.raise_if_errors()
        self.file = file

    @property
    def name(self) -> str:
        """The path of the file, or `<text>`."""
        return self.file.source.name

    def only(self, name: str | None = None) -> Op:
        """The op of that name, or the module's only op. Raises ValueError where there is none or a choice."""
        names = ", ".join(self._ops)
        if name is not None:
            if name in self._ops:
                return self._ops[name]
            hint = did_you_mean(name, self._ops)
            has = f"it has {names}" if names else "it has no ops"
            raise ValueError(f"{self.name} has no op `{name}`; {has}" + (f" ({hint})" if hint else ""))
        if len(self._ops) == 1:
            return next(iter(self._ops.values()))
        if not self._ops:
            raise ValueError(f"{self.name} has no op")
        raise ValueError(f"{self.name} has several ops; choose one with op=: {names}")

    def __getitem__(self, name: str) -> Op:
        if name not in self._ops:
            raise KeyError(name)
        return self._ops[name]

    def __getattr__(self, name: str) -> Op:
        ops: dict[str, Op] = self.__dict__.get("_ops", {})
        if name in ops:
            return ops[name]
        hint = did_you_mean(name, ops)
        raise AttributeError(f"module {self.name!r} has no op `{name}`" + (f"; {hint}" if hint else ""))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._ops]

    def __contains__(self, name: object) -> bool:
        return name in self._ops

    def __iter__(self) -> Iterator[Op]:
        return iter(self._ops.values())

    def __len__(self) -> int:
        return len(self._ops)

    def __repr__(self) -> str:
        return f"<te.Module {self.name}: {', '.join(self._ops) or 'no ops'}>"

    def _repr_html_(self) -> str:
        """For notebooks: name and source."""
        from te.runtime.notebook import page

        return page(self.name, "", self.file.source.text)


class Library:
    """The modules of the standard library, each read when it is first used.

    In a `.te` text they are what `use nn` finds; in Python each op is `te.std.MODULE.OP`.

    >>> import numpy as np, te
    >>> te.std
    <te.std: conv, cuda, linalg, math, nn, quant, reduce, tensor, winograd, x86>
    >>> softmax = te.build(te.std.nn.softmax, dtypes={"T": "f32"})
    >>> softmax(np.zeros((1, 2), np.float32))
    array([[0.5, 0.5]], dtype=float32)
    """

    def __init__(self) -> None:
        self._modules: dict[str, Module] = {}

    def names(self) -> list[str]:
        return sorted(path.stem for path in STANDARD_LIBRARY.glob("*.te"))

    def __getattr__(self, name: str) -> Module:
        if name.startswith("_") or name not in self.names():
            hint = did_you_mean(name, self.names())
            raise AttributeError(
                f"the standard library has no module `{name}`" + (f"; {hint}" if hint else "")
            )
        if name not in self._modules:
            self._modules[name] = load(STANDARD_LIBRARY / f"{name}.te")
        return self._modules[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.names()]

    def __iter__(self) -> Iterator[Module]:
        return iter([getattr(self, name) for name in self.names()])

    def __repr__(self) -> str:
        return f"<te.std: {', '.join(self.names())}>"


std = Library()


def select_op(expr: object, name: str | None = None) -> Op:
    """The op that `expr` is, or the one in the text, file or module that it is.

    A string is text where it holds a newline or `{`, else a path. Raises ValueError where there is
    not exactly one op and `name` chooses none, OSError and CompileError as `load` and `parse` do.
    """
    match expr:
        case Op():
            if name not in (None, expr.name):
                raise ValueError(f"op={name!r} with an op that is called {expr.name!r}")
            return expr
        case Module():
            return expr.only(name)
        case str() if is_text(expr):
            return parse(expr).only(name)
        case str() | os.PathLike():
            return load(expr).only(name)
    raise TypeError(f"an op is given as text, path, te.Op or te.Module, not {type(expr).__name__}")


# ---------------------------------------------------------------- values of options


def _size(called: str, value: object) -> int:
    number = _integer(called, value)
    if number < 0:
        raise ValueError(f"{called} must be at least 0, found {number}")
    return number


def _constant(called: str, kind: str, value: object) -> Constant:
    if kind == "bool":
        if not isinstance(value, bool) and type(value).__name__ not in ("bool_", "bool"):
            raise TypeError(f"{called} must be a bool, found {value!r}")
        return bool(value)
    if kind == "float":
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise TypeError(f"{called} must be a float, found {value!r}")
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{called} is too large for a float") from None
    number = _integer(called, value)
    if abs(number) > CONST_LIMIT:
        raise ValueError(f"{called} must lie between -2**31 and 2**31, found {number}")
    return number


def _integer(called: str, value: object) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{called} must be an int, found {value!r}")
    return operator.index(value)


def _dtype_name(called: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{called} must be the name of a dtype, such as 'f32', found {value!r}")
    if value not in DTYPES:
        hint = did_you_mean(value, DTYPES)
        there_are = f"the dtypes are {', '.join(DTYPES)}"
        raise ValueError(
            f"{called}: there is no dtype `{value}`; {there_are}" + (f" ({hint})" if hint else "")
        )
    return value


# ---------------------------------------------------------------- checking


def check_source(
    source: Source,
    sizes: Mapping[str, int] | None = None,
    consts: Mapping[str, Constant] | None = None,
    dtypes: Mapping[str, str] | None = None,
) -> list[Diagnostic]:
    """Everything that is wrong with a text: its syntax, its ops, and its schedules applied to them.

    Ops are first checked for all sizes and `const`s, and then, if nothing is wrong with them, as a
    build sees them: with those of the given options that they have.
    """
    try:
        file = parse_file(source)
    except CompileError as wrong:
        return list(wrong.diagnostics)
    found = Diagnostics()
    _add(found, check_ops(file))
    _add(found, broken_laws(file))
    _add(found, wrong_intrinsics(file))
    module = OpsByName(file, Diagnostics())  # `check_ops` has reported what is wrong with it
    options = Options(sizes or {}, consts or {}, dtypes or {})
    for definition, schedules in _schedules_by_op(module, found):
        span = definition.op.span
        if not any(
            d.span is None or (d.span.source == span.source and span.start <= d.span.start < span.end)
            for d in found.errors
        ):
            _add(found, _errors_of_build(definition, module, schedules, options))
    return sorted(found.items, key=lambda d: d.span.start if d.span else -1)


def _schedules_by_op(
    module: OpsByName, found: Diagnostics
) -> list[tuple[Definition, tuple[tree.Schedule, ...]]]:
    """The ops of a file, and those of other files for which it has schedules."""
    schedules: dict[tuple[str, str], tuple[Definition, list[tree.Schedule]]] = {}
    for op in module.ops.values():
        definition = Definition(op, module)
        schedules[definition.identity] = (definition, [])
    try:
        _add(found, check_headers(module))
        for item in module.file.items:
            found_op = module.find(item.op) if isinstance(item, tree.Schedule) else None
            if isinstance(item, tree.Schedule) and found_op is not None:
                schedules.setdefault(found_op.identity, (found_op, []))[1].append(item)
    except CompileError as unreadable:
        _add(found, unreadable.diagnostics)  # a used file, which may have been reported
    return [(definition, tuple(items)) for definition, items in schedules.values()]


def _add(found: Diagnostics, diagnostics: Iterable[Diagnostic]) -> None:
    for diagnostic in diagnostics:
        if diagnostic not in found.items:
            found.add(diagnostic)


def _errors_of_build(
    definition: Definition, module: OpsByName, schedules: Sequence[tree.Schedule], options: Options
) -> list[Diagnostic]:
    op = definition.op
    names = {param.name for param in op.params} | {generic.name for generic in op.generics}
    is_own = definition.module is module
    try:
        program = elaborate(
            definition.module.file,
            op.name,
            sizes=options.sizes if is_own else {},
            consts={name: value for name, value in options.consts.items() if name in names},
            dtypes={name: value for name, value in options.dtypes.items() if name in names},
            ranks=dict.fromkeys(pack_names(op), CHECKED_RANK),
        )
    except CompileError as wrong:
        # A `const` without a default is for the build to give; the op was checked for all its values.
        return [d for d in wrong.diagnostics if d.code != "const-missing"]
    found: list[Diagnostic] = []
    backends = {target.partition(".")[0] for target in TARGET_NAMES}
    for item in schedules:
        if item.target.partition(".")[0] in backends:  # another's directives may not exist here
            setting = Setting(program, item.target, levels_of(item.target), module)
            try:
                check_schedule(Written(item, module), setting)
            except CompileError as wrong:
                found += wrong.diagnostics
    return found
