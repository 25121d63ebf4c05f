"""The runtime with PyCUDA itself, which loads a double of the driver's library (driver_double.c)."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from te.backends.cuda.compile import compiler_version
from te.target import host_gpu

HERE = Path(__file__).parent


def cuda_headers() -> Path | None:
    places = [os.environ.get("CUDA_ROOT", ""), os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    return next((Path(p, "include") for p in places if p and Path(p, "include", "cuda.h").exists()), None)


pytestmark = [
    pytest.mark.gxx,
    pytest.mark.skipif(importlib.util.find_spec("pycuda") is None, reason="needs PyCUDA"),
    pytest.mark.skipif(shutil.which("g++") is None or cuda_headers() is None, reason="needs g++ and cuda.h"),
    pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc"),
    pytest.mark.skipif(
        host_gpu() is not None, reason="there is a driver: tests/end_to_end/test_gpu.py uses it"
    ),
]

PROGRAM = '''
import gc, os, sys, threading
import numpy as np
import te

kernel = te.build("""
op scale(X: f32[N], by: f32) -> Y: f32[N] { Y[i] = by * X[i] }
schedule scale on cuda { split i by 256
bind io to block.x
bind ii to thread.x }
""", target="cuda")
x = np.arange(1000, dtype=np.float32)

def say(text):
    print(text, file=sys.stderr, flush=True)
'''


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a `libcuda.so.1`: the double, and all other functions, which fail."""
    folder, headers = tmp_path_factory.mktemp("driver"), cuda_headers()

    def preprocessed(text: str) -> str:
        command = ["gcc", "-E", f"-I{headers}", "-"]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout

    declared = set(
        re.findall(
            r"\bCUresult\s+(cu[A-Z]\w*)\s*\(", preprocessed("#include <cuda.h>\n#include <cudaProfiler.h>\n")
        )
    )
    source = HERE / "driver_double.c"
    text = source.read_text(encoding="utf-8")
    defined = set(re.findall(r"^CUresult (cu[A-Z]\w*)\([^;]*?\) \{", preprocessed(text), re.MULTILINE))
    rest = folder / "rest.c"
    stubs = "".join(f"int {name}(void) {{ return 34; }}\n" for name in sorted(declared - defined))
    rest.write_text(stubs, encoding="utf-8")
    flags = ["-shared", "-fPIC", "-w", f"-I{headers}", "-Wl,-soname,libcuda.so.1"]
    subprocess.run(["gcc", *flags, "-o", folder / "libcuda.so.1", source, rest], check=True)
    return folder


def run(driver: Path, body: str, **environment: str) -> list[str]:
    """What the double and a program say."""
    env = {**os.environ, "LD_LIBRARY_PATH": str(driver), "TE_CACHE_DIR": "0", **environment}
    done = subprocess.run([sys.executable, "-c", PROGRAM + body], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if not line.startswith(("allocate", "free"))]


def test_arrays_of_numpy(driver: Path) -> None:
    said = run(driver, "say(np.array_equal(kernel(x, 2.0), 2 * x))\n")
    assert said == ["retain", "load", "launch (4, 1, 1) (256, 1, 1) on (nil)", "True", "unload", "release"]


def test_arrays_of_pycuda_and_streams(driver: Path) -> None:
    said = run(
        driver,
        """
import pycuda.driver, pycuda.gpuarray
from te.backends.cuda.device import device_numbered
with device_numbered(0).active():
    given = pycuda.gpuarray.GPUArray((1000,), np.float32, allocator=lambda n: pycuda.driver.mem_alloc(n))
    given.set(x)
    result = kernel(given, 3.0)
    say(type(result).__name__)
    say(np.array_equal(result.get(), 3 * x))
    del result, given
kernel.on(0x77)(x, 2.0)
""",
    )
    assert said == [
        "retain",
        "load",
        "launch (4, 1, 1) (256, 1, 1) on (nil)",
        "GPUArray",
        "True",
        "stream 0x3010",
        "record on 0x77",
        "0x3010 waits",
        "launch (4, 1, 1) (256, 1, 1) on 0x3010",
        "record on 0x3010",
        "0x77 waits",
        "unload",
        "release",
    ]


def test_arrays_of_another_context_than_the_primary_one(driver: Path) -> None:
    body = """
import pycuda.{}, pycuda.gpuarray
given = pycuda.gpuarray.to_gpu(x)
try:
    say(np.array_equal(kernel(given, 3.0).get(), 3 * x))
except TypeError as problem:
    say(problem)
"""
    assert "True" in run(driver, body.format("autoprimaryctx"))
    [refused] = [line for line in run(driver, body.format("autoinit")) if "`X`" in line]
    assert "it lies in another context than the primary one" in refused


def test_graphs_and_times(driver: Path) -> None:
    said = run(
        driver,
        """
from te.backends.cuda.arrays import DeviceArray
from te.backends.cuda.device import device_numbered
from te.ir.types import F32
device = device_numbered(0)
with device.active():
    memory, number = device.driver.mem_alloc(4000), device.driver.mem_alloc(4)
    device.driver.memcpy_htod(memory, x)
    device.driver.memcpy_htod(number, np.array(5, np.float32))
given = DeviceArray(int(memory), (1000,), F32, 0, memory), DeviceArray(int(number), (), F32, 0, number)
graph = kernel.graph(*given)
say(np.array_equal(graph().numpy(), 5 * x))
graph(0x77)
del graph
say(kernel.time(x, 2.0, repeat=2).seconds)
del given
with device.active():
    del memory, number
""",
    )
    assert [
        line for line in said if "graph" in line or "capture" in line or line in ("True", "(0.002, 0.002)")
    ] == [
        "capture 0x3011",
        "captured",
        "graph on (nil)",
        "True",
        "graph on 0x77",
        "graph destroyed",
        "(0.002, 0.002)",
    ]


def test_threads_share_a_kernel_and_nothing_warns(driver: Path) -> None:
    said = run(
        driver,
        """
wrong = []
def work(n):
    for _ in range(20):
        if not np.array_equal(kernel(x, float(n)), n * x):
            wrong.append(n)
    kernel.time(x, 1.0, repeat=1)
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
del kernel, work, threads
gc.collect()
say(wrong)
""",
    )
    assert {line for line in said if not line.startswith(("launch", "record"))} == {
        "retain",
        "load",
        "[]",
        "unload",
    }  # a context that was made in a thread which has ended is for the driver to release


def test_errors(driver: Path) -> None:
    body = """
try:
    kernel(x, 2.0)
except RuntimeError as problem:
    say(problem)
"""
    said = run(driver, body, TE_DOUBLE_FAILS="1")
    assert said[2].startswith(
        "scale failed on GPU 0 (Double): cuLaunchKernel failed: an error of the double (it launches"
    )
    said = run(
        driver,
        "try:\n    kernel(np.zeros(1 << 29, np.float32), 2.0)\nexcept MemoryError as problem:\n    say(problem)\n",
    )
    assert any(line.startswith("scale: GPU 0 (Double) has no memory for it") for line in said)
