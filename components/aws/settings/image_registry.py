"""The settings of the image registry: how images are scanned, kept and, in dev, fetched."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.section import Section

Upstream = Literal["public.ecr.aws", "quay.io", "registry.k8s.io", "docker.io", "ghcr.io"]
"""Registries that ECR can cache. Source: the ECR user guide, "Pull through cache"."""

WITH_LOGIN: tuple[Upstream, ...] = ("docker.io", "ghcr.io")
"""Those that ECR asks with a name and a token only."""

CACHE_ENVIRONMENTS = ("dev",)
"""Where images may be fetched at need. Elsewhere only what was copied and looked at runs."""


class PullThroughSettings(Section):
    """How one registry is asked."""

    credential_arn: (
        Annotated[
            str,
            StringConstraints(
                # ECR takes no secret of another name
                pattern=r"^arn:aws:secretsmanager:[a-z0-9-]+:\d{12}:secret:ecr-pullthroughcache/.+$"
            ),
        ]
        | None
    ) = None
    """The secret with name and token."""


class ImageRegistrySettings(Section):
    """How images of others are kept in the country."""

    scanning: Literal["enhanced", "basic"] = "enhanced"
    """`enhanced`: Amazon Inspector, operating system and language packages, again whenever a new
    weakness is known (charged per image). `basic`: operating system packages, once."""
    owns_account_settings: bool = True
    """Scanning and the registry's policy are one per account and region. False where another
    environment of the same account sets them."""
    untagged_days: int = Field(30, ge=1, le=365)
    """Layers that no tag holds any more are deleted after so long. What has a tag is never deleted
    by age: it may be running."""
    pull_through: dict[Upstream, PullThroughSettings] = Field(default_factory=dict)
    """Registries that images are fetched from at the first pull; in dev only, and only where the
    network has a way out."""

    @model_validator(mode="after")
    def _can_log_in(self) -> Self:
        problems = [
            f"pull_through.{upstream}: needs credential_arn; {upstream} asks ECR to log in"
            for upstream in WITH_LOGIN
            if upstream in self.pull_through and self.pull_through[upstream].credential_arn is None
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self


def cache_problems(
    settings: ImageRegistrySettings, environment: str, *, has_egress: bool | None = None
) -> list[str]:
    """What speaks against the caches of `environment`; `has_egress` is `None` where unknown."""
    if not settings.pull_through:
        return []
    if environment not in CACHE_ENVIRONMENTS:
        problem = (
            f"allowed in {', '.join(CACHE_ENVIRONMENTS)} only; in {environment} images are copied "
            "first: see `falaj images plan`"
        )
        return [f"image_registry.pull_through: {problem}"]
    if has_egress is False:
        problem = (
            "the first pull needs a way out, and the network has none; copy the images instead: "
            "see `falaj images plan`"
        )
        return [f"image_registry.pull_through: {problem}"]
    return []
