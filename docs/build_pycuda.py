"""Build a wheel of PyCUDA on a machine that has CUDA's headers and perhaps neither a driver nor cuRAND nor a network.

    python docs/build_pycuda.py pycuda-2026.1.tar.gz wheels/ [--cuda-root /usr/local/cuda]

PyPI has PyCUDA as sources alone. They are linked with the driver's library, `libcuda.so`, which only machines with a
GPU have; a library of the same functions, made here from `cuda.h`, serves for that, and the result loads the real one.
It needs g++, and in this interpreter setuptools, wheel, numpy, mako, pytools and platformdirs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

LIBRARY = "libcuda.so.1"


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a wheel of PyCUDA, without a driver if need be.")
    parser.add_argument(
        "sources", type=Path, help="pycuda-VERSION.tar.gz: pip download --no-deps --no-binary :all: pycuda"
    )
    parser.add_argument("wheels", type=Path, help="the folder that the wheel is written to")
    parser.add_argument("--cuda-root", type=Path, help="where CUDA is installed (default: found)")
    options = parser.parse_args()
    root = options.cuda_root or next(_cuda_roots(), None)
    if root is None:
        sys.exit("no cuda.h is found: install the CUDA toolkit, or give --cuda-root")
    with tempfile.TemporaryDirectory(prefix="pycuda-") as folder:
        with tarfile.open(options.sources) as archive:
            archive.extractall(folder, filter="data")
        [sources] = Path(folder).glob("pycuda-*")
        make_driver_stub(root, Path(folder))
        (sources / "siteconf.py").write_text(
            f"CUDA_ROOT = {str(root)!r}\n"
            "CUDA_ENABLE_CURAND = False\n"
            f"CUDADRV_LIB_DIR = [{folder!r}]\n"
            "CXXFLAGS = ['-O1', '-g0', '-w']\n"
            "LDFLAGS = ['-Wl,-s']\n"
        )
        out = options.wheels.resolve()
        command = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(sources)]
        subprocess.run([sys.executable, *command], check=True, env={**os.environ, "CUDA_ROOT": str(root)})
    print(*sorted(out.glob("pycuda-*.whl")), sep="\n")


def _cuda_roots() -> Iterator[Path]:
    chosen = [os.environ.get("CUDA_ROOT"), os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    for folder in [Path(c) for c in chosen if c] + sorted(Path("/usr/local").glob("cuda-*"), reverse=True):
        if (folder / "include" / "cuda.h").exists():
            yield folder


def make_driver_stub(root: Path, folder: Path) -> None:
    """A `libcuda.so` to link with: every function that `cuda.h` declares, each of which only fails."""
    declared = subprocess.run(
        ["g++", "-E", "-x", "c++", f"-I{root / 'include'}", "-"],
        input="#include <cuda.h>\n#include <cudaProfiler.h>\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = sorted(set(re.findall(r"\bCUresult\s+(cu[A-Z]\w*)\s*\(", declared)))
    stub_library = 34  # CUDA_ERROR_STUB_LIBRARY
    source = folder / "stub.c"
    source.write_text("".join(f"int {name}(void) {{ return {stub_library}; }}\n" for name in names))
    flags = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{LIBRARY}"]
    subprocess.run(["gcc", *flags, "-o", folder / "libcuda.so", source], check=True)


if __name__ == "__main__":
    main()
