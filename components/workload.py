"""A workload on whatever place its platform is: the counterpart of `components/platform.py`."""

from __future__ import annotations

import pulumi

from components.contract import Capability, ContractError, PlatformOutputs
from components.local.workload import LocalWorkload, LocalWorkloadArgs

REQUIRED: tuple[Capability, ...] = (
    "artifacts",
    "tracking",
    "training",
    "serving",
    "monitoring",
    "orchestration",
)


def deploy(workload: str, code: str, platform: PlatformOutputs) -> dict[str, pulumi.Input[str]]:
    """Deploys `workload` on `platform`; returns the environment variables that its code gets.

    `code` is a digest of the code that its processes run. Raises `ContractError` when the platform
    lacks what a workload needs.
    """
    platform.require(*REQUIRED)
    if platform.local is None:
        raise ContractError(
            f"the environment {platform.environment} (place {platform.place}) cannot take "
            "workloads yet: the local environment can"
        )
    return LocalWorkload(
        workload,
        LocalWorkloadArgs(workload=workload, code=code, platform=platform, target=platform.local),
    ).variables
