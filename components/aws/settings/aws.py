"""The settings of an environment on AWS: its account and region, and one section a part."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import StringConstraints, model_validator

from components.aws.settings.cache import CacheSettings
from components.aws.settings.controllers import services_called
from components.aws.settings.database import DatabaseSettings
from components.aws.settings.image_registry import ImageRegistrySettings
from components.aws.settings.network import (
    ExistingNetwork,
    NetworkSettings,
    SubnetId,
    existing_network_problems,
    network_problems,
)
from components.aws.settings.node_pool import NodePoolSettings
from components.aws.settings.runner import RunnerSettings, runner_problems
from components.aws.settings.storage import StorageSettings, undeletable
from components.aws.settings.stream import StreamSettings
from components.section import Name, Section


class AwsSettings(Section):
    """The account and region of an environment on AWS."""

    account_id: Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
    region: str = "me-central-1"
    network: NetworkSettings | None = None
    """The network made for this environment; with `existing_network`, what holds of that one:
    `egress`, `max_pods`, `trusted_accounts`."""
    existing_network: ExistingNetwork | None = None
    """A network that somebody else keeps."""
    runner: RunnerSettings | None = None
    """The machine inside the network from which alone the environment is deployed; `None` where
    whoever deploys reaches the network by other ways."""
    cluster_name: Name
    """The EKS cluster that the node pools join."""
    subnet_ids: tuple[SubnetId, ...] = ()
    """The subnets of the nodes, where no network is declared."""
    node_pools: dict[Name, NodePoolSettings]
    image_registry: ImageRegistrySettings = ImageRegistrySettings()
    keep_data: bool = True
    """Whether buckets are protected, and left when the stack is destroyed."""
    storage: StorageSettings = StorageSettings()
    database: DatabaseSettings = DatabaseSettings()
    cache: CacheSettings = CacheSettings()
    stream: StreamSettings = StreamSettings()

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = [
            *_problems_of_network(self),
            *_problems_of_runner(self),
            *undeletable(self.storage, keep_data=self.keep_data),
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _problems_of_network(aws: AwsSettings) -> list[str]:
    if aws.existing_network is not None:
        return list(existing_network_problems(aws.existing_network, aws.region, services_called()))
    if aws.network is not None:
        nodes = {name: pool.max_nodes for name, pool in aws.node_pools.items()}
        return list(network_problems(aws.network, aws.region, nodes))
    return [] if aws.subnet_ids else ["network: is missing; or name existing_network or subnet_ids"]


def _problems_of_runner(aws: AwsSettings) -> list[str]:
    if aws.runner is None:
        return []
    if aws.network is None and aws.existing_network is None:
        return ["runner: has no network to be in; declare network or existing_network"]
    return list(runner_problems(aws.runner, aws.network or NetworkSettings(), aws.region))
