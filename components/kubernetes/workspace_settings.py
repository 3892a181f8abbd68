"""What may be asked of people's workspaces: parsed and checked, without Pulumi."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from components.kubernetes.pages_settings import PagesSettings
from components.kubernetes.pools import Pool
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tracking_settings import Image
from components.section import Name, Section

_ABROAD = ("pypi.org", "pythonhosted.org", "anaconda.org", "anaconda.com", "huggingface.co")
"""Hosts that hand packages and models out to all the world, and see who asks for what."""


def _is_in_the_country(url: str) -> str:
    host = urllib.parse.urlsplit(url).hostname or ""
    for one in _ABROAD:
        if host == one or host.endswith(f".{one}"):
            raise ValueError(f"{url} is not in the country: name a mirror that is, or leave it out")
    return url


Mirror = Annotated[
    str, StringConstraints(pattern=r"^https://[^\s/@]+(/\S*)?$"), AfterValidator(_is_in_the_country)
]
"""An address without credentials: it is no secret."""
Email = Annotated[str, StringConstraints(pattern=r"^[^\s@,]+@[^\s@,]+\.[^\s@,]+$", to_lower=True)]


class PackageMirrors(Section):
    """Where packages and models come from. Without an address nothing of the kind is fetched."""

    python: Mirror | None = None
    """A simple index of Python packages, for pip and uv."""
    conda: Mirror | None = None
    """Below which conda finds channels."""
    models: Mirror | None = None
    """That speaks as the Hugging Face hub does."""


class WorkspaceUser(Section):
    """The workspace of one person."""

    email: Email
    """As the identity provider says it; nobody else comes in."""
    team: Name
    """In whose namespace and with whose identity it runs, and whose quota it uses."""
    cpus: float = Field(1, gt=0, le=64)
    memory_gib: int = Field(4, ge=1, le=1024)
    disk_gib: int = Field(20, ge=1, le=2000)
    """Of the volume that stays when the workspace stops."""
    gpus: int = Field(0, ge=0, le=8)
    pool: Name | None = None
    """Of nodes; needed for GPUs."""

    @model_validator(mode="after")
    def _has_nodes(self) -> Self:
        if self.gpus and self.pool is None:
            raise ValueError(f"gpus: {self.gpus}, but no pool: name one that has GPUs")
        return self


class WorkspaceSettings(Section):
    """Workspaces of people, each with a volume of its own."""

    pages: PagesSettings
    image: Image
    """In the registry in the country, by its digest: with JupyterLab 4 and what people work with;
    it runs as any user."""
    idle_minutes: int = Field(60, ge=5, le=24 * 60)
    """After which kernels and terminals that do nothing end, and after the last the workspace."""
    most_hours: int = Field(12, ge=1, le=168)
    """After which it ends in any case."""
    mirrors: PackageMirrors = PackageMirrors()
    users: dict[Name, WorkspaceUser] = Field(default_factory=dict)


def problems_of_workspaces(
    settings: WorkspaceSettings, teams: Mapping[str, TeamQuota], pools: Mapping[str, Pool]
) -> Iterator[str]:
    """What does not fit, each as key, value and the way out."""
    emails: dict[str, str] = {}
    for name, user in settings.users.items():
        where = f"workspaces.users.{name}"
        if user.team not in teams:
            yield f"{where}.team: {user.team} is none of {', '.join(sorted(teams)) or 'no teams'}"
            continue
        if (other := emails.setdefault(f"{user.team} {user.email}", name)) != name:
            yield f"{where}.email: {user.email} has the workspace {other} in {user.team} already"
        quota = teams[user.team]
        for noun, need, there in (
            ("gpu_quota", user.gpus, quota.gpu_quota),
            ("cpu_quota", user.cpus, quota.cpu_quota),
            ("memory_quota_gib", user.memory_gib, quota.memory_quota_gib),
        ):
            if need > there:
                yield (
                    f"{where}: needs {need:g} of teams.{user.team}.{noun}, which is {there}: lower "
                    "one or raise the other"
                )
        if user.pool is not None:
            yield from _problems_of_pool(where, user, pools)
    yield from _problems_of_storage(settings, teams)


def _problems_of_pool(where: str, user: WorkspaceUser, pools: Mapping[str, Pool]) -> Iterator[str]:
    pool = pools.get(str(user.pool))
    if pool is None:
        yield f"{where}.pool: {user.pool} is none of {', '.join(sorted(pools)) or 'no pools'}"
    elif user.gpus > pool.gpus:
        yield f"{where}.gpus: {user.gpus}, but a node of {user.pool} has {pool.gpus}"


def _problems_of_storage(
    settings: WorkspaceSettings, teams: Mapping[str, TeamQuota]
) -> Iterator[str]:
    """The volumes are there whether or not their workspaces run."""
    for team, quota in teams.items():
        asked = sum(user.disk_gib for user in settings.users.values() if user.team == team)
        if asked > quota.storage_quota_gib:
            yield (
                f"workspaces.users: those of {team} have {asked} GiB of disk together, and "
                f"teams.{team}.storage_quota_gib is {quota.storage_quota_gib}: lower one or raise "
                "the other"
            )
