"""A workload on whatever place its platform is: the counterpart of `components/platform.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pydantic import ValidationError

from components.contract import Capability, ContractError, PlatformOutputs
from components.local.workload import LocalWorkload, LocalWorkloadArgs

ON_A_CLUSTER: tuple[Capability, ...] = ("tenancy", "tracking", "serving")
REQUIRED: tuple[Capability, ...] = (
    "artifacts",
    "tracking",
    "training",
    "serving",
    "monitoring",
    "orchestration",
)


def deploy(
    workload: str,
    code: str,
    platform: PlatformOutputs,
    deployment: Mapping[str, Any] | None = None,
    capture: Mapping[str, Any] | None = None,
) -> dict[str, pulumi.Input[str]]:
    """Deploys `workload` on `platform`; returns the environment variables that its code gets.

    `code` is a digest of the code that its processes run, `deployment` what the workload's stack
    says of a cluster (`WorkloadSettings`), `capture` that section of its `workload.yaml`. Raises
    `ContractError` when the platform lacks what a workload needs.
    """
    if platform.place != "local":
        return _on_a_cluster(workload, platform, deployment, capture)
    platform.require(*REQUIRED)
    if platform.local is None:
        raise ContractError(f"the outputs of {platform.environment} lack the field local")
    return LocalWorkload(
        workload,
        LocalWorkloadArgs(
            workload=workload,
            code=code,
            platform=platform,
            target=platform.local,
            capture=capture,
        ),
    ).variables


def _on_a_cluster(
    workload: str,
    platform: PlatformOutputs,
    deployment: Mapping[str, Any] | None,
    capture: Mapping[str, Any] | None,
) -> dict[str, pulumi.Input[str]]:
    # the places load what they alone are made of
    from components.kubernetes.workload import ClusterWorkload, ClusterWorkloadArgs
    from components.kubernetes.workload_settings import WorkloadSettings

    platform.require(*ON_A_CLUSTER)
    if platform.cluster is None:
        raise ContractError(f"the outputs of {platform.environment} lack the field cluster")
    if deployment is None:
        raise ContractError(
            f"{workload} has no deployment for {platform.environment}: copy "
            "docs/examples/workload/Pulumi.credit-risk.dev.yaml to workloads/config and edit it"
        )
    try:
        settings = WorkloadSettings.model_validate(dict(deployment))
    except ValidationError as error:
        listed = "\n".join(
            f"  deployment.{'.'.join(str(key) for key in one['loc'])}: {one['msg']}"
            for one in error.errors()
        )
        raise ContractError(f"the deployment of {workload} cannot be read:\n{listed}") from error
    return ClusterWorkload(
        workload,
        ClusterWorkloadArgs(
            workload=workload,
            settings=settings,
            platform=platform,
            target=platform.cluster,
            capture=capture,
        ),
    ).variables
