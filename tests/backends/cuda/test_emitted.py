"""The text for each `.te` file here: the final loops, what the host does, and the functions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import te
from te.backends.cuda.artifact import CudaArtifact
from te.backends.cuda.compile import compile_text, compiler_version
from te.backends.cuda.launches import Host, HostFor, HostIf, HostLet, HostSeq, Launch
from te.backends.interp.loop import run_kernel
from te.backends.interp.tensor import run_program
from te.ir.evaluate import evaluate
from te.ir.print import print_expr
from te.ir.types import numpy_dtype
from te.runtime.kernel import Variant

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.te"))
SIZES = {"N": 130, "M": 7, "K": 21, "T": 3}
needs_compiler = [
    pytest.mark.nvcc,
    pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc"),
]


def emitted(path: Path) -> tuple[Variant, CudaArtifact]:
    compilation = te.build(path, target="cuda")._compilation
    assert isinstance(compilation.artifact, CudaArtifact)
    return compilation.variants[-1], compilation.artifact


def host_lines(host: Host) -> list[str]:
    match host:
        case Launch():
            grid = ", ".join(print_expr(e) for e in host.grid)
            shared = f", {host.shared} bytes shared" if host.shared else ""
            given = ", ".join((*host.buffers, *host.scalars))
            return [f"{host.symbol}<<<({grid}), {host.block}{shared}>>>({given})"]
        case HostSeq(items):
            return [line for item in items for line in host_lines(item)]
        case HostFor(var, extent, body):
            return [f"for {var} < {print_expr(extent)}:", *(f"  {line}" for line in host_lines(body))]
        case HostLet(var, value, body):
            return [f"let {var} = {print_expr(value)}:", *(f"  {line}" for line in host_lines(body))]
        case HostIf(condition, body, otherwise):
            lines = [f"if {print_expr(condition)}:", *(f"  {line}" for line in host_lines(body))]
            other = [] if otherwise is None else host_lines(otherwise)
            return [*lines, *(["else:", *(f"  {line}" for line in other)] if other else [])]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_text(path: Path, golden: Callable[[Path, str], None]) -> None:
    kernel = te.build(path, target="cuda")
    _, artifact = emitted(path)
    code = artifact.text[artifact.text.index('extern "C" __global__') :]
    (program,) = artifact.programs
    golden(path.with_suffix(".txt"), "\n".join([kernel.ir("final"), *host_lines(program.host), "", code]))


def test_operands_of_all_warps_lie_in_shared_memory_and_the_interpreter_finds_them() -> None:
    text = (HERE / "tensor_cores.te").read_text()
    text = text.replace("reorder total.ko, total.w, total.km", "reorder total.ko, total.km, total.w")
    kernel = te.build(text, target="cuda-emulated")
    assert "alloc Af: bf16[2, 1, 32, 2, 2, 2] in shared" in kernel.ir("final")
    sizes = {"M": 35, "N": 33, "K": 40}
    a, b = np.arange(35 * 40).reshape(35, 40) % 5 - 2, np.arange(40 * 33).reshape(40, 33) % 3 - 1
    inputs = {name: x.astype(ml_dtypes.bfloat16) for name, x in (("A", a), ("B", b))}
    expected = np.maximum(a @ b, 0).astype(ml_dtypes.bfloat16)
    found = run_kernel(kernel._compilation.variants[-1].final, inputs, sizes, order="shuffled")["C"]
    np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))
    if shutil.which("g++"):
        np.testing.assert_array_equal(
            np.asarray(kernel(*inputs.values()), np.float32), expected.astype(np.float32)
        )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
def test_final_loops_compute_the_op(path: Path, order: str) -> None:
    variant, _ = emitted(path)
    program = variant.final.program
    sizes = {name: SIZES[name] for name in program.sizes}
    rng = np.random.default_rng(1)
    inputs = {}
    for tensor in program.inputs:
        shape = [int(evaluate(d, sizes)) for d in tensor.shape]
        inputs[tensor.name] = rng.integers(0, 5, shape).astype(numpy_dtype(tensor.dtype))
    expected = run_program(program, inputs, sizes)
    for name, array in run_kernel(variant.final, inputs, sizes, order=order).items():
        wide = (np.asarray(a, np.float64) for a in (array, expected[name]))
        np.testing.assert_allclose(*wide, rtol=1e-5, err_msg=name)


class TestWithCompiler:
    pytestmark = needs_compiler

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
    def test_it_compiles(self, path: Path) -> None:
        _, artifact = emitted(path)
        compile_text(artifact.text, "sm_80", artifact.lines)
