"""Check and measure on a machine that has a GPU, CUDA's headers, g++ and a Python, and perhaps no network.

    python benchmarks/gpu_offline.py fetch carried --python 3.12   # elsewhere: 130 MB of wheels and sources
    python benchmarks/gpu_offline.py run carried                   # there, with this repository and that folder

`run` makes an environment in the folder, builds PyCUDA in it (`docs/build_pycuda.py`, minutes), installs te, and then
emits, compiles, checks and measures: `te doctor`, the tests that need a GPU, and `gpu.py`, whose arguments may follow.
What was done before is not done again. A driver cannot load the code of a newer compiler: for one of CUDA 12, which
`nvidia-smi` says, both take `--cuda 12`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYCUDA = "pycuda==2026.1"
WHEELS = ["lark", "llvmlite", "ml_dtypes", "numpy"]
COMPILERS = {"12": "nvidia-cuda-nvrtc-cu12", "13": "nvidia-cuda-nvrtc"}  # by CUDA's version
TESTS = ["pytest", "pytest-xdist", "pytest-timeout", "hypothesis", "mpmath", "scipy"]
BUILDING = ["setuptools>=77", "wheel", "mako", "pytools", "platformdirs", "siphash24", "markupsafe"]


def main() -> int:
    parser = argparse.ArgumentParser(description="te on a machine with a GPU and without a network.")
    parser.add_argument("action", choices=["fetch", "run"])
    parser.add_argument("folder", type=Path, help="what is carried to that machine")
    parser.add_argument("--python", default="3.12", help="its Python's version, for `fetch` (default: 3.12)")
    parser.add_argument("--cuda", choices=COMPILERS, default="13", help="its driver's (default: 13)")
    options, rest = parser.parse_known_args()
    if options.action == "fetch":
        if rest:
            parser.error(f"unknown: {' '.join(rest)}")
        fetch(options.folder, options.python, COMPILERS[options.cuda])
        return 0
    return check_and_measure(options.folder, COMPILERS[options.cuda], rest)


def fetch(folder: Path, python: str, compiler: str) -> None:
    """Wheels for Linux and that Python, and PyCUDA's sources, of which there are no wheels."""
    download = [sys.executable, "-m", "pip", "download", "-q", "-d", str(folder)]
    chosen = ["--only-binary=:all:", "--python-version", python, "--platform", "manylinux_2_28_x86_64"]
    chosen += ["--platform", "manylinux2014_x86_64"]
    subprocess.run([*download, *chosen, compiler, *WHEELS, *TESTS, *BUILDING], check=True)
    sources = ["--no-deps", "--no-binary=:all:", "--no-build-isolation", PYCUDA]
    subprocess.run([*download, *sources], check=True)
    print(*sorted(path.name for path in folder.iterdir()), sep="\n")


def check_and_measure(folder: Path, compiler: str, arguments: list[str]) -> int:
    """Whatever fails, the rest is tried; the exit status is that of the worst."""
    python = environment(folder, compiler)
    done = [
        subprocess.run([python, *command], cwd=ROOT).returncode
        for command in (
            ["-m", "te", "doctor"],
            ["-m", "pytest", "-m", "gpu", "-n", "4", "-q", "tests/end_to_end/test_gpu.py"],
            ["benchmarks/gpu.py", *arguments],
        )
    ]
    return max(map(abs, done))


def environment(folder: Path, compiler: str) -> str:
    """The Python of an environment with te and PyCUDA."""
    where = folder / "environment"
    python = str((where / "bin" / "python").absolute())
    if not where.exists():
        venv.create(where, with_pip=True)
    install = [python, "-m", "pip", "install", "-q", "--no-index", "--find-links", str(folder)]
    subprocess.run([*install, compiler, *WHEELS, *TESTS, *BUILDING], check=True)
    built = next(folder.glob("pycuda-*.whl"), None)
    if built is None:
        [sources] = folder.glob("pycuda-*.tar.gz")
        builder = str(ROOT / "docs" / "build_pycuda.py")
        subprocess.run([python, builder, str(sources), str(folder)], check=True, env=dict(os.environ))
        [built] = folder.glob("pycuda-*.whl")
    subprocess.run([*install, str(built)], check=True)
    subprocess.run([*install, "--no-build-isolation", "--no-deps", "-e", str(ROOT)], check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
