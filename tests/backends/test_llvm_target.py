"""Targets by name."""

from __future__ import annotations

import pytest

from te.target import TARGET_NAMES, is_gpu, parse_target

CPUS = [name for name in TARGET_NAMES if not is_gpu(name)]


@pytest.mark.parametrize("name", CPUS)
def test_targets(name: str) -> None:
    target = parse_target(name)
    assert target.name == name
    assert target.satisfies(name)
    assert target.satisfies("llvm")
    assert not target.satisfies("cuda")
    assert target.cores >= 1
    assert parse_target(name) is target


def test_the_host_is_native_and_satisfies_what_it_has() -> None:
    host = parse_target("llvm")
    assert host.is_native
    for name in CPUS:
        target = parse_target(name)
        assert target.is_native == host.satisfies(name)
        if target.is_native:
            assert target.vector_bits <= host.vector_bits


def test_an_unknown_target_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match="there is no target `lvm`") as caught:
        parse_target("lvm")
    for name in TARGET_NAMES:
        assert name in str(caught.value)
    assert "did you mean `llvm`?" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in TARGET_NAMES if is_gpu(name)])
def test_gpus(name: str) -> None:
    target = parse_target(name)
    assert target.satisfies(name)
    assert target.satisfies("cuda")
    assert target.satisfies("cuda.sm_75")
    assert not target.satisfies("llvm")
    assert target.satisfies("cuda.sm_90") == (target.sm >= 90)
    assert target.schedule_name == ("cuda" if name == "cuda-emulated" else name)
