"""JAX, compiled by XLA. How many threads it takes follows the cores of the process."""

from __future__ import annotations

from collections.abc import Mapping

from workload import Array, Prepared, Unsupported, Workload

from peers import installed


def version() -> str | None:
    return installed("jax")


def prepare(workload: Workload, arrays: Mapping[str, Array], threads: int) -> Prepared:
    program = workload.jax
    if program is None:
        raise Unsupported("no program")
    import jax

    if workload.kind == "f64":
        jax.config.update("jax_enable_x64", True)
    weights = {name: jax.numpy.asarray(arrays[name]) for name in workload.bound}
    names = list(arrays)

    def whole(*free):
        values = iter(free)
        return program(jax, *[weights[n] if n in weights else next(values) for n in names])

    compiled = jax.jit(whole)
    values = [jax.numpy.asarray(array) for name, array in arrays.items() if name not in weights]
    return Prepared(lambda: compiled(*values).block_until_ready())
