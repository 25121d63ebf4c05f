"""All workloads, by group. A group is a module here with a list `WORKLOADS`."""

from __future__ import annotations

import importlib

from workload import Workload

MODULES = ("products", "rows", "elementwise", "moves", "convolution", "attention", "narrow", "own", "drawn")


def all_workloads() -> list[Workload]:
    return [each for name in MODULES for each in importlib.import_module(f"workloads.{name}").WORKLOADS]
