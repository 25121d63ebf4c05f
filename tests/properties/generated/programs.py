"""Draws whole programs: `.te` text, and what it means in NumPy. Nothing here imports te.

Every text is a legal program. Where the compiler refuses one, either the generator or the compiler is wrong.
What makes programs legal and is not obvious:

- A `where` on indices alone, and an `else`, must be reachable for some sizes. So an index that already
  stands under a condition is not tested again, and a read with `else` leaves its tensor at index 0.
- Comparisons, casts to integers and roundings make a small error large, so they only take values that every
  correct implementation computes alike (`Node.inexact`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tests.properties.generated.arguments import array
from tests.properties.generated.expressions import Expressions, is_inferred
from tests.properties.generated.nodes import (
    DTYPES,
    FLOATS,
    LARGEST_SIZE,
    PRIMARY,
    Env,
    Extent,
    Function,
    Index,
    Node,
    Sizes,
    Tensor,
    bits_stored,
    composite,
    size,
)
from tests.properties.generated.places import Scope
from tests.properties.generated.reference import NUMPY, Value, stored

SIZE_NAMES = ("N", "M", "K", "h")
# Words that are keywords elsewhere may name tensors.
TENSOR_NAMES = ("T", "U", "V", "tile", "by", "op", "at", "split", "where_", "use", "E", "const")
# Most index points that a program may compute; 33**3 is 36,000.
MOST_POINTS = 40_000
ARGUMENT_SIZES = (1, 2, 3, 0, 4, 5, 7, 8, 9, 15, 16, 17, LARGEST_SIZE)


@dataclass(frozen=True, slots=True)
class Stage:
    tensor: Tensor
    of: Callable[[Env], Value]


@dataclass(frozen=True, slots=True)
class Op:
    name: str
    text: str
    sizes: tuple[str, ...]
    least: Sizes
    inputs: tuple[Tensor, ...]
    results: tuple[Tensor, ...]
    stages: tuple[Stage, ...]
    costs: tuple[tuple[Extent, ...], ...]

    def evaluate(self, sizes: Sizes, inputs: dict[str, Value]) -> dict[str, Value]:
        """All results, by name."""
        env = Env(sizes, dict(inputs))
        for stage in self.stages:
            env.tensors[stage.tensor.name] = stage.of(env)
        return {t.name: env.tensors[t.name] for t in self.results}


@dataclass(frozen=True, slots=True)
class Program:
    """A file whose last op is the one to build, with values for its `const`s."""

    text: str
    op: Op
    consts: dict[str, int | float | bool]

    def sizes(self, rng: random.Random) -> Sizes:
        """Sizes to call it with: small, odd, powers of two, 0 and 1."""
        least = self.op.least
        for limit in (len(ARGUMENT_SIZES),) * 6 + (8, 5, 3):
            sizes = {n: max(least.get(n, 0), rng.choice(ARGUMENT_SIZES[:limit])) for n in self.op.sizes}
            if self.points(sizes) <= MOST_POINTS:
                return sizes
        return {n: max(least.get(n, 0), 1) for n in self.op.sizes}

    def points(self, sizes: Sizes) -> int:
        return sum(int(np.prod([max(e.of(sizes), 0) for e in extents])) for extents in self.op.costs)

    def arrays(self, sizes: Sizes, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {t.name: array(t, sizes, rng) for t in self.op.inputs}

    def evaluate(self, sizes: Sizes, arrays: dict[str, np.ndarray]) -> dict[str, Value]:
        with np.errstate(all="ignore"):
            inputs = {t.name: Value(arrays[t.name].astype(NUMPY[t.dtype])) for t in self.op.inputs}
            return self.op.evaluate(sizes, inputs)


def draw_program(rng: random.Random) -> Program:
    """A random program; the same choices of `rng` give the same one."""
    consts = _draw_consts(rng)
    functions: list[Function] = []
    helpers: list[Op] = []
    for number in range(rng.choice([0, 0, 1, 2])):
        functions.append(OpGenerator(rng, f"f{number}", functions=functions).function())
    for number in range(rng.choice([0, 0, 0, 1, 2])):
        helpers.append(OpGenerator(rng, f"g{number}", functions=functions, helpers=helpers).op())
    main = OpGenerator(rng, "main", functions=functions, helpers=helpers, consts=consts).op()
    items = [f.text for f in functions] + [h.text for h in helpers] + [main.text]
    if rng.random() < 0.2:
        rng.shuffle(items)
    return Program("\n\n".join(items) + "\n", main, consts)


def _draw_consts(rng: random.Random) -> dict[str, int | float | bool]:
    consts: dict[str, int | float | bool] = {}
    if rng.random() < 0.2:
        consts["step"] = rng.choice([1, 2, 3])
    if rng.random() < 0.1:
        consts["alpha"] = rng.choice([0.5, -1.25, 0.1])
    if rng.random() < 0.1:
        consts["flag"] = rng.random() < 0.5
    return consts


@dataclass
class OpGenerator(Expressions):
    """Draws one op."""

    helpers: list[Op] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)

    def op(self) -> Op:
        rng = self.rng
        self.sizes = tuple(rng.sample(SIZE_NAMES, rng.choice([1, 2, 2, 3])))
        self.taken |= {*self.sizes, *self.consts, *(f.name for f in self.functions), self.name}
        self.taken |= {h.name for h in self.helpers}
        for name in self.sizes:
            if self.chance(0.15):
                self.require(name, rng.choice([1, 2, 3]))
        inputs = self._inputs()
        self.tensors += inputs
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            self._intermediate()
        results = tuple(self._result(number) for number in range(rng.choice([1, 1, 1, 2])))
        return Op(
            self.name,
            self._text(inputs, results),
            self.sizes,
            dict(self.required),
            inputs,
            results,
            tuple(self.stages),
            tuple(self.costs),
        )

    def _text(self, inputs: tuple[Tensor, ...], results: tuple[Tensor, ...]) -> str:
        params = [f"{t.name}: {t.type}" for t in inputs]
        for name, value in self.consts.items():
            kind = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
            default = f" = {str(value).lower()}" if self.chance(0.5) else ""
            params.append(f"const {name}: {kind}{default}")
        statements = [f"require {name} >= {value}" for name, value in self.required.items()]
        equations = list(self.statements)
        if self.chance(0.3):
            self.rng.shuffle(equations)  # the order does not matter
        separator = "; " if self.chance(0.1) else "\n    "
        body = separator.join(statements + equations)
        comment = "## A generated op.\n" if self.chance(0.2) else ""
        outcome = ", ".join(f"{t.name}: {t.type}" for t in results)
        return f"{comment}op {self.name}({', '.join(params)}) -> {outcome} {{\n    {body}\n}}"

    def _inputs(self) -> tuple[Tensor, ...]:
        rng = self.rng
        unbound = list(self.sizes)
        inputs = []
        for number in range(rng.choice([1, 2, 2, 3, 3])):
            dims: list[Extent] = []
            rank = rng.choice([1, 2, 2, 3])
            while len(dims) < rank:
                dims.append(size(unbound.pop(0)) if unbound else self.extent())
            inputs.append(self._input(f"{'XABCD'[number]}", tuple(dims)))
        while unbound:
            inputs.append(self._input(f"S{len(inputs)}", (size(unbound.pop(0)),)))
        if self.chance(0.15):
            inputs.append(self._input("c0", ()))
        return tuple(inputs)

    def _input(self, name: str, dims: tuple[Extent, ...]) -> Tensor:
        dtype = self.rng.choice(DTYPES)
        self.taken.add(name)
        if dtype in FLOATS and self.chance(0.6):
            return Tensor(name, dtype, dims, bits=bits_stored(dtype, (4.0, 0.125)), values="eighths")
        return Tensor(name, dtype, dims, values="small" if self.chance(0.6) else "mixed")

    def fresh(self, wanted: str | None = None) -> str:
        pool = [n for n in TENSOR_NAMES if n not in self.taken and n not in self.consts]
        name = wanted or (self.rng.choice(pool) if pool else f"T{len(self.taken)}")
        self.taken.add(name)
        return name

    # ------------------------------------------------------------ statements

    def _intermediate(self) -> None:
        if self.helpers and self.chance(0.4) and self._call():
            return
        name = self.fresh()
        dims = tuple(self._likely_extent() for _ in range(self.rng.choice([0, 1, 1, 2, 2, 3])))
        self._equation(name, self.rng.choice(DTYPES), dims, is_result=False)

    def _result(self, number: int) -> Tensor:
        name = self.fresh("YZ"[number])
        dims = tuple(self._likely_extent() for _ in range(self.rng.choice([0, 1, 1, 2, 2, 2, 3])))
        return self._equation(name, self.rng.choice(DTYPES), dims, is_result=True)

    def _equation(self, name: str, dtype: str, dims: tuple[Extent, ...], is_result: bool) -> Tensor:
        scope = Scope()
        indices = []
        for extent in dims:
            indices.append(self.new_index(scope, extent))
            scope = scope.with_index(indices[-1])
        self.costs.append(scope.extents)
        node = self._joined_tensors(dtype, scope) if self.chance(0.15) else None
        node = node or self.expression(dtype, 3, scope, literal=is_result, inexact=True)
        axes = [
            i.name if self._may_omit(i, node, is_result) else f"{i.name} < {i.extent.text}" for i in indices
        ]
        target = f"{name}[{', '.join(axes)}]" if axes or self.chance(0.1) else name
        self.statements.append(f"{target} = {node.text}")
        tensor = Tensor(name, dtype, dims, node.inexact, bits_stored(dtype, node.bits))

        def of(env: Env) -> Value:
            env = Env(env.sizes, env.tensors).inside((i.name, i.extent) for i in indices)
            value = node.of(env)
            assert value.dtype == NUMPY[dtype], f"{node.text} is {value.dtype}, not {dtype}"
            value = stored(value, dtype)
            data = np.broadcast_to(value.data, env.shape)
            return Value(data, None if value.error is None else np.broadcast_to(value.error, env.shape))

        self.stages.append(Stage(tensor, of))
        self.tensors.append(tensor)
        return tensor

    def _may_omit(self, index: Index, node: Node, is_declared: bool) -> bool:
        """Whether the extent may be left out, because the declaration or the reads give it."""
        if is_declared:
            return self.chance(0.9)
        return self.chance(0.6) and is_inferred(index, node.direct)

    def _call(self) -> bool:
        """`H = g(X, Y)`: a call of an op on whole tensors, if there are tensors that fit."""
        helper = self.rng.choice(self.helpers)
        arguments = []
        for wanted in helper.inputs:
            suitable = [
                t
                for t in self.tensors
                if t.dtype == wanted.dtype and len(t.dims) == len(wanted.dims) and not t.inexact
            ]
            if not suitable:
                return False
            arguments.append(self.rng.choice(suitable))
        bound = _bind(helper, arguments)
        if bound is None:
            return False
        for name, least in helper.least.items():
            if bound[name].kind != "size":
                return False
            self.require(bound[name].text, least)
        names = [self.fresh() for _ in helper.results]
        shapes = [tuple(_renamed(d, bound) for d in r.dims) for r in helper.results]
        if any(d is None for shape in shapes for d in shape):
            return False
        self.statements.append(f"{', '.join(names)} = {helper.name}({', '.join(a.name for a in arguments)})")
        for extents in helper.costs:
            renamed = tuple(_renamed(e, bound) for e in extents)
            self.costs.append(tuple(e for e in renamed if e is not None))
        for name, shape, result in zip(names, shapes, helper.results, strict=True):
            dims = tuple(d for d in shape if d is not None)
            tensor = Tensor(name, result.dtype, dims, result.inexact, None)

            def of(env: Env, wanted: str = result.name) -> Value:
                sizes = {n: e.of(env.sizes) for n, e in bound.items()}
                given = {t.name: env.tensors[a.name] for t, a in zip(helper.inputs, arguments, strict=True)}
                return helper.evaluate(sizes, given)[wanted]

            self.stages.append(Stage(tensor, of))
            self.tensors.append(tensor)
        return True

    def function(self) -> Function:
        """`op f0(x: f32, y: i32) -> z: f32 { z = ... }`."""
        rng = self.rng
        dtypes = tuple(rng.choice(DTYPES) for _ in range(rng.choice([1, 2])))
        names = ["x", "y"][: len(dtypes)]
        params = [
            Node(n, PRIMARY, d, lambda env, n=n: env.scalars[n], data=True)
            for n, d in zip(names, dtypes, strict=True)
        ]
        result = self.expression(rng.choice(DTYPES), 2, Scope(params=tuple(params)), inexact=True)
        header = ", ".join(f"{n}: {d}" for n, d in zip(names, dtypes, strict=True))
        text = f"op {self.name}({header}) -> z: {result.dtype} {{ z = {result.text} }}"
        return Function(self.name, dtypes, result, text)


def _bind(helper: Op, arguments: list[Tensor]) -> dict[str, Extent] | None:
    """The helper's sizes as extents of the caller, or None where the arguments do not fit."""
    bound: dict[str, Extent] = {}
    for wanted, given in zip(helper.inputs, arguments, strict=True):
        for dim, extent in zip(wanted.dims, given.dims, strict=True):
            if dim.kind == "size" and bound.setdefault(dim.text, extent).text != extent.text:
                return None
    for wanted, given in zip(helper.inputs, arguments, strict=True):
        for dim, extent in zip(wanted.dims, given.dims, strict=True):
            renamed = _renamed(dim, bound)
            if renamed is None or renamed.text != extent.text:
                return None
    return bound


def _renamed(extent: Extent, bound: dict[str, Extent]) -> Extent | None:
    """An extent of a helper in the caller's sizes, where the caller can name it."""
    if extent.kind == "constant":
        return extent
    if extent.kind == "size":
        return bound[extent.text]
    parts = [bound[p] for p in extent.parts]
    if any(p.kind != "size" for p in parts):
        return None
    return composite(extent.kind, *(p.text for p in parts))
