"""The CPUs that tests build for: this one, and this one as if it had no more than older ones."""

from __future__ import annotations

from te.target import TARGET_NAMES, is_gpu, parse_target

HERE = "llvm"
NATIVE = [name for name in TARGET_NAMES if parse_target(name).is_native and not is_gpu(name)]
# Those whose code differs: VNNI and BF16 add what `tensorize` asks for, and change nothing else.
DISTINCT = [name for name in NATIVE if name not in ("llvm.avx512_vnni", "llvm.avx512_bf16")]
# What x86 has had since 2013, and what all of it has.
NARROWER = [name for name in ("llvm.avx2", "llvm.sse2") if name in NATIVE]
