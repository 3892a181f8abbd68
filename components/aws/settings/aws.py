"""The settings of an environment on AWS: its account and region, and one section a part."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from components.aws.settings.identity import IdentitySettings
from components.aws.settings.keys import KeySettings, problems_of_keys
from components.aws.settings.node_pool import NodePoolSettings
from components.aws.settings.secrets import SecretsSettings
from components.section import Name, Section


class AwsSettings(Section):
    """The account and region of an environment on AWS."""

    account_id: Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
    region: str = "me-central-1"
    cluster_name: Name
    """The EKS cluster that the node pools join."""
    subnet_ids: tuple[Annotated[str, StringConstraints(pattern=r"^subnet-[0-9a-f]+$")], ...] = (
        Field(min_length=1)
    )
    node_pools: dict[Name, NodePoolSettings]
    keys: KeySettings = KeySettings()
    identity: IdentitySettings = IdentitySettings()
    secrets: SecretsSettings = SecretsSettings()
    keep_data: bool = True
    """Whether buckets are protected, and left when the stack is destroyed."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = [*problems_of_keys(self.keys, keep_data=self.keep_data)]
        if problems:
            raise ValueError("\n".join(problems))
        return self
