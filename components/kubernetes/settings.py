"""What may be asked of a cluster's parts: parsed and checked, without Pulumi."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from components.section import Section


def _is_of_people(group: str) -> str:
    if group.startswith("system:"):
        raise ValueError(f"{group} is a group of Kubernetes itself, and no person is in it")
    return group


Group = Annotated[str, StringConstraints(pattern=r"^\S{1,256}$"), AfterValidator(_is_of_people)]
"""A group of the identity provider. Those that begin with `system:` are Kubernetes' own."""
Registry = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*/$")]
"""Host and path of images, with a slash at the end: without it, `registry.ae` would also let in
`registry.ae.example`."""
Label = Annotated[str, StringConstraints(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9][\w.-]{0,62}$")]


class TeamGroups(Section):
    """Groups of the identity provider that have a role in a team's namespace."""

    viewer: tuple[Group, ...] = ()
    developer: tuple[Group, ...] = ()
    operator: tuple[Group, ...] = ()
    approver: tuple[Group, ...] = ()

    @model_validator(mode="after")
    def _duties_are_separate(self) -> Self:
        for group in self.approver:
            for role in ("developer", "operator"):
                if group in getattr(self, role):
                    raise ValueError(
                        f"approver: {group} is also {role}; who changes a service does not approve "
                        "its releases"
                    )
        return self


class TeamQuota(Section):
    """What one team may use at once, and who belongs to it."""

    cpu_quota: int = Field(8, ge=1)
    """In cores."""
    memory_quota_gib: int = Field(32, ge=1)
    gpu_quota: int = Field(0, ge=0)
    storage_quota_gib: int = Field(200, ge=0)
    """Of volumes together."""
    pod_quota: int = Field(200, ge=1)
    groups: TeamGroups = TeamGroups()
    """Nobody, where none is named: a role that nobody has is given to nobody."""


class AdmissionSettings(Section):
    """What a pod must be before the cluster takes it."""

    registries: tuple[Registry, ...] = ()
    """Where images may come from; the place's own registry where none is named."""
    digests: bool = False
    """Whether an image must be named by its digest: a tag can be moved to another image."""
    required_labels: tuple[Label, ...] = ("app.kubernetes.io/name",)
    """Of every pod."""
    exempt_namespaces: dict[str, Annotated[str, StringConstraints(min_length=10)]] = Field(
        default={"kube-system": "the cloud brings its own add-ons there, from its own registry"}
    )
    """Namespace → why its pods are not asked."""
