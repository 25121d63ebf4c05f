"""CUDA C++ to machine code: the compiler, its complaints, the cache, and what a launch takes of a GPU."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import te
from te.backends.cuda import compile, prelude
from te.backends.cuda.compile import compile_text, compiler_version, disassemble
from te.backends.cuda.resources import Usage, occupancy, usages
from te.backends.cuda.toolkit import find_program
from te.backends.llvm.math import table
from te.backends.llvm.math.fast import FAST
from te.diagnostics import CompileError, Source, Span
from te.gpus import multiprocessor
from te.ir.expr import FUNCTIONS
from te.ir.types import DTYPES, F32, F64
from te.runtime import gpu_code
from te.runtime.gpu_code import machine_code

ARCHITECTURES = ["sm_75", "sm_80", "sm_90", "sm_100"]

with_compiler = pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc")
with_disassembler = pytest.mark.skipif(
    find_program("nvdisasm") is None and find_program("cuobjdump") is None,
    reason="needs nvdisasm or cuobjdump (PyPI: nvidia-cuda-nvdisasm)",
)

CASTS = [
    ("f32", "f16"),
    ("f16", "f32"),
    ("f64", "bf16"),
    ("i64", "bf16"),
    ("f32", "f8e4m3"),
    ("f8e5m2", "f32"),
]

COPY = """extern "C" __global__ void __launch_bounds__(256) copy(const float4 *x, float4 *y) {
    y[blockIdx.x * 256 + threadIdx.x] = x[blockIdx.x * 256 + threadIdx.x];
}
"""


def kernel_calling(function: str, dtype: str, arguments: int, result: str = "") -> str:
    values = ", ".join(f"x{n}[i]" for n in range(arguments))
    parameters = "".join(f"const {dtype} *x{n}, " for n in range(arguments))
    return (
        f'extern "C" __global__ void run_{function}({parameters}{result or dtype} *y) {{\n'
        f"    int i = blockIdx.x * 256 + threadIdx.x;\n    y[i] = {function}({values});\n}}\n"
    )


def every_function() -> str:
    """A kernel for each function of the prelude that does something hard."""
    names = [
        (prelude.function_name(op, t), t, FUNCTIONS[op][1]) for op in table.ELEMENTARY for t in (F32, F64)
    ]
    names += [(prelude.function_name(op, F32, fast=True), F32, FUNCTIONS[op][1]) for op in FAST]
    for op in ("//", "%", "min"):
        names += [(prelude.function_name(op, DTYPES[t]), DTYPES[t], 2) for t in ("i8", "i64")]
    names += [(prelude.function_name("max", t), t, 2) for t in (F32, F64)]
    kernels = [kernel_calling(name, prelude.type_name(t), arity) for name, t, arity in names]
    for a, b in CASTS:
        source, to = DTYPES[a], DTYPES[b]
        name, types = prelude.cast_name(source, to), (prelude.type_name(source), prelude.type_name(to))
        kernels.append(kernel_calling(name, types[0], 1, types[1]))
    text = "\n".join(kernels)
    return f"{prelude.definitions(text)}\n{text}"


@with_compiler
@pytest.mark.nvcc
@pytest.mark.parametrize("sm", ARCHITECTURES)
def test_every_function_compiles_and_spills_nothing(sm: str) -> None:
    compiled = compile_text(every_function(), sm)
    assert compiled.cubin.startswith(b"\x7fELF")
    assert f".target {sm}" in compiled.ptx
    used = usages(compiled.log)
    assert len(used) > 60
    assert [u for u in used if u.stack or u.spill_stores or u.spill_loads or u.registers > 64] == []


@with_compiler
@with_disassembler
@pytest.mark.nvcc
@pytest.mark.parametrize("sm", ARCHITECTURES)
def test_machine_code_can_be_read(sm: str) -> None:
    code = disassemble(compile_text(COPY, sm).cubin)
    assert re.search(r"LDG\.E\S*\.128", code)
    assert re.search(r"STG\.E\S*\.128", code)


@with_compiler
@pytest.mark.nvcc
def test_nothing_is_contracted() -> None:
    text = 'extern "C" __global__ void f(float *x) { x[0] = x[1] * x[2] + x[3]; }\n'
    assert "fma" not in compile_text(text, "sm_80").ptx


@with_compiler
@pytest.mark.nvcc
def test_what_the_compiler_refuses_names_the_te_line() -> None:
    source = Source("a.te", "op f(X: f32[N]) -> Y: f32[N] {\n    Y[i] = X[i]\n}\n")
    start = source.text.index("Y[i]")
    lines = (None, Span(source, start, start + 11), None)
    text = 'extern "C" __global__ void f(float *x) {\n    x[0] = y[0];\n}\n'
    with pytest.raises(CompileError) as refused:
        compile_text(text, "sm_80", lines)
    [diagnostic] = refused.value.diagnostics
    assert diagnostic.code == "cuda-compiler"
    assert diagnostic.span == lines[1]
    shown = str(diagnostic).replace(str(compiler_version()), "COMPILER")
    assert shown.startswith(
        'error: COMPILER refuses the emitted code for sm_80: identifier "y" is undefined\n  --> a.te:2:5'
    )


@with_compiler
@pytest.mark.nvcc
def test_too_much_shared_memory_is_a_diagnostic() -> None:
    text = (
        'extern "C" __global__ void f(float *x) {\n    __shared__ float y[20000];\n'
        "    y[threadIdx.x] = x[0];\n    __syncthreads();\n    x[0] = y[3];\n}\n"
    )
    with pytest.raises(CompileError, match=r"for sm_80: .*too much shared data"):
        compile_text(text, "sm_80")


@with_compiler
@pytest.mark.nvcc
def test_an_architecture_that_the_compiler_does_not_know() -> None:
    with pytest.raises(te.CudaUnavailable, match="does not know sm_10: it takes a newer or an older one"):
        compile_text(COPY, "sm_10")


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile, "compiler_version", lambda: None)
    with pytest.raises(te.CudaUnavailable, match="pip install nvidia-cuda-nvrtc"):
        compile_text(COPY, "sm_80")


def test_without_a_disassembler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile, "find_program", lambda name: None)
    with pytest.raises(te.CudaUnavailable, match="pip install nvidia-cuda-nvdisasm"):
        disassemble(b"")


@with_compiler
@pytest.mark.nvcc
def test_nvcc_does_what_nvrtc_does(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_program("nvcc") is None:
        pytest.skip("needs nvcc")
    monkeypatch.setattr(compile, "load_nvrtc", lambda: None)
    compiled = compile_text(COPY, "sm_80")
    assert [u.symbol for u in usages(compiled.log)] == ["copy"]
    assert ".entry copy" in compiled.ptx


# ---------------------------------------------------------------- the cache


class Compiler:
    """Stands in for the compiler, and counts."""

    def __init__(self, version: str = "NVRTC 1"):
        self.version = version
        self.calls = 0

    def compile(self, text: str, sm: str, lines: object = ()) -> compile.Compiled:
        self.calls += 1
        return compile.Compiled(text.encode() + sm.encode(), "ptx", "log")


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    made = Compiler()
    monkeypatch.setenv("TE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(gpu_code, "compile_text", made.compile)
    monkeypatch.setattr(gpu_code, "compiler_version", lambda: made.version)
    return made


def test_machine_code_is_compiled_once(compiler: Compiler) -> None:
    assert machine_code("text", "sm_80") == machine_code("text", "sm_80")
    assert compiler.calls == 1


def test_another_text_architecture_or_compiler_is_another_entry(compiler: Compiler) -> None:
    machine_code("text", "sm_80")
    machine_code("text", "sm_90")
    machine_code("other text", "sm_80")
    compiler.version = "NVRTC 2"
    machine_code("text", "sm_80")
    assert compiler.calls == 4


def test_the_cache_can_be_off(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_CACHE_DIR", "0")
    machine_code("text", "sm_80")
    machine_code("text", "sm_80")
    assert compiler.calls == 2


# ---------------------------------------------------------------- resources


def used(registers: int, shared: int = 0) -> Usage:
    return Usage("k", registers, 0, 0, 0, shared)


# By NVIDIA's occupancy calculator (cuda_occupancy.h): registers, threads, dynamic shared memory, architecture;
# blocks, what limits them.
OCCUPANCIES = [
    (32, 256, 0, 80, 8, "warps"),
    (33, 256, 0, 80, 6, "registers"),
    (128, 256, 0, 80, 2, "registers"),
    (255, 128, 0, 90, 2, "registers"),
    (32, 32, 0, 80, 32, "blocks"),
    (32, 32, 0, 75, 16, "blocks"),
    (32, 1024, 0, 86, 1, "warps"),
    (40, 128, 48 << 10, 80, 3, "shared memory"),
    (40, 128, 48 << 10, 90, 4, "shared memory"),
    (40, 128, 99 << 10, 89, 1, "shared memory"),
]


@pytest.mark.parametrize(("registers", "threads", "shared", "sm", "blocks", "limiter"), OCCUPANCIES)
def test_occupancy(registers: int, threads: int, shared: int, sm: int, blocks: int, limiter: str) -> None:
    found = occupancy(used(registers), (threads, 1, 1), shared, sm)
    assert (found.blocks, found.limiter) == (blocks, limiter)
    assert found.occupancy == blocks * -(-threads // 32) / multiprocessor(sm).warps


def test_resources_in_words() -> None:
    assert str(occupancy(used(40, 1024), (128, 1, 1), 2048, 80)) == (
        "k: 40 registers, no spills, 3072 B of shared memory, 128 threads; "
        "12 blocks a multiprocessor, occupancy 75% (limited by registers)"
    )


LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'b' for 'sm_80'
ptxas info    : Function properties for b
    16 bytes stack frame, 24 bytes spill stores, 28 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 4096 bytes smem, 376 bytes cmem[0]
ptxas info    : Compiling entry function 'a' for 'sm_80'
ptxas info    : Function properties for a
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 0 barriers, 360 bytes cmem[0]"""


def test_what_ptxas_says() -> None:
    assert usages(LOG) == (Usage("b", 255, 16, 24, 28, 4096), Usage("a", 12, 0, 0, 0, 0))


# ---------------------------------------------------------------- of ops

SCALE = """op scale(X: f32[N]) -> Y: f32[N] {
    Y[i] = 2 * exp(X[i])
}

schedule scale on cuda {
    split i by 256
    bind io to block.x
    bind ii to thread.x
}
"""


@with_compiler
@pytest.mark.nvcc
@pytest.mark.parametrize("sm", ARCHITECTURES)
def test_levels_of_an_op(sm: str) -> None:
    kernel = te.build(SCALE, target=f"cuda.{sm}")
    assert ".entry te_scale" in kernel.ir("ptx")
    [found] = kernel.resources()
    assert (found.usage.symbol, found.threads, found.usage.spill_loads) == ("te_scale", 256, 0)
    assert found.occupancy == 1.0


@with_compiler
@with_disassembler
@pytest.mark.nvcc
@pytest.mark.parametrize("level", ["asm", "sass"])
def test_machine_code_of_an_op(level: str) -> None:
    assert "LDG.E" in te.build(SCALE, target="cuda.sm_80").ir(level)


@pytest.mark.parametrize(
    "ask",
    [lambda k: k.ir("ptx"), lambda k: k.ir("sass"), lambda k: k.resources()],
    ids=["ptx", "sass", "resources"],
)
def test_levels_that_llvm_lacks(ask: Callable[[te.Kernel], object]) -> None:
    kernel = te.build(SCALE, target="llvm", schedule="none")
    assert isinstance(kernel, te.Kernel)
    with pytest.raises(ValueError, match="scale: code for llvm has no level"):
        ask(kernel)


# ---------------------------------------------------------------- of the programs whose text is golden

PROGRAMS = sorted(
    path
    for path in (Path(__file__).parent / "cuda").glob("*.te")
    if "__global__" in path.with_suffix(".txt").read_text(encoding="utf-8")
)


def built(path: Path, sm: str) -> te.Kernel:
    kernel = te.build(path, target=f"cuda.{sm}")
    assert isinstance(kernel, te.Kernel)
    return kernel


@with_compiler
@pytest.mark.nvcc
@pytest.mark.parametrize("sm", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_emitted_programs_compile_without_spills(path: Path, sm: str) -> None:
    kernel = built(path, sm)
    assert [r for r in kernel.resources() if r.usage.stack or r.usage.spill_stores or r.blocks == 0] == []


@with_compiler
@with_disassembler
@pytest.mark.nvcc
@pytest.mark.parametrize("sm", ["sm_80", "sm_90", "sm_100"])
def test_machine_code_of_a_product_of_matrices(sm: str) -> None:
    """Vectors of 16 bytes, multiply-adds that are unrolled, and no register in memory."""
    code = built(Path(__file__).parent / "cuda" / "matmul.te", sm).ir("sass")
    assert re.search(r"LDGSTS\.E\S*\.128", code)
    assert re.search(r"LDS\S*\.128", code)
    assert re.search(r"STG\.E\S*\.128", code)
    assert len(re.findall(r"\bFFMA", code)) >= 64
    assert not re.search(r"\b(?:LDL|STL)\b", code)


PIPELINE = """
op matmul(A: f32[M, 256], B: f32[256, 512]) -> C: f32[M, 512] {
    C[i, j] = sum[k](A[i, k] * B[k, j])
}

schedule matmul on cuda {
    tile i, j by 64, 64 into io, jo, ii, ji
    tile ii, ji by 4, 4 into it, jt, ir, jr
    split k by 16
    reorder io, jo, ko, it, jt, ki, ir, jr
    cache_write C at jo as Ct in register
    tile Ct.i, Ct.j by 4, 4 into ci, cj, cir, cjr
    bind Ct.ci to thread.y
    bind Ct.cj to thread.x
    cache_read A at ko as As in shared by cp_async
    split As.i by 16 into au, ay
    bind ay to thread.y
    bind As.k to thread.x
    cache_read B at ko as Bs in shared
    split Bs.j by 4 into jv, jl
    vectorize jl
    bind Bs.k to thread.y
    bind jv to thread.x
    pipeline ko depth 3
    bind C.io to block.y
    bind C.jo to block.x
    bind it to thread.y
    bind jt to thread.x
}
"""


@with_compiler
@with_disassembler
@pytest.mark.nvcc
@pytest.mark.parametrize("sm", ["sm_80", "sm_90", "sm_100"])
def test_pipelines_copy_asynchronously(sm: str) -> None:
    code = te.build(PIPELINE, target=f"cuda.{sm}").ir("sass")
    assert re.search(r"\bLDGSTS\.E\S*\.128\b", code)  # B, four at once, past the first cache
    assert re.search(r"\bLDGSTS\.E [^\n]*\[", code)  # A, one by one
    assert "LDGDEPBAR" in code
    assert re.search(r"\bDEPBAR\.LE SB0, 0x1\b", code)  # all groups but one
    assert len(re.findall(r"\bBAR\.SYNC", code)) <= 2  # in each trip, and behind a block's part
    assert not re.search(r"\bSTS\b", code)
    if sm != "sm_100":  # NVRTC 13.5 has too few registers there, CUDA 13.0's nvcc has enough
        assert "STL" not in code


@with_compiler
@with_disassembler
@pytest.mark.nvcc
def test_older_gpus_copy_by_registers() -> None:
    code = te.build(PIPELINE.replace(" by cp_async", ""), target="cuda.sm_75").ir("sass")
    assert re.search(r"\bSTS\b", code)
    assert "LDGSTS" not in code


PRODUCT = "op product(A: f32[M, K], B: f32[N, K]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[j, k]) }"


@with_compiler
@with_disassembler
@pytest.mark.nvcc
@pytest.mark.parametrize("sm", ["sm_80", "sm_90"])
@pytest.mark.parametrize("sizes", [{"M": 2048, "N": 2048, "K": 512}, {"M": 2041, "N": 2043, "K": 509}])
def test_the_innermost_loop_of_a_product_multiplies_and_adds(sm: str, sizes: dict[str, int]) -> None:
    compiled = compile_text(te.build(PRODUCT, target=f"cuda.{sm}", sizes=sizes).ir("cuda"), sm)
    (used,) = usages(compiled.log)
    assert (used.stack, used.spill_stores, used.spill_loads) == (0, 0, 0)
    assert used.registers <= 132
    loop = hottest_loop(disassemble(compiled.cubin), "FFMA")
    sums = [line for line in loop if "FFMA" in line]
    assert len(sums) == 8 * 8 * 8
    assert len(sums) > 0.8 * len(loop)
    assert len([line for line in loop if "LDS.128" in line]) == 8 * 4
    assert not [line for line in loop if re.match(r"(?!@!PT).*LDS(?!\S*\.128)", line)]
    assert [line for line in loop if "LDGSTS" in line]  # the next slice is on its way meanwhile


def hottest_loop(code: str, instruction: str) -> list[str]:
    """The instructions of the loop that has most of one kind, of loops within each other the inner one."""
    lines, labels, loops = [], {}, []
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(lines)
        elif found := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            lines.append(found[1])
            back = re.search(r"BRA.*`\((\.L_x_\d+)\)", found[1])
            if back and back[1] in labels:
                loops.append(lines[labels[back[1]] :])
    most = max(sum(instruction in line for line in loop) for loop in loops)
    return min((loop for loop in loops if sum(instruction in line for line in loop) == most), key=len)
