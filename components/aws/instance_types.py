"""The hardware of instance types: what quotas, budgets and limits are counted in.

Data in `instance_types.yaml`; whether a region has a type is said by `regions`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import yaml

from components.section import Section

FILE = Path(__file__).with_name("instance_types.yaml")


class InstanceType(Section):
    """One node's worth of hardware."""

    vcpus: int
    memory_gib: int
    pods: int
    """How many the network plugin gives addresses to."""
    gpus: int = 0
    gpu: str | None = None
    gpu_memory_gib: int = 0
    """Of each GPU."""


@cache
def instance_types() -> dict[str, InstanceType]:
    """Every type that is known, by name."""
    raw = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {name: InstanceType.model_validate(fields) for name, fields in raw.items()}


def problems_of_hardware(names: Iterable[str], *, gpu: bool) -> Iterator[str]:
    """Which of `names` are unknown, or have no GPU where one is meant, or one where none is."""
    known = instance_types()
    for name in names:
        if name not in known:
            yield f"the hardware of {name} is not known: add it to components/aws/{FILE.name}"
        elif bool(known[name].gpus) != gpu:
            what = "has no GPU" if gpu else f"has GPUs ({known[name].gpu})"
            yield f"{name} {what}, but kind is {'gpu' if gpu else 'cpu'}"


def most_gpus(names: Iterable[str]) -> int:
    """The GPUs of the largest of the known types in `names`."""
    known = instance_types()
    return max((known[name].gpus for name in names if name in known), default=0)


def most_vcpus(names: Iterable[str]) -> int:
    """The virtual CPUs of the largest of the known types in `names`."""
    known = instance_types()
    return max((known[name].vcpus for name in names if name in known), default=0)
