"""One workload of one environment as a Pulumi program: the stack `<workload>.<environment>`.

Reads the platform's contract by StackReference and exports the environment variables by which the
workload's code reaches its parts.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pulumi

from components.contract import ContractError, PlatformOutputs
from components.workload import deploy
from stacks import environment
from workloads.delivery import spec
from workloads.delivery.errors import DeliveryError

PLATFORM_PROJECT = "falaj"


def names(stack: str) -> tuple[str, str]:
    """The workload and the environment that a stack is named after. Raises `ContractError`."""
    workload, dot, place = stack.rpartition(".")
    known = sorted(
        path.parent.name.replace("_", "-") for path in Path(__file__).parent.glob("*/workload.yaml")
    )
    if not dot or workload not in known:
        raise ContractError(
            f"the stack {stack} names no workload: call it <workload>.<environment>, "
            f"with a workload of {', '.join(known)}"
        )
    return workload, place


def code_digest(workload: str) -> str:
    """sha256 over the code that the workload's processes run."""
    total = hashlib.sha256()
    here = Path(__file__).parent
    for folder in (here / "delivery", here / workload.replace("-", "_")):
        for path in sorted([*folder.glob("*.py"), *folder.glob("*.yaml")]):
            total.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def main() -> None:
    """Deploys the workload that the stack is named after."""
    environment.require()
    workload, place = names(pulumi.get_stack())
    platform = pulumi.StackReference(
        "platform",
        stack_name=f"{pulumi.get_organization()}/{PLATFORM_PROJECT}/{place}",
    )

    def build(outputs: dict[str, Any]) -> pulumi.Output[dict[str, str]]:
        if not outputs:
            raise ContractError(f"the platform's stack {place} is not up: run `make up`")
        parsed, asked = PlatformOutputs.parse(outputs), pulumi.Config().get_object("deployment")
        if parsed.kubeconfig is not None:
            # what a cluster is asked is no business of this machine's own environment
            from stacks import cluster_access

            cluster_access.require_workload(workload, parsed, asked)
        kept = spec.load(workload).spec.capture.model_dump(mode="json")
        return pulumi.Output.all(**deploy(workload, code_digest(workload), parsed, asked, kept))

    pulumi.export("workload", workload)
    pulumi.export("variables", platform.outputs.apply(build))


try:
    main()
except (ContractError, DeliveryError, environment.WrongEnvironmentError) as error:
    # the engine shows this as one message, without a traceback
    raise pulumi.RunError(str(error)) from None
