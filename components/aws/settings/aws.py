"""The settings of an environment on AWS: its account and region, and one section a part."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from components.aws.settings.audit import AuditSettings
from components.aws.settings.backup import BackupSettings, problems_of_backup
from components.aws.settings.log_shipping import LogShippingSettings
from components.aws.settings.node_pool import NodePoolSettings
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
    keep_data: bool = True
    """Whether buckets are protected, and left when the stack is destroyed."""
    audit: AuditSettings = AuditSettings()
    backup: BackupSettings = BackupSettings()
    logs: LogShippingSettings = LogShippingSettings()

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = problems_of_backup(
            self.backup, account_id=self.account_id, keep_data=self.keep_data
        )
        if problems:
            raise ValueError("\n".join(problems))
        return self
