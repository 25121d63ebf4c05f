"""What code is generated for: plain data, found out once a process.

A target is named by a backend and, optionally, a feature: `llvm` is this machine,
`llvm.avx2` a machine with AVX2 and no more. Schedules say `on llvm.avx512`; they apply to every
target that satisfies the name (`Target.satisfies`). Targets of another family of processors are for
code that runs elsewhere, under Linux.

`cuda` is this machine's NVIDIA GPU, or one of compute capability 8.0 where none is known; `cuda.sm_90` one
of 9.0. `cuda-emulated` runs what would run on `cuda.sm_80` on the CPU, to test and debug it.
"""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from te.diagnostics import did_you_mean
from te.gpus import Multiprocessor, multiprocessor

__all__ = ["TARGET_NAMES", "Target", "available_cores", "is_gpu", "parse_target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A machine, as far as schedules and backends ask.

    `cpu` and `features` are LLVM's names (`znver4`, `+avx2,-avx512f,...`), `vector_bits` the
    width of its vector registers. `caches` are the bytes of its caches for data, the nearest first.
    `is_native` tells whether this machine can run the code. `triple` is LLVM's name of another family of
    processors, and empty for this machine's. `sm` is a GPU's compute capability, 80 for 8.0; its vectors
    are what one access of a thread moves at most.
    """

    name: str
    backend: str
    cpu: str
    features: str
    vector_bits: int
    vector_registers: int
    cores: int
    is_native: bool
    levels: frozenset[str]
    caches: tuple[int, ...]
    triple: str = ""
    sm: int = 0

    @property
    def schedule_name(self) -> str:
        """What schedules for it are `on`: the emulator takes those of the GPU."""
        return "cuda" if self.name == EMULATED else self.name

    @property
    def is_gpu(self) -> bool:
        """Whether its code runs on a GPU: not that of the emulator."""
        return self.backend == "cuda" and self.name != EMULATED

    def satisfies(self, name: str) -> bool:
        """Whether a schedule written `on name` may be used: `llvm.avx2` serves on an AVX-512 machine too."""
        return name in self.levels


@dataclass(frozen=True, slots=True)
class _Level:
    """An instruction set with a name: LLVM's CPU for it, what a host must have, its vector registers.

    `features` are what the level has and the CPU of its name has not.
    """

    cpu: str
    needs: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    features: str = ""


_AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl")
# From narrow to wide: a machine of one level satisfies those of its family before it.
_X86 = {
    "llvm.sse2": _Level("x86-64", ("sse2",), 128, 16),
    "llvm.sse4": _Level("x86-64-v2", ("sse4.2", "popcnt"), 128, 16),
    "llvm.avx2": _Level("x86-64-v3", ("avx2", "fma", "bmi2", "f16c"), 256, 16),
    "llvm.avx512": _Level("x86-64-v4", _AVX512, 512, 32),
    "llvm.avx512_vnni": _Level("x86-64-v4", (*_AVX512, "avx512vnni"), 512, 32, "+avx512vnni"),
    "llvm.avx512_bf16": _Level(
        "x86-64-v4", (*_AVX512, "avx512vnni", "avx512bf16"), 512, 32, "+avx512vnni,+avx512bf16"
    ),
}
_ARM = {"llvm.neon": _Level("generic", ("neon",), 128, 32)}
_FAMILIES = {"x86_64-unknown-linux-gnu": _X86, "aarch64-unknown-linux-gnu": _ARM}
_FAMILY = _ARM if platform.machine().lower() in ("arm64", "aarch64") else _X86

# What a machine is taken to have that is named, or does not tell: a common server's.
DEFAULT_CACHES = (32 << 10, 1 << 20, 32 << 20)

# Compute capabilities: Turing, Ampere (A100; RTX 30), Ada, Hopper, Blackwell.
_CUDA = {f"cuda.sm_{sm}": sm for sm in (75, 80, 86, 89, 90, 100)}
_LEAST_KNOWN = 80  # what `cuda` stands for where no GPU is known
LEAST_ASYNC = 80  # from which on there is `cp.async` (PTX ISA, section 9.7.9.25)
LEAST_CLUSTERS = 90  # from which on blocks form clusters
EMULATED = "cuda-emulated"

TARGET_NAMES = ("llvm", *_X86, *_ARM, "cuda", *_CUDA, EMULATED)


def is_gpu(name: str) -> bool:
    """Whether the target of that name has blocks and threads."""
    return name == EMULATED or name.partition(".")[0] == "cuda"


def shared_bytes(name: str) -> int:
    """How much shared memory a block may have on the GPU of that name."""
    return multiprocessor_of(name).shared_of_block


def multiprocessor_of(name: str) -> Multiprocessor:
    """What the multiprocessors of the GPU of that name have."""
    return multiprocessor(_sm_of(name))


def has_async_copies(name: str) -> bool:
    """Whether the GPU of that name copies to shared memory while its threads go on."""
    return is_gpu(name) and _sm_of(name) >= LEAST_ASYNC


def has_clusters(name: str) -> bool:
    """Whether the GPU of that name starts neighbouring blocks together."""
    return is_gpu(name) and _sm_of(name) >= LEAST_CLUSTERS


def levels_of(name: str) -> frozenset[str]:
    """The targets whose schedules serve one of this name, whatever this machine is."""
    if is_gpu(name):
        return _cuda_levels(_sm_of(name))
    for family in _FAMILIES.values():
        if name in family:
            return frozenset({"llvm", *list(family)[: list(family).index(name) + 1]})
    return frozenset({name, name.partition(".")[0]})


def parse_target(spec: str) -> Target:
    """The target of that name.

    Raises ValueError with the list of targets for any other name.

    >>> parse_target("llvm.avx2").vector_bits
    256
    """
    if spec not in TARGET_NAMES:
        hint = did_you_mean(spec, TARGET_NAMES)
        known = ", ".join(TARGET_NAMES)
        raise ValueError(
            f"there is no target `{spec}`; the targets are: {known}" + (f" ({hint})" if hint else "")
        )
    return _cuda(spec) if is_gpu(spec) else _parse(spec)


def _cuda(spec: str) -> Target:
    sm = _sm_of(spec)
    return Target(
        name=spec,
        backend="cuda",
        cpu=f"sm_{sm}",
        features="",
        vector_bits=128,
        vector_registers=255,
        cores=1,
        is_native=spec == EMULATED,
        levels=_cuda_levels(sm) | {spec},
        caches=(),
        sm=sm,
    )


def _sm_of(name: str) -> int:
    """The compute capability that a target stands for."""
    found = host_gpu() if name == "cuda" else None
    return _CUDA.get(name, found or _LEAST_KNOWN)


@cache
def host_gpu() -> int | None:
    """The compute capability of this machine's first NVIDIA GPU, 90 for 9.0, as its driver tells; None without one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    for number, attribute in ((major, 75), (minor, 76)):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
        if driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device):
            return None
    return 10 * major.value + minor.value


def _cuda_levels(sm: int) -> frozenset[str]:
    return frozenset({"cuda", *(name for name, level in _CUDA.items() if level <= sm)})


@cache
def _parse(spec: str) -> Target:
    host_cpu, host_features = _host()
    present = {name for name, on in host_features.items() if on}
    reached = [name for name, level in _FAMILY.items() if present.issuperset(level.needs)]
    widest = reached[-1] if reached else next(iter(_FAMILY))

    if spec in ("llvm", widest):
        level, levels, is_native = _FAMILY[widest], reached, True
        cpu = host_cpu
        features = ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(host_features.items()))
    else:
        family = next(family for family in _FAMILIES.values() if spec in family)
        names = list(family)
        level, levels, is_native = family[spec], names[: names.index(spec) + 1], spec in reached
        cpu, features = level.cpu, level.features
    return Target(
        name=spec,
        backend="llvm",
        cpu=cpu,
        features=features,
        vector_bits=level.vector_bits,
        vector_registers=level.vector_registers,
        cores=available_cores(),
        is_native=is_native,
        levels=frozenset({"llvm", *levels}),
        caches=host_caches() if spec == "llvm" else DEFAULT_CACHES,
        triple=_triple(spec),
    )


def _triple(spec: str) -> str:
    """LLVM's name of the processors of a target that are not of this machine's family."""
    others = (triple for triple, family in _FAMILIES.items() if family is not _FAMILY and spec in family)
    return next(others, "")


@cache
def _host() -> tuple[str, dict[str, bool]]:
    """LLVM's name of this CPU and its features. llvmlite loads here, not when te is imported."""
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), dict(llvm.get_host_cpu_features())


@cache
def host_caches() -> tuple[int, ...]:
    """The bytes of this machine's caches for data, the nearest first, as Linux tells them."""
    found: dict[int, int] = {}
    for place in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, kind, size = ((place / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K"):
            found[int(level)] = int(size[:-1]) << 10
    return tuple(found[level] for level in sorted(found)) or DEFAULT_CACHES


def available_cores() -> int:
    """The number of CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
