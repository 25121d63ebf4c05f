"""The emulator's process: it crashes, hangs and starts anew, and nobody else notices; and what g++ is asked for."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from te.backends.cuda.emulator import toolchain
from te.backends.cuda.emulator.run import Settings, compile_source
from te.backends.cuda.unavailable import CudaUnavailable
from te.runtime.cache_folder import open_folder
from tests.backends.emulator.running import launch, marked_line, needs_gxx

COPY = """
extern "C" __global__ void copy(const float* x, float* y, long long n) {
    for (long long i = threadIdx.x; i < n; i += 32)
        y[i] = x[i];  // here
}
"""


def copy(n, **more):
    x, y = np.arange(100, dtype=np.float32), np.zeros(100, np.float32)
    return y, launch(COPY, "copy", 1, 32, {"x": x, "y": y}, n, results=["y"], **more)


class TestWithCompiler:
    pytestmark = needs_gxx

    def test_a_crash_is_a_finding_and_the_next_run_works(self):
        # Without checks, the page behind an array stops it: 4 bytes of slack, as arrays begin at multiples of 16.
        y, found = copy(110, is_checked=False)
        (finding,) = found
        assert (finding.kind, finding.array, finding.index) == ("out of bounds", "x", (100,))
        assert finding.actors[0].thread == (4, 0, 0)
        assert finding.actors[0].line == marked_line(COPY, "here")
        y, found = copy(100, is_checked=False)
        assert found == []
        assert (y == np.arange(100)).all()

    def test_a_kernel_that_never_ends_is_ended(self):
        source = 'extern "C" __global__ void hang(volatile float* y) { while (y[0] != 1) y[0] = 0; }  // here'
        for is_checked in (True, False):
            (finding,) = launch(
                source,
                "hang",
                1,
                1,
                {"y": np.zeros(1, np.float32)},
                states=["y"],
                is_checked=is_checked,
                settings=Settings(seconds=0.2),
            )
            assert finding.kind == "time limit"
            assert finding.actors[0].line == 1

    def test_the_sanitizers_of_the_compiler_are_not_linked(self):
        library = compile_source(COPY)
        needed = subprocess.run(
            ["readelf", "-d", str(library.path)], capture_output=True, text=True, check=True
        ).stdout
        symbols = subprocess.run(
            ["nm", "-D", str(library.path)], capture_output=True, text=True, check=True
        ).stdout
        assert "san" not in needed
        assert " U __tsan_read4" in symbols
        assert (
            " T __tsan_read4"
            in subprocess.run(
                ["nm", str(toolchain.emulator_program())], capture_output=True, text=True, check=True
            ).stdout
        )

    def test_a_text_is_compiled_once(self, monkeypatch, tmp_path):
        monkeypatch.setenv("TE_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setattr(toolchain, "_open_store", open_folder)
        runs = []
        run = toolchain._run_compiler
        monkeypatch.setattr(toolchain, "_run_compiler", lambda *given: (runs.append(given), run(*given))[1])
        source = COPY.replace("copy", f"copy_{tmp_path.name.replace('-', '_')}")
        first = compile_source(source).path
        assert compile_source(source).path == first
        assert len(runs) == 1
        first.unlink()
        assert compile_source(source).path.read_bytes()  # out of te's cache
        assert len(runs) == 1
        assert compile_source(source, is_checked=False).path != first
        assert len(runs) == 2

    def test_files_that_were_cleared_away_are_made_again(self):
        copy(100)
        shutil.rmtree(toolchain._folder())
        assert copy(100)[1] == []
        (finding,) = copy(110, is_checked=False)[1]  # and the process starts anew
        assert finding.kind == "out of bounds"
        assert copy(100)[1] == []

    def test_a_text_that_is_no_program(self):
        with pytest.raises(ValueError, match=r"kernels.cu:1:.*error"):
            compile_source("no program")


def test_without_a_compiler(monkeypatch):
    toolchain.find_compiler.cache_clear()
    toolchain._version.cache_clear()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CudaUnavailable, match="install it"):
        compile_source(COPY)
    toolchain.find_compiler.cache_clear()
