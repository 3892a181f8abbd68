"""The settings of who may deploy an environment, and the limits of role names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.aws.access import orchestration_roles, team_role
from components.aws.settings.cluster import RoleArn
from components.section import Section

LONGEST_ROLE_NAME = 64
"""Characters of a role's name, by IAM's limit."""

Repository = Annotated[str, StringConstraints(pattern=r"^[\w.-]+(/[\w.-]+)+$")]
Reference = Annotated[str, StringConstraints(pattern=r"^[\w./-]+$")]
"""A branch or environment; no wildcard, which a trust policy would read as one."""

OPEN_ENVIRONMENTS = ("dev", "test")
"""Where people may deploy. Elsewhere a protected job or the runner does."""

UserName = Annotated[str, StringConstraints(pattern=r"^[\w+=,.@-]{1,64}$")]


class CiSettings(Section):
    """A repository whose pipelines plan and apply this environment, without a stored key."""

    kind: Literal["github", "gitlab"]
    repository: Repository
    """``organisation/name``, with all groups."""
    branch: Reference = "main"
    """GitLab: the protected branch whose pipelines may apply. GitHub: whose pipelines may plan
    besides those of pull requests."""
    environment: Reference | None = None
    """GitHub: the protected environment whose jobs alone may apply."""
    host: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+\.[a-z]+$")] = "gitlab.com"
    """GitLab: AWS must reach ``https://<host>/.well-known/openid-configuration``."""
    provider_exists: bool = False
    """Whether the account has the identity provider already: it can have one for each issuer, so
    the second environment of an account must not make it again."""

    @model_validator(mode="after")
    def _names_what_is_protected(self) -> Self:
        if self.kind == "github" and self.environment is None:
            raise ValueError(
                "environment is missing: on GitHub only jobs of a protected environment may apply"
            )
        if self.kind == "gitlab" and self.environment is not None:
            raise ValueError("environment has no meaning on GitLab: a branch is protected there")
        return self

    @property
    def issuer(self) -> str:
        """Host of the identity provider, as ARNs and condition keys have it."""
        return "token.actions.githubusercontent.com" if self.kind == "github" else self.host

    @property
    def audience(self) -> str:
        """What a token must be made for."""
        return "sts.amazonaws.com" if self.kind == "github" else f"https://{self.host}"


class IdentitySettings(Section):
    """Who may change an environment."""

    administrators: tuple[RoleArn, ...] = ()
    """Roles of the account's administrators, each ARN with its path. They run the bootstrap: they
    keep the first state and alone change the keys that it makes. In dev and test they also deploy,
    by themselves as long as there is no role `apply`, then by that one."""
    ci: tuple[CiSettings, ...] = ()
    break_glass_users: tuple[UserName, ...] = ()
    """IAM users with a hardware key, who may act when single sign-on or the pipeline is down.
    Nobody else has a way around the guard rails; without a user there is no such role."""
    break_glass_mfa_seconds: int = Field(900, ge=60, le=3600)
    """How old the second factor may be when the role is taken."""


def people_who_deploy(environment: str, identity: IdentitySettings) -> tuple[str, ...]:
    """The roles of people that deploy `environment` beside pipelines and the runner."""
    return identity.administrators if environment in OPEN_ENVIRONMENTS else ()


def problems_of_deployers(
    environment: str, identity: IdentitySettings, *, account_id: str | None, runner: bool
) -> Iterator[str]:
    """Why nobody could deploy `environment`, or somebody of another account would.

    `account_id` is `None` where it is not known.
    """
    for arn in identity.administrators if account_id is not None else ():
        if arn.split(":")[4] != account_id:
            yield (
                f"identity.administrators: {arn} is of another account; name the role that its "
                f"people take in {account_id}"
            )
    if environment not in OPEN_ENVIRONMENTS and not identity.ci and not runner:
        yield (
            f"identity.ci: is empty and there is no runner, so nobody could apply {environment}: "
            "name a repository whose protected job applies, or declare a runner"
        )


def problems_of_bootstrap(identity: IdentitySettings) -> list[str]:
    """Why the bootstrap would lock out whoever runs it."""
    if identity.administrators:
        return []
    return [
        (
            "identity.administrators: is empty, so the key of the state would refuse whoever runs "
            "the bootstrap; name the role that you run it as (aws sts get-caller-identity, and for "
            "its path aws iam get-role)"
        )
    ]


def problems_of_teams(
    environment: str, teams: Iterable[str], orchestrated: Iterable[str] = ()
) -> list[str]:
    """Teams one of whose roles has a name that IAM would refuse; `orchestrated` have a Dagster."""
    roles = {
        **{f"teams.{team}": team_role(team) for team in teams},
        **{
            f"orchestration.teams.{team}": max(orchestration_roles(team), key=len)
            for team in orchestrated
        },
    }
    problems = []
    for key, noun in roles.items():
        role = f"falaj-{environment}-{noun}"
        if len(role) > LONGEST_ROLE_NAME:
            problems.append(
                f"{key}: gives the role {role} of {len(role)} characters; "
                f"IAM allows {LONGEST_ROLE_NAME}"
            )
    return problems
