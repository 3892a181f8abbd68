"""The tags of every cloud resource: one pure function, so that they are the same everywhere."""

from __future__ import annotations

from typing import Literal

DataClassification = Literal["public", "internal", "confidential", "restricted"]


def tags(
    *,
    environment: str,
    owner: str,
    residency_mode: str,
    data_classification: DataClassification = "internal",
) -> dict[str, str]:
    """The tags of a resource of `environment` that holds data of `data_classification`."""
    return {
        "environment": environment,
        "owner": owner,
        "residency": residency_mode,
        "data-classification": data_classification,
        "managed-by": "pulumi",
    }
