"""The benchmarks run, check what they measure, and say what they found. How long it takes decides nothing."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import te
from te.runtime import gpu_kernel
from tests.backends.fake_cuda import FakeCuda, KernelFunction, install
from tests.backends.prelude_on_cpu import gxx

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = (
    "compile_time",
    "costs",
    "gpu",
    "gpu_workloads",
    "measure",
    "peers",
    "report",
    "results",
    "te_side",
    "verdict",
    "workload",
    "workloads",
)


@pytest.fixture
def module(monkeypatch):
    """A module of the folder, by name; what it imports stands beside it, under names that others may have."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in MODULES or "benchmarks" in str(
            getattr(sys.modules[name], "__file__", "")
        ):
            del sys.modules[name]


def row(
    name="softmax",
    seconds=(1.0, 1.0, 1.0),
    *,
    group="rows",
    threads=1,
    peers=None,
    strongest=("numpy",),
    **more,
):
    return {
        "name": name,
        "group": group,
        "threads": threads,
        "seconds": list(seconds),
        "peers": {n: list(t) for n, t in (peers or {}).items()},
        "floor": 1.0,
        "strongest": list(strongest),
        "flops": 0,
        "kind": "f32",
        "bytes": 10**9,
        "limits": {"memory": [0.5, 0.5, 0.5]},
        **more,
    }


# ---------------------------------------------------------------- a run


def test_a_turn_begins_when_nobody_computes(module, monkeypatch) -> None:
    measure = module("measure")
    computed = iter(
        [0.0, 0.01, 0.01, 0.02, 0.02, 0.02]
    )  # seconds: two windows in which a thread computes, and one
    with monkeypatch.context() as patched:
        patched.setattr(time, "process_time", computed.__next__)
        measure.wait_until_quiet(60.0)
    assert list(computed) == []
    before = time.perf_counter()
    measure.wait_until_quiet(0.0)  # whatever they do
    assert time.perf_counter() - before < 1.0


def test_a_run_with_numpy_alone(tmp_path):
    """From the command line to the file of results, through the process that measures."""
    path = tmp_path / "results.json"
    command = [sys.executable, str(BENCHMARKS / "run.py"), "128 × 128 × 128", "smooth 17", "calls", "--quick"]
    done = subprocess.run(
        [
            *command,
            "--threads",
            "1",
            "--peers",
            "numpy",
            "--json",
            str(path),
            "--markdown",
            str(tmp_path / "t.md"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["format"] == 1
    assert set(results) == {"format", "date", "machine", "system", "versions", "limits", "rows"}
    assert list(results["versions"]) == ["numpy"]
    assert results["limits"]["1"]["f32 arithmetic"] > 0
    by_name = {r["name"]: r for r in results["rows"]}
    assert list(by_name) == [
        "128 × 128 × 128",
        "smooth 17",
        "three arrays of 16, all checks",
        "the same with out=",
        "the same, one of them bound",
    ]
    product = by_name["128 × 128 × 128"]
    assert (
        len(product["seconds"]) == len(product["peers"]["numpy"]) == len(product["limits"]["arithmetic"]) >= 3
    )
    assert "not compared (no OpenVINO, onnxruntime)" in done.stdout
    assert "| 128 × 128 × 128 |" in (tmp_path / "t.md").read_text(encoding="utf-8")


def test_a_word_that_no_workload_has(tmp_path):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), "nonsense", "--threads", "1", "--peers", "numpy"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode != 0
    assert "is a workload called like nonsense?" in done.stderr


# ---------------------------------------------------------------- workloads


def test_names_are_unique_and_each_declares_its_strongest_peers(module):
    workloads = module("workloads").all_workloads()
    peers = module("peers").NAMES
    assert len({(w.group, w.name) for w in workloads}) == len(workloads)
    programs = {"numpy": "reference", "torch": "torch", "compile": "torch", "jax": "jax"}
    for each in workloads:
        assert each.strongest
        for name in each.strongest:
            assert name in each.versus or name in peers
            assert name in each.versus or getattr(each, programs.get(name, "onnx")) is not None


def test_small_workloads_of_every_kind_compute_what_numpy_does(module):
    """The entries themselves, at the sizes at which NumPy is quick; the large ones say the same in other sizes."""
    worker, side = module("worker"), module("te_side")
    small = ["127 × 127 × 127", "4 × 3072 × 768, weights bound", "softmax 512 × 1000", "RMS norm 384 × 768"]
    small += [
        "relu(X + b) * S 256 × 512",
        "transpose 512 × 512",
        "column sums 1000 × 1000",
        "depthwise 3×3 576 @14",
    ]
    small += ["12 × 128 × 64", "softmax 17", "3×3 512→512 @7", "auto, product 128 × 128 × 128"]
    chosen = [w for w in module("workloads").all_workloads() if w.name in small]
    assert {w.name for w in chosen} == {*small}
    for workload in chosen:
        arrays = workload.arrays()
        expected = workload.reference(*arrays.values())
        worker.checked(side.prepare(workload, arrays), expected, workload.tolerance)


def test_wrong_results_are_not_timed(module):
    worker, workload = module("worker"), module("workload")
    right = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="wrong result: off by"):
        worker.checked(workload.Prepared(lambda: right * np.float32(1.1)), right, 1e-4)
    with pytest.raises(ValueError, match="wrong result: off by nan"):
        worker.checked(workload.Prepared(lambda: right * np.float32(np.nan)), right, 1e-4)
    with pytest.raises(ValueError, match="wrong result: shape"):
        worker.checked(workload.Prepared(lambda: right[:2]), right, 1e-4)


@pytest.mark.parametrize(("m", "k", "n"), [(3, 1024, 1024), (65, 1025, 1030), (9, 2050, 513)])
def test_the_packed_matrix_product(m, k, n):
    random = np.random.default_rng(0)
    a, b = random.standard_normal((m, k), np.float32), random.standard_normal((k, n), np.float32)
    np.testing.assert_allclose(te.build(BENCHMARKS / "matmul.te")(a, b), a @ b, rtol=1e-4, atol=1e-3)


def test_the_phases_of_a_build(module):
    text = (BENCHMARKS / "matmul.te").read_text(encoding="utf-8")
    for action in module("compile_time").phases(text, "matmul").values():
        action()


def test_every_op_of_the_standard_library_can_be_built_with_the_constants_of_its_example(module):
    costs = module("costs")
    ops = {op.name: op for op in costs.std_ops()}
    assert len(ops) > 150
    for name in ("conv2d", "max_pool2d", "group_norm", "eye", "slice"):
        assert costs.build_std(ops[name]).name == name


# ---------------------------------------------------------------- verdicts


def test_verdicts_of_rows(module):
    Row = module("results").Row
    assert Row(row(peers={"numpy": [1.2] * 3})).verdict == "met 1.20 (floor 1.00)"
    assert Row(row(peers={"numpy": [1.2] * 3, "torch": [0.9] * 3})).verdict == "short 0.90 (floor 1.00)"
    assert Row(row(peers={"torch": [1.2] * 3})).verdict == "not compared (no NumPy)"
    assert Row(row(peers={})).verdict == "not compared (no NumPy)"
    assert Row(row(peers={"torch": [1.2] * 3}, slow={"numpy": 9.0})).verdict == "met 1.20 (floor 1.00)"
    assert (
        Row({"name": "a", "group": "b", "threads": 1, "error": "ValueError: no"}).verdict
        == "failed: ValueError: no"
    )
    busy = row(peers={"numpy": [1.2] * 3}, others=0.5)
    assert Row(busy).verdict == "disturbed 1.20 (floor 1.00)"
    assert Row(busy).disturbance == "others took 50%"
    assert Row(row(at_most=2.0)).verdict == "met (at most 2 s)"
    assert Row(row(at_most=0.5)).verdict == "short (at most 500 ms)"


def test_a_row_tells_its_share_of_the_slower_limit(module):
    found = module("results").Row(row(limits={"memory": [0.5] * 3, "arithmetic": [0.25] * 3}))
    assert found.limit == (0.5, "memory")
    assert found.share == 0.5
    assert found.rate == "1.0 GB/s"


def test_the_summary_counts_verdicts_and_knows_floors_of_means(module):
    report, Row = module("report"), module("results").Row
    rows = [Row(row(str(n), group="conv", peers={"numpy": [t] * 3})) for n, t in enumerate((2.0, 0.5, 1.0))]
    assert report.summary(rows) == "2 met, 1 short; geometric mean 1.00 (met, floor 1.00)"


# ---------------------------------------------------------------- comparing


def test_comparing_counts_a_rows_time_beside_its_peers(module):
    results = module("results")
    old = {
        "rows": [
            row("a", [1.0] * 3, peers={"numpy": [1.0] * 3}),
            row("b", [1.0] * 3, peers={"numpy": [1.0] * 3}),
        ]
    }
    # The machine has become half as fast; `a` has not, `b` has.
    twice = {"memory": [1.0] * 3}
    new = {
        "rows": [
            row("a", [1.0] * 3, peers={"numpy": [2.0] * 3}, limits=twice),
            row("b", [2.0] * 3, peers={"numpy": [2.0] * 3}, limits=twice),
            row("c", [1.0] * 3),
        ]
    }
    changes = results.compare(old, new)
    assert [(c.row.name, c.speedup, c.is_clear) for c in changes] == [("a", 2.0, True), ("b", 1.0, False)]


def test_what_is_within_the_quartiles_is_noise(module):
    results = module("results")
    old, new = {"rows": [row("a", [1.0, 1.2, 1.4])]}, {"rows": [row("a", [0.9, 1.0, 1.3])]}
    assert not results.compare(old, new)[0].is_clear


def test_files_are_put_together_and_later_rows_win(module, tmp_path):
    results = module("results")
    paths = [tmp_path / "1.json", tmp_path / "2.json"]
    for n, path in enumerate(paths):
        made = results.document(
            [row("same", [n + 1.0]), row(str(n))], {str(n): {}}, {"numpy": "2"}, "2026-01-01"
        )
        path.write_text(json.dumps(made), encoding="utf-8")
    found = results.load(paths)
    assert [(r["name"], r["seconds"][0]) for r in found["rows"]] == [("same", 2.0), ("0", 1.0), ("1", 1.0)]
    assert list(found["limits"]) == ["0", "1"]
    paths[0].write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="not a file of results"):
        results.load(paths[:1])


def test_pictures(module, tmp_path):
    pytest.importorskip("matplotlib")
    results, plots = module("results"), module("plots")
    limits = {"f32 arithmetic": 1e11, **{f"{level} read": 1e10 for level in ("memory", "L3", "L2")}}
    rows = [
        row("a", peers={"numpy": [2.0] * 3}),
        row("b", group="gemm", flops=10**9, peers={"torch": [0.5] * 3}),
    ]
    paths = plots.draw(results.document(rows, {"1": limits}, {}, ""), tmp_path)
    assert {p.name for p in paths} == {
        f"{n}-1.{e}" for n in ("ratios", "summary", "roofline") for e in ("svg", "png")
    }
    assert all(path.stat().st_size > 1000 for path in paths)


@gxx
@pytest.mark.gxx
@pytest.mark.parametrize(
    "group",
    [
        "elementwise",
        "rows",
        "moves",
        "products",
        *(pytest.param(g, marks=pytest.mark.slow) for g in ("attention", "blocks")),
    ],
)
def test_the_kernels_for_gpus_are_right(module, monkeypatch, capsys, group):
    gpu = module("gpu")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--emulated", group])
    assert gpu.main() == 0
    workloads = [w for w in gpu.gpu_workloads.small() if w.group == group]
    assert capsys.readouterr().out.count("right") == len(workloads) > 0


@gxx
@pytest.mark.gxx
def test_a_wrong_kernel_for_gpus_is_seen(module, monkeypatch, capsys):
    gpu = module("gpu")
    wrong = dataclasses.replace(gpu.gpu_workloads.scale_add(33), reference=lambda x, b, a: a * x)
    monkeypatch.setattr(gpu.gpu_workloads, "small", lambda: [wrong])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--emulated"])
    assert gpu.main() == 1
    assert "WRONG" in capsys.readouterr().out


def test_without_a_gpu_nothing_is_measured(module, monkeypatch):
    gpu = module("gpu")
    monkeypatch.setattr(gpu, "why_unavailable", lambda: "there is no NVIDIA driver")
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="nothing can be measured: there is no NVIDIA driver"):
        gpu.main()


def measured(module, monkeypatch, workloads, **of_the_double):
    """What `gpu.measure` gives last, with a double of the GPU whose launches do nothing."""
    gpu = module("gpu")
    cuda = install(monkeypatch, FakeCuda({}, memory=1 << 40, **of_the_double))
    monkeypatch.setattr(KernelFunction, "_launch_kernel", lambda *arguments: None)
    monkeypatch.setattr(gpu, "device_numbered", gpu_kernel.device_numbered)
    monkeypatch.setattr(gpu, "torch_with_cuda", lambda: None)
    monkeypatch.setattr(gpu, "COPIED", 1 << 10)
    monkeypatch.setattr(gpu, "BEYOND_CACHES", 1 << 18)
    *_, found = gpu.measure(workloads)
    return found, cuda


def test_work_on_a_gpu_is_measured(module, monkeypatch, capsys):
    make = module("gpu_workloads")
    workloads = [make.scale_add(5001), make.softmax(5, 1003), make.matmul(16, "bfloat16", 0.6)]
    found, cuda = measured(module, monkeypatch, workloads)
    assert [row["name"] for row in found["rows"]] == [w.name for w in workloads]
    assert all(len(row["seconds"]["te"]) == module("gpu").ROUNDS for row in found["rows"])
    assert cuda.depth == 0
    softmax = next(row for row in found["rows"] if row["group"] == "rows")
    sets = 1 + (1 << 18) // softmax["bytes"]
    assert sets > 2
    graphs = [event for event in cuda.log if event[0] == "cuGraphInstantiateWithFlags"]
    assert len(graphs) > sets + len(workloads)
    assert "softmax" in capsys.readouterr().out


def test_a_row_that_fails_on_a_gpu_leaves_the_others(module, monkeypatch, capsys):
    workloads = module("gpu_workloads")
    wrong = dataclasses.replace(workloads.scale_add(33), name="wrong", op="benchmarks/gpu.te:nothing")
    found, _ = measured(module, monkeypatch, [wrong, workloads.scale_add(33)])
    assert ["problem" in row for row in found["rows"]] == [True, False]
    assert "FAILED" in capsys.readouterr().out


def test_what_is_said_of_a_kernel_on_a_gpu(module):
    gpu = module("gpu")
    row = {
        "name": "softmax",
        "group": "rows",
        "seconds": {"te": [2e-3, 1e-3, 3e-3], "torch": [3e-3] * 3},
        "failed": {"compile": "its result differs by 1.0e+00"},
        "floor": 1.0,
        "strongest": ["torch"],
        "flops": 0,
        "bytes": 4e9,
        "share": 0.5,
    }
    said = gpu.line(row).split()
    assert said[:8] == ["softmax", "2.000", "ms", "2.00", "TB/s", "50%", "met", "1.50"]
    assert "not compared" in gpu.line({**row, "strongest": ["torch", "compile"]})
    products = gpu.line({**row, "flops": 1e11, "share": None})
    assert "50.00 TFLOP/s" in products


def test_each_kind_of_work_on_a_gpu_is_checked_and_measured(module):
    workloads = module("gpu_workloads")
    checked, measured = ({w.group for w in many} for many in (workloads.small(), workloads.large()))
    assert checked == measured
    assert all(w.torch is not None and w.strongest for w in workloads.large())
