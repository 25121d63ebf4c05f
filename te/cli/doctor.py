"""`te doctor`: what te finds on this machine, and whether it works here."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import traceback
from pathlib import Path

import te
from te.target import TARGET_NAMES, parse_target

TEST_OP = """
op test(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] {
    C[i, j] = sum[k](A[i, k] * B[k, j])
}
"""


def examine() -> int:
    """Print the machine, the versions and the outcome of a test; 0 if te works."""
    print(f"te          {te.__version__} in {Path(te.__file__).parent}")
    print(
        f"Python      {platform.python_version()} ({platform.python_implementation()}), {platform.platform()}"
    )
    for package in ("numpy", "llvmlite", "ml_dtypes", "pillow"):
        print(f"{package:11} {_version(package)}")
    try:
        _show_machine()
        _show_gpu()
        _compile_and_run()
    except Exception:  # whatever is wrong is what the reader wants to see
        traceback.print_exc()
        print("a test    FAILED: te does not work here. Please report it, with all of the above")
        return 1
    return 0


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _show_machine() -> None:
    import llvmlite.binding as llvm

    print(f"LLVM        {'.'.join(map(str, llvm.llvm_version_info))}")
    target = parse_target("llvm")
    features = [f.removeprefix("+") for f in target.features.split(",") if f.startswith("+")]
    interesting = [
        f for f in features if f.startswith(("avx", "fma", "sse4", "neon", "sve", "amx", "bmi", "f16c"))
    ]
    print(f"CPU         {target.cpu}, {target.cores} cores, vectors of {target.vector_bits} bits")
    print(f"features    {' '.join(interesting)}")
    native = [name for name in TARGET_NAMES if parse_target(name).is_native]
    print(f"targets     {', '.join(TARGET_NAMES)} (this machine runs {', '.join(native)})")
    switches = {name: value for name, value in os.environ.items() if name.startswith("TE_")}
    print(f"environment {', '.join(f'{n}={v}' for n, v in switches.items()) or 'no TE_ variables'}")


def _show_gpu() -> None:
    """What of NVIDIA's is here, and what is missing for which use (docs/cuda.md)."""
    from te.backends.cuda.compile import compiler_version
    from te.backends.cuda.device import device_numbered
    from te.backends.cuda.emulator.toolchain import find_compiler
    from te.backends.cuda.toolkit import find_program
    from te.backends.cuda.unavailable import CudaUnavailable

    print(f"{'pycuda':11} {_version('pycuda')}")
    try:
        device = device_numbered(0)
        print(f"GPU         {device.name}, {device.architecture}")
        _run_on_gpu()
    except CudaUnavailable as reason:
        print(f"GPU         none to run on: {reason}")
    missing = "none; `pip install nvidia-cuda-nvrtc`, or install the CUDA toolkit, for machine code of GPUs"
    print(f"CUDA C++    {compiler_version() or missing}")
    disassembler = find_program("nvdisasm") or find_program("cuobjdump")
    missing = "none; `pip install nvidia-cuda-nvdisasm` shows machine code of GPUs"
    print(f"SASS        {disassembler or missing}")
    try:
        print(f"emulator    {find_compiler()}")
    except CudaUnavailable as reason:
        print(f"emulator    none: {reason}")


def _run_on_gpu() -> None:
    import numpy as np

    double = te.build("op double(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }", target="cuda")
    x = np.arange(1000, dtype=np.float32)
    if not np.array_equal(double(x), 2 * x):
        raise RuntimeError("the doubles of small integers are wrong on the GPU")
    print("a test      on the GPU: its result is right")


def _compile_and_run() -> None:
    import time

    import numpy as np

    start = time.perf_counter()
    matmul = te.build(TEST_OP)
    built = time.perf_counter() - start
    a = np.arange(35 * 17, dtype=np.float32).reshape(35, 17) % 7
    b = np.arange(17 * 50, dtype=np.float32).reshape(17, 50) % 5
    if not np.array_equal(matmul(a, b), a @ b):
        raise RuntimeError("a matrix product of small integers is wrong")
    print(f"a test      matmul: compiled in {built * 1e3:.0f} ms, and its result is right")
