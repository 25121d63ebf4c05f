"""Automatic schedules of products on tensor cores: which products, and that the emulator agrees."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import te
from te.backends.cuda.compile import compiler_version
from te.backends.cuda.toolkit import find_program
from te.ir.types import DTYPES, numpy_dtype
from te.schedule.auto import auto_schedule
from te.target import parse_target
from tests.backends.emulator.running import needs_gxx
from tests.schedule.scheduling import program


def product(left: str, right: str, result: str, of: str = "i, k; k, j", batch: str = "") -> str:
    """A product of matrices whose indices are `of`, with a batch or without."""
    a, b = (batch + index.strip() for index in of.split(";"))
    extents = {"i": "M", "j": "N", "k": "K", "b": "Q"}
    shapes = [", ".join(extents[i] for i in index.split(", ")) for index in (a, b, f"{batch}i, j")]
    factors = [
        f"{name}[{index}]" if dtype == result else f"{result}({name}[{index}])"
        for name, index, dtype in (("A", a, left), ("B", b, right))
    ]
    return (
        f"op mm(A: {left}[{shapes[0]}], B: {right}[{shapes[1]}]) -> C: {result}[{shapes[2]}] {{\n"
        f"    C[{batch}i, j] = sum[k]({' * '.join(factors)})\n}}"
    )


EPILOGUE = """
op layer(A: bf16[M, K], B: bf16[K, N], bias: f32[N]) -> C: bf16[M, N] {
    total[i, j] = sum[k](f32(A[i, k]) * f32(B[k, j]))
    C[i, j] = bf16(max(total[i, j] + bias[j], 0.0))
}
"""


@pytest.mark.parametrize(
    ("text", "target", "fast", "instruction"),
    [
        (product("bf16", "bf16", "f32"), "cuda.sm_80", False, "mma_m16n8k16_bf16"),
        (product("f16", "f16", "f32", "i, k; j, k", "b, "), "cuda.sm_90", False, "mma_m16n8k16_f16"),
        (product("i8", "i8", "i32"), "cuda.sm_80", False, "mma_m16n8k32_i8"),
        (product("u8", "i8", "i32", "k, i; j, k"), "cuda.sm_100", False, "mma_m16n8k32_u8_i8"),
        (product("f32", "f32", "f32"), "cuda.sm_80", True, "mma_m16n8k8_tf32"),
        (product("f32", "f32", "f32"), "cuda.sm_80", False, None),
        (product("f64", "f64", "f64"), "cuda.sm_80", True, None),
        (product("bf16", "bf16", "f32"), "cuda.sm_75", False, None),
        (EPILOGUE, "cuda.sm_80", False, "mma_m16n8k16_bf16"),
    ],
)
def test_which_products(text: str, target: str, fast: bool, instruction: str | None) -> None:
    found = str(auto_schedule(program(text), parse_target(target), fast_math=fast))
    assert {*re.findall(r"as (mma_\w+)", found)} == ({instruction} if instruction else set())


def test_an_epilogue_is_computed_from_the_registers() -> None:
    found = str(auto_schedule(program(EPILOGUE), parse_target("cuda.sm_80")))
    assert "set_scope total in register" in found
    assert "cache_write" not in found


@pytest.mark.parametrize(
    ("sizes", "tile"), [({"M": 16}, (16, 64)), ({"N": 12}, (64, 16)), ({"M": 17}, (32, 32))]
)
def test_all_warps_have_what_rows_or_columns_there_are(sizes: dict[str, int], tile: tuple[int, int]) -> None:
    text = product("bf16", "bf16", "f32")
    found = str(auto_schedule(program(text, sizes=sizes), parse_target("cuda.sm_80")))
    assert f"split C.i by {tile[0]} into" in found
    assert f"split C.j by {tile[1]} into" in found
    assert "float C_tile[" in te.build(text, target="cuda.sm_80", sizes=sizes).ir("cuda")


def test_few_rows_take_no_tensor_cores() -> None:
    text = product("bf16", "bf16", "f32")
    found = str(auto_schedule(program(text, sizes={"M": 4}), parse_target("cuda.sm_80")))
    assert "mma" not in found


class TestEmulated:
    pytestmark = needs_gxx

    @pytest.mark.parametrize(
        ("left", "right", "result", "of", "math"),
        [
            ("bf16", "bf16", "f32", "i, k; k, j", "strict"),
            pytest.param("f16", "f16", "f32", "k, i; j, k", "strict", marks=pytest.mark.slow),
            pytest.param("u8", "i8", "i32", "i, k; k, j", "strict", marks=pytest.mark.slow),
            pytest.param("f32", "f32", "f32", "i, k; k, j", "fast", marks=pytest.mark.slow),
        ],
    )
    def test_ragged_tiles(self, left: str, right: str, result: str, of: str, math: str) -> None:
        sizes = {"M": 37, "N": 45, "K": 70}
        kernel = te.build(product(left, right, result, of), target="cuda-emulated", sizes=sizes, math=math)
        rng = np.random.default_rng(0)
        low = 0 if left == "u8" else -9
        a, b = (rng.integers(low, 10, (sizes[x], sizes[y])) for x, y in ("MK", "KN"))
        given = [
            np.ascontiguousarray(x.T if index.strip() in ("k, i", "j, k") else x).astype(
                numpy_dtype(DTYPES[t])
            )
            for x, index, t in zip((a, b), of.split(";"), (left, right), strict=True)
        ]
        np.testing.assert_array_equal(np.asarray(kernel(*given)), a @ b)

    @pytest.mark.parametrize(("rows", "columns"), [(20, 27), (13, 10)])
    @pytest.mark.parametrize("text", [product("bf16", "bf16", "f32"), EPILOGUE], ids=["alone", "epilogue"])
    def test_sizes_of_less_than_a_tile(self, text: str, rows: int, columns: int) -> None:
        sizes = {"M": rows, "N": columns, "K": 40}
        kernel = te.build(text, target="cuda-emulated", sizes=sizes)
        assert "tensorize" in kernel.schedule
        rng, dtype = np.random.default_rng(0), numpy_dtype(DTYPES["bf16"])
        a, b = (rng.integers(-2, 3, (sizes[x], sizes[y])) for x, y in ("MK", "KN"))
        given = {"A": a.astype(dtype), "B": b.astype(dtype)}
        if text == EPILOGUE:
            given["bias"] = np.arange(columns, dtype=np.float32)
        expected = np.maximum(a @ b + np.arange(columns), 0) if text == EPILOGUE else a @ b
        found = np.asarray(kernel(**given)).astype(np.float32)
        np.testing.assert_array_equal(found, expected.astype(found.dtype if text != EPILOGUE else dtype))

    @pytest.mark.slow
    @given(
        types=st.sampled_from(
            [("bf16", "bf16", "f32"), ("f16", "f16", "f32"), ("u8", "i8", "i32"), ("i8", "i8", "i32")]
        ),
        of=st.sampled_from(["i, k; k, j", "i, k; j, k", "k, i; k, j", "k, i; j, k"]),
        batch=st.sampled_from(["", "b, "]),
        shape=st.tuples(*[st.integers(1, 80)] * 2, st.integers(1, 700)),
        fixed=st.sets(st.sampled_from("MNK")),
    )
    @settings(max_examples=12, deadline=None, database=None)
    def test_any_product(
        self, types: tuple[str, str, str], of: str, batch: str, shape: tuple[int, int, int], fixed: set[str]
    ) -> None:
        extents = dict(zip("ijk", shape, strict=True)) | {"b": 2}
        sizes = {name: size for name, size in zip("MNK", shape, strict=True) if name in fixed}
        kernel = te.build(product(*types, of, batch), target="cuda-emulated", sizes=sizes)
        rng = np.random.default_rng(0)
        names = [[x.strip() for x in f"{batch}{index}".split(",")] for index in of.split(";")]
        a, b = (
            rng.integers(0, 5, [extents[n] for n in index]).astype(numpy_dtype(DTYPES[t]))
            for index, t in zip(names, types, strict=False)
        )
        letters = ",".join("".join(index) for index in names)
        wide = [x.astype(np.int64) for x in (a, b)]
        expected = np.einsum(f"{letters}->{batch.strip(', ')}ij", *wide)
        np.testing.assert_array_equal(np.asarray(kernel(a, b)), expected)


with_tools = [
    pytest.mark.nvcc,
    pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc"),
    pytest.mark.skipif(
        find_program("nvdisasm") is None and find_program("cuobjdump") is None,
        reason="needs nvdisasm or cuobjdump (PyPI: nvidia-cuda-nvdisasm)",
    ),
]


class TestMachineCode:
    pytestmark = with_tools

    @pytest.mark.parametrize("sm", ["sm_80", pytest.param("sm_90", marks=pytest.mark.slow), "sm_100"])
    @pytest.mark.parametrize(
        ("text", "multiplies"),
        [
            (EPILOGUE, r"HMMA\.16816\.F32\.BF16"),
            (product("i8", "i8", "i32", "i, k; j, k"), r"IMMA\.16832\.S8\.S8"),
        ],
        ids=["bf16", "i8"],
    )
    def test_it_has_the_instructions(self, text: str, multiplies: str, sm: str) -> None:
        kernel = te.build(text, target=f"cuda.{sm}")
        code = kernel.ir("sass")
        for wanted in (multiplies, r"LDSM\.16\.M\S*\.4", r"LDGSTS\.E\S*\.128"):
            assert re.search(wanted, code), wanted
        for used in kernel.resources():
            assert (used.usage.spill_stores, used.usage.spill_loads, used.usage.stack) == (0, 0, 0)
