"""A compiled op that can be called."""

from __future__ import annotations

import ctypes
import struct
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import empty, ndarray

from te.backends.base import Artifact, Executable
from te.diagnostics import did_you_mean
from te.ir import loop
from te.ir.expr import TRUE, Expr
from te.ir.print import print_expr, print_kernel, print_program
from te.ir.tensor import Program
from te.ir.visit import variables
from te.runtime.ahead import AheadPlan, Kept, plan_function
from te.runtime.arguments import MAX_BYTES, Parameter, Shape, Signature
from te.runtime.arrays import Array, address, aligned_empty, as_it_is, giver, overlap, ready
from te.runtime.bound import BoundKernel, bind_saved
from te.runtime.direct import WORKSPACE_ALIGNMENT, DirectCalls, Known, direct_functions
from te.runtime.hidden import Hidden
from te.runtime.interface import Interface
from te.runtime.sizes import size_function

if TYPE_CHECKING:
    from te.backends.cuda.resources import Resources
    from te.ir.accesses import Access
    from te.schedule.precompute import Ahead
    from te.schedule.schedule import Schedule

__all__ = ["LEVELS", "Compilation", "Kernel", "Timing", "Variant", "duration"]

LEVELS = ("tensor", "loop", "final", "llvm", "cuda", "ptx", "asm")

MOST_THREADS = 1 << 15
ALIGNED_BYTES = 1 << 20  # of a result, from which on it begins at a line of the caches
PLANS_KEPT = 512  # combinations of shapes; a program that sees more of them pays some µs for each call


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to compute the op, for the sizes for which `condition` holds."""

    condition: Expr
    schedule: Schedule
    scheduled: loop.Kernel
    final: loop.Kernel
    accesses: tuple[Access, ...] | None = None  # those that the final kernel of a debug build checks
    ahead: tuple[Ahead, ...] = ()  # what runs once where `param`s are bound

    def __str__(self) -> str:
        text = str(self.schedule)
        return text if self.condition == TRUE else text.replace(" {", f"{self.heading} {{", 1)

    @property
    def heading(self) -> str:
        return "" if self.condition == TRUE else f" when {print_expr(self.condition)}"


@dataclass(frozen=True, slots=True)
class Compilation:
    """What the compiler made on the way to the code: every level that can be read."""

    program: Program
    variants: tuple[Variant, ...]
    artifact: Artifact

    def allows(self, variant: int, sizes: Sequence[int]) -> bool:
        """Whether no index arithmetic overflows for these values of the run-time sizes."""
        from te.runtime.limits import SizeLimit

        chosen = self.variants[variant]
        kernels = [chosen.final, *(part.kernel for part in chosen.ahead)]
        return all(SizeLimit(kernel).allows(sizes) for kernel in kernels)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a call with shapes seen before need not work out again."""

    entry: int
    sizes: tuple[int, ...]
    results: tuple[tuple[Shape, np.dtype[Any]], ...]
    workspace: int  # bytes
    thread_workspace: int  # and for each thread
    ahead: tuple[AheadPlan, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """How long runs of a kernel took, in seconds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        from statistics import median  # which loads slowly

        return median(self.seconds)

    @property
    def best(self) -> float:
        return min(self.seconds)

    def __str__(self) -> str:
        runs = len(self.seconds)
        return f"median {duration(self.median)}, best {duration(self.best)} of {runs} runs"


class Kernel:
    """A compiled op. Call it as a function of its inputs.

    `kernel(*arrays, out=None, **arrays)` takes the inputs by position or by name: NumPy arrays, or
    arrays of any library that speaks DLPack, with exactly the dtypes of the signature; Python
    numbers for scalars. An input in row-major memory is used where it lies; any other is copied.
    It gives the result, or a tuple of several, as arrays of the first array's kind; with `out`
    (an array, or a tuple of several) it writes there and gives `out` back. An input that overlaps
    `out` is copied first. Several threads may call one kernel at the same time.

    Raises TypeError for a missing, extra or unknown argument, for what is no array and for a wrong
    dtype; ValueError for a wrong shape, a `require` that does not hold, sizes that are too large
    and an `out` that cannot be written to; IndexError for an index from data that lies outside its
    tensor; MemoryError where memory for results or intermediates is refused; RuntimeError where
    this CPU cannot run the code.

    >>> import numpy as np, te
    >>> double = te.build("op double(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }")
    >>> double(np.array([1, 2, 3], np.float32))
    array([2., 4., 6.], dtype=float32)
    """

    def __init__(
        self, interface: Interface, executable: Executable | None, compile: Callable[[], Compilation]
    ):
        """`executable` is None where the code is for another CPU.

        `compile` gives what the code was made from; it is asked when somebody wants to read it.
        """
        self._interface = interface
        self._signature = signature = Signature(interface)
        self._executable = executable
        self._compile = compile
        self.__doc__ = interface.doc
        names = signature.sizes
        self._conditions = [size_function(way.condition, names) for way in interface.ways]
        self._workspaces = [size_function(way.entry.workspace, names) for way in interface.ways]
        self._thread_workspaces = [size_function(w.entry.thread_workspace, names) for w in interface.ways]
        self._dtypes = tuple(p.array_dtype for p in signature.inputs)
        self._result_dtypes = tuple(p.array_dtype for p in signature.results)
        self._hidden = Hidden(interface)
        entries = count(len(interface.ways))
        self._ahead = [[plan_function(p, next(entries), names) for p in w.prepared] for w in interface.ways]
        fixed = len(signature.inputs) + len(signature.results) + self._hidden.count + 1 + len(names) + 2
        words = [fixed + sum(len(p.kept) for p in way.prepared) for way in interface.ways]
        self._block_types = [ctypes.c_int64 * number for number in words]
        self._packers = [struct.Struct(f"{number}q").pack_into for number in words]
        self._plans: dict[tuple[Shape, ...], Plan] = {}
        self.direct = DirectCalls()  # asked by `GenericKernel`, too
        # Code is unloaded by counting references, in order, also where the kernel itself is part of a
        # cycle: the garbage collector would finalise LLVM's objects in any order, and crash.
        weakref.finalize(self, _release, executable).atexit = False

    # ------------------------------------------------------------ what it is

    @property
    def name(self) -> str:
        """The op's name."""
        return self._signature.op

    @property
    def signature(self) -> str:
        """`matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N]`."""
        return str(self._signature)

    @property
    def inputs(self) -> tuple[Parameter, ...]:
        """The inputs' names, dtypes and dimensions."""
        return self._signature.inputs

    @property
    def results(self) -> tuple[Parameter, ...]:
        """The results' names, dtypes and dimensions."""
        return self._signature.results

    @cached_property
    def _compilation(self) -> Compilation:
        return self._compile()

    @property
    def program(self) -> Program:
        """The tensor IR."""
        return self._compilation.program

    @property
    def conditions(self) -> tuple[Expr, ...]:
        """For which sizes each of the schedules is used: the first that holds decides, the last always does."""
        return tuple(way.condition for way in self._interface.ways)

    @property
    def schedule(self) -> str:
        """How it is computed: schedules as `.te` text, which `te.build` reads back."""
        return "\n\n".join(way.schedule for way in self._interface.ways)

    def ir(self, level: str) -> str:
        """The op as text at a level of the compiler.

        `tensor`: what is computed. `loop`: the loops after all directives. `final`: as the backend
        sees them. `llvm`: LLVM IR. `cuda`: CUDA C++, and `ptx` what NVIDIA's compiler makes of it.
        `asm`: the machine's instructions, which on a GPU are called `sass` too. Raises ValueError for
        another, and for one that code for this target does not have; `te.CudaUnavailable` where
        NVIDIA's compiler, or a program that shows its code, is not here.
        """
        match level:
            case "tensor":
                return print_program(self.program)
            case "loop":
                return self._listing([print_kernel(v.scheduled) for v in self._compilation.variants])
            case "final":
                return self._listing([_finals(v) for v in self._compilation.variants])
            case "llvm":
                return self._artifact("llvm", level).text
            case "cuda":
                return self._artifact("cuda", level).text
            case "ptx":
                return str(self._artifact("cuda", level).ptx())
            case "sass":
                return str(self._artifact("cuda", level).asm())
            case "asm":
                return self._compilation.artifact.asm()
        hint = did_you_mean(level, LEVELS)
        raise ValueError(
            f"there is no level `{level}`; the levels are: {', '.join(LEVELS)}"
            + (f" ({hint})" if hint else "")
        )

    def resources(self) -> tuple[Resources, ...]:
        """What each launch takes of a GPU's multiprocessor: registers, spills, shared memory, occupancy.

        Raises ValueError for code of another backend, and `te.CudaUnavailable` without NVIDIA's compiler.
        """
        found: tuple[Resources, ...] = self._artifact("cuda", "resources").resources()
        return found

    def _artifact(self, backend: str, level: str) -> Any:
        """The artifact, which must be of that backend to have the level."""
        artifact = self._compilation.artifact
        if artifact.target.backend != backend:
            raise ValueError(
                f"{self.name}: code for {artifact.target.name} has no level `{level}`, "
                f"but `{artifact.target.backend}`"
            )
        return artifact

    def _listing(self, texts: Sequence[str]) -> str:
        """The texts of several variants, each under its condition."""
        if len(texts) == 1:
            return texts[0]
        headings = [f"#{v.heading or ' else'}\n" for v in self._compilation.variants]
        return "\n".join(heading + text for heading, text in zip(headings, texts, strict=True))

    def __repr__(self) -> str:
        return f"<te.Kernel {self.signature}>"

    def _repr_html_(self) -> str:
        """For notebooks: signature, doc, schedule and loops."""
        from te.runtime.notebook import page

        try:
            loops = self.ir("loop")
        except RuntimeError as gone:  # the files that the code was made of have changed
            loops = f"# {gone}"
        return page(self.signature, self._interface.doc, "", [("schedule", self.schedule), ("loops", loops)])

    # ------------------------------------------------------------ calling it

    def arrange(self, values: Sequence[object], named: Mapping[str, object]) -> tuple[object, ...]:
        """The inputs in order. Raises TypeError for a missing, extra, unknown or repeated one."""
        return self._signature.arrange(values, named)

    def __call__(self, /, *arrays: Any, out: Any = None, **named: Any) -> Any:
        if not named and len(arrays) == len(self._dtypes):
            if out is None:
                results = self.direct.call(*arrays)
                if results is not None:
                    return results
            elif (
                type(out) is ndarray and len(self._result_dtypes) == 1 and self.direct.call_into(*arrays, out)
            ):
                return out
        return self._call_with_checks(self.arrange(arrays, named), out)

    def call_bound(self, named: Mapping[str, object], out: Any, kept: Kept) -> Any:
        """A call for which what runs ahead may have been computed before: for `BoundKernel`."""
        return self._call_with_checks(self.arrange((), named), out, kept)

    def _call_with_checks(self, values: tuple[object, ...], out: Any, kept: Kept | None = None) -> Any:
        inputs, plan, is_known = self._prepare(values)
        if out is None:
            give = giver(values)
            results = self._allocate(plan)
        else:
            give = as_it_is
            results = self._outputs(plan, out)
            inputs = [array.copy() if any(overlap(array, r) for r in results) else array for array in inputs]
        # Of results without elements one axis may be long: its loop would go on for hours, with nothing in it.
        if any(result.size for result in results) or not self._hidden.is_plain:
            self._run(plan, inputs, results, kept)
            if is_known:
                self._learn(values, inputs, plan, kept)
        if out is not None:
            return out
        return give(results[0]) if len(results) == 1 else tuple(give(r) for r in results)

    def _learn(
        self, values: Sequence[object], inputs: Sequence[Array], plan: Plan, kept: Kept | None
    ) -> None:
        """Make the next call like this one a direct one, if it can be."""
        names = [p.name for p in self.inputs]
        fixed = {n: inputs[n] for n, name in enumerate(names) if kept is not None and name in kept.bound}
        if not self._hidden.is_plain or any(values[n] is not array for n, array in fixed.items()):
            return
        if any(not fixed.keys() >= {names.index(param) for param in part.params} for part in plan.ahead):
            return
        executable = self._executable
        assert executable is not None, "a call went before"
        over = self._taken_over(plan, inputs, kept)
        known = Known(
            tuple([array.shape for array in inputs]),
            executable.address(plan.entry),
            plan.workspace,
            plan.thread_workspace,
            plan.sizes,
            tuple(over),
            tuple([shape for shape, _ in plan.results]),
        )
        make = partial(
            direct_functions,
            self._dtypes,
            self._result_dtypes,
            len(plan.sizes),
            len(over),
            fixed,
            self._hidden.checks,
            self._hidden.arrays,
            executable,
        )
        if kept is None:
            self.direct.learn(len(over), make, known)
        else:
            kept.direct.learn((self, len(over)), make, known)

    def _prepare(self, values: tuple[object, ...]) -> tuple[list[Array], Plan, bool]:
        """The inputs as the code takes them, the plan for their shapes, and whether these were seen before."""
        views = [self._signature.view(position, value) for position, value in enumerate(values)]
        shapes = tuple([array.shape for array in views])
        plan = self._plans.get(shapes)
        is_known = plan is not None
        if plan is None:
            plan = self._plan(shapes)
            if len(self._plans) >= PLANS_KEPT:
                self._plans.clear()
            self._plans[shapes] = plan
        return [self._ready(position, array) for position, array in enumerate(views)], plan, is_known

    def _ready(self, position: int, array: Array) -> Array:
        parameter = self._signature.inputs[position]
        try:
            return ready(array, parameter.array_dtype)
        except MemoryError as refused:
            raise MemoryError(
                f"{self.name}: a copy of `{parameter.name}` cannot be allocated: {refused}"
            ) from None

    def _plan(self, shapes: tuple[Shape, ...]) -> Plan:
        """Check the shapes, and work out all that depends on nothing else."""
        binding = self._signature.bind(shapes)
        sizes = binding.sizes
        entry = next(number for number, holds in enumerate(self._conditions) if holds(sizes))
        limit = self._interface.ways[entry].size_limit
        if max(sizes, default=0) > limit and not self._compilation.allows(entry, sizes):
            values = ", ".join(
                f"{name} = {value}" for name, value in zip(self._signature.sizes, sizes, strict=True)
            )
            raise ValueError(
                f"{self.name}: sizes too large for 64-bit indices" + (f": {values}" if values else "")
            )
        workspace = self._workspaces[entry](sizes)
        ahead = tuple([plan(sizes) for plan in self._ahead[entry]])
        thread_workspace = self._thread_workspaces[entry](sizes)
        most = max(part.workspace + MOST_THREADS * part.thread_workspace for part in ahead) if ahead else 0
        if max(workspace + MOST_THREADS * thread_workspace, most) > MAX_BYTES:
            raise ValueError(f"{self.name}: the intermediates would need more bytes than can be addressed")
        return Plan(
            entry,
            sizes,
            tuple(zip(binding.results, self._result_dtypes, strict=True)),
            workspace,
            thread_workspace,
            ahead,
        )

    def _allocate(self, plan: Plan) -> list[Array]:
        return [_empty(f"{self.name}: a result", shape, dtype) for shape, dtype in plan.results]

    def _outputs(self, plan: Plan, out: Any) -> list[Array]:
        count = len(plan.results)
        if count == 1 and not isinstance(out, tuple | list):
            out = (out,)
        if not isinstance(out, tuple | list) or len(out) != count:
            what = "an array" if count == 1 else f"a tuple of {count} arrays"
            found = f"{len(out)} of them" if isinstance(out, tuple | list) else type(out).__name__
            raise TypeError(f"{self.name}: `out` must be {what}, one for each result, found {found}")
        results = [
            self._signature.prepare_output(position, array, shape)
            for position, (array, (shape, _)) in enumerate(zip(out, plan.results, strict=True))
        ]
        for number, result in enumerate(results):
            if any(overlap(result, earlier) for earlier in results[:number]):
                raise ValueError(f"{self.name}: two of the arrays in `out` overlap")
        return results

    def _run(
        self, plan: Plan, inputs: Sequence[Array], results: Sequence[Array], kept: Kept | None = None
    ) -> None:
        """Run the code on prepared arrays. Everything it writes belongs to this call, or is `kept`."""
        executable = self._executable
        if executable is None:
            raise RuntimeError(
                f"{self.name} was built for {self._compilation.artifact.target.name}, whose code this CPU cannot run"
            )
        over = self._taken_over(plan, inputs, kept) if plan.ahead else []
        team = executable.team
        workspace, _memory = self._workspace(plan, team[0])
        block = self._block_types[plan.entry]()
        pack = self._packers[plan.entry]
        addresses = map(address, (*inputs, *results))
        if not self._hidden.count:
            taken = map(address, over)
            pack(block, 0, *addresses, *taken, workspace, *plan.sizes, *team)
            executable(ctypes.addressof(block), plan.entry)
            return
        places = self._hidden.places()
        hidden = [*self._hidden.addresses(places), *map(address, over)]
        pack(block, 0, *addresses, *hidden, workspace, *plan.sizes, *team)
        executable(ctypes.addressof(block), plan.entry)
        self._hidden.raise_failures(places, plan.sizes, plan.entry)

    def _workspace(self, plan: Plan | AheadPlan, threads: int) -> tuple[int, Array | None]:
        """An aligned address of scratch memory, and the array that owns it; or neither."""
        size = plan.workspace + threads * plan.thread_workspace
        if not size:
            return 0, None
        shape = (size + WORKSPACE_ALIGNMENT - 1,)
        memory = _empty(f"{self.name}: intermediates", shape, np.dtype(np.uint8))
        return -(-address(memory) // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT, memory

    def _taken_over(self, plan: Plan, inputs: Sequence[Array], kept: Kept | None) -> list[Array]:
        """What the code takes over from code that runs ahead: kept from an earlier call, or computed now."""
        arrays: list[Array] = []
        for part in plan.ahead:
            compute = partial(self._run_ahead, part, plan.sizes, inputs)
            arrays += compute() if kept is None else kept.arrays(self, part, compute)
        return arrays

    def compute_ahead(self, bound: Mapping[str, object], kept: Kept) -> None:
        """Compute now what is decided by bound inputs: for `BoundKernel`.

        What they leave open, and what is wrong with them, is for the first call to find.
        """
        if self._executable is None or not any(self._ahead):
            return
        positions = {p.name: number for number, p in enumerate(self.inputs) if p.name in bound}
        try:
            views = {n: self._signature.view(n, bound[name]) for name, n in positions.items()}
        except (TypeError, ValueError):
            return
        known = self._signature.known_sizes({n: array.shape for n, array in views.items()})
        number = None if known is None else self._way_for(known)
        if known is None or number is None:
            return
        way = self._interface.ways[number]
        sizes = [known.get(name, 0) for name in self._signature.sizes]
        if max(sizes, default=0) > way.size_limit:
            return
        inputs = [self._ready(n, views[n]) if n in views else empty(0) for n in range(len(self.inputs))]
        for prepared, plan in zip(way.prepared, self._ahead[number], strict=True):
            if known.keys() >= {*prepared.sizes}:
                part = plan(sizes)
                if bound.keys() >= {*part.params}:
                    kept.arrays(self, part, partial(self._run_ahead, part, sizes, inputs))

    def _way_for(self, known: Mapping[str, int]) -> int | None:
        """The way that calls will take, where the sizes known so far decide it."""
        sizes = [known.get(name, 0) for name in self._signature.sizes]
        for number, way in enumerate(self._interface.ways):
            if not variables(way.condition) <= known.keys():
                return None
            if self._conditions[number](sizes):
                return number
        return None

    def _run_ahead(self, part: AheadPlan, sizes: Sequence[int], inputs: Sequence[Array]) -> list[Array]:
        executable = self._executable
        assert executable is not None, "its caller runs code too"
        arrays = [_empty(f"{self.name}: what it precomputes", shape, dtype) for shape, dtype in part.buffers]
        team = executable.team
        workspace, _memory = self._workspace(part, team[0])
        given = [*map(address, inputs), *self._hidden.tables, *map(address, arrays)]
        words = [*given, workspace, *sizes, *team]
        block = (ctypes.c_int64 * len(words))(*words)
        executable(ctypes.addressof(block), part.entry)
        return arrays

    # ------------------------------------------------------------ measuring it

    def bind(self, **arrays: Any) -> BoundKernel:
        """The kernel with some inputs given once, such as the weights that an op marks by `param`.

        What the schedule precomputes from them is computed once and kept, now or, where sizes or
        dtypes are not known yet, at the first call (`te help precompute`): what is written to these
        arrays later does not count there. Raises TypeError for a name that is no input; wrong
        arrays are refused at the first call.

        >>> import numpy as np, te
        >>> text = "op scale(X: f32[N], param w: f32[N]) -> Y: f32[N] { Y[i] = w[i] * X[i] }"
        >>> twice = te.build(text).bind(w=np.array([2, 2], np.float32))
        >>> twice(np.array([1, 5], np.float32))
        array([ 2., 10.], dtype=float32)
        """
        return BoundKernel(self, arrays)

    def bind_saved(self, path: str | PathLike[str], *, mapped: bool = False) -> BoundKernel:
        """A bound kernel from the file that `BoundKernel.save` wrote, with the arrays in it.

        What was computed from them is used where it is of the same code and sizes, and computed anew
        elsewhere: by another version of te, for another schedule, or for another CPU where that
        has another one. With `mapped`, arrays stay in the file, which all processes that map it share in memory; it
        must not become shorter then. Raises OSError for a file that cannot be read, and ValueError for
        one that is broken or of another op.
        """
        return bind_saved(self, path, mapped=mapped)

    def time(self, /, *arrays: Any, repeat: int = 20, **named: Any) -> Timing:
        """How long the code takes on these inputs, without checks, copies and allocation of results.

        It runs once unmeasured, then `repeat` times; short runs are repeated within one
        measurement until it takes a millisecond. Raises what a call raises.
        """
        return self._time(self.arrange(arrays, named), repeat, None)

    def time_bound(self, named: Mapping[str, object], repeat: int, kept: Kept) -> Timing:
        """The time of calls for which what runs ahead has been computed before: for `BoundKernel`."""
        return self._time(self.arrange((), named), repeat, kept)

    def stopwatch(self, /, *arrays: Any, **named: Any) -> Callable[[], float]:
        """What `time` repeats: each call of it measures a run on these inputs, in seconds.

        With the stopwatches of several kernels one can measure them in turn. Raises what a call raises.
        """
        return self._stopwatch(self.arrange(arrays, named), None)

    def _time(self, values: tuple[object, ...], repeat: int, kept: Kept | None) -> Timing:
        if repeat < 1:
            raise ValueError(f"`repeat` must be at least 1, found {repeat}")
        measure = self._stopwatch(values, kept)
        return Timing(tuple([measure() for _ in range(repeat)]))

    def _stopwatch(self, values: tuple[object, ...], kept: Kept | None) -> Callable[[], float]:
        inputs, plan, _ = self._prepare(values)
        results = self._allocate(plan)

        def measure(times: int) -> float:
            start = time.perf_counter()
            for _ in range(times):
                self._run(plan, inputs, results, kept)
            return (time.perf_counter() - start) / times

        measure(1)
        times = max(1, round(1e-3 / max(measure(1), 1e-7)))
        return lambda: measure(times)


def _finals(variant: Variant) -> str:
    return "\n".join(print_kernel(k) for k in (*(part.kernel for part in variant.ahead), variant.final))


def _release(executable: Executable | None) -> None:
    """The last moment at which the collector may not touch the executable."""


def _empty(called: str, shape: Shape, dtype: np.dtype[Any]) -> Array:
    try:
        array = np.empty(shape, dtype)
        return array if array.nbytes < ALIGNED_BYTES else aligned_empty(shape, dtype)
    except MemoryError as refused:
        raise MemoryError(f"{called} cannot be allocated: {refused}") from None


def duration(seconds: float) -> str:
    """A time for people: three digits, in the unit that fits."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
