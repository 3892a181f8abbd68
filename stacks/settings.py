"""Every setting of an environment: parsed once, checked once, all that is wrong in one list.

The settings of the stack `<environment>` are the keys `falaj:…` of
`stacks/config/Pulumi.<environment>.yaml`. `read` gives them to the program as `Settings`; nothing
else reads configuration.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from components.residency import Residency

NAMESPACE = "falaj"
CONFIG_DIRECTORY = Path(__file__).parent / "config"

LAST_PORT = 65535
FIRST_UNPRIVILEGED_PORT = 1024

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$")]
"""A name that AWS, Kubernetes and DNS all accept."""

_PLAIN_SECRETS = {
    "an AWS access key id": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a password in a URL": re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@]+@"),
    "a token": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{36}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})"),
}
_SECRET_NAMES = re.compile(
    r"(password|passphrase|secret|token|private_key|credential)", re.IGNORECASE
)


class SettingsError(Exception):
    """The settings of an environment are wrong; `problems` lists everything that is."""

    def __init__(self, environment: str, problems: list[str]) -> None:
        self.problems = problems
        listed = "\n".join(f"  {number}. {text}" for number, text in enumerate(problems, 1))
        super().__init__(
            f"stacks/config/Pulumi.{environment}.yaml has {len(problems)} "
            f"problem{'s' if len(problems) > 1 else ''}:\n{listed}"
        )


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ports(_Settings):
    """The TCP ports of the local parts, all on loopback (Ray's internal ones excepted).

    `offset` is added to each, so that two clones can run on one machine.
    """

    offset: int = Field(0, ge=0)
    object_store: int = 7070
    tracking: int = 5500
    orchestrator: int = 3300
    monitoring: int = 9490
    gateway: int = 8088
    gateway_metrics: int = 8404
    ray_dashboard: int = 8265
    ray_gcs: int = 6380
    ray_client: int = 6381
    ray_agent_grpc: int = 6382
    ray_agent_http: int = 6383
    ray_metrics: int = 6384
    ray_node_manager: int = 6385
    ray_object_manager: int = 6386
    ray_runtime_env_agent: int = 6387
    ray_autoscaler_metrics: int = 6388
    ray_dashboard_metrics: int = 6389
    ray_workers_first: int = 20002
    ray_workers_last: int = 20301
    workloads_first: int = 9100
    workloads_last: int = 9199

    @model_validator(mode="after")
    def _fit(self) -> Self:
        problems = []
        ranges = sorted(self.ranges().items(), key=lambda item: item[1])
        for name, (first, last) in ranges:
            if first < FIRST_UNPRIVILEGED_PORT or last > LAST_PORT:
                problems.append(
                    f"{name} is {_span(first, last)}, allowed: "
                    f"{FIRST_UNPRIVILEGED_PORT} to {LAST_PORT}"
                )
            if last < first:
                problems.append(f"{name} ends ({last}) before it begins ({first})")
        for (one, (first, last)), (other, (start, end)) in itertools.pairwise(ranges):
            if start <= last:
                problems.append(
                    f"{one} ({_span(first, last)}) and {other} ({_span(start, end)}) overlap"
                )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def ranges(self) -> dict[str, tuple[int, int]]:
        """Each port's name → first and last port, `offset` added."""
        spans: dict[str, tuple[int, int]] = {}
        for name, port in self.model_dump(exclude={"offset"}).items():
            if name.endswith("_last"):
                continue
            stem = name.removesuffix("_first")
            last = port if stem == name else getattr(self, f"{stem}_last")
            spans[stem] = (port + self.offset, last + self.offset)
        return spans

    def __getitem__(self, name: str) -> int:
        """The port called `name`, `offset` added."""
        return int(getattr(self, name)) + self.offset


class LocalSettings(_Settings):
    """The local environment."""

    ports: Ports = Ports()
    health_seconds: int = Field(180, ge=5, le=1800)
    """How long a part may take until it is healthy."""
    ray_cpus: int = Field(2, ge=1)
    ray_object_store_mib: int = Field(256, ge=80)
    auto_approve: bool = True
    """Whether a version that passes its gates needs no person's yes."""


class NodePoolSettings(_Settings):
    """A group of nodes; GPU pools scale to zero where `min_nodes` is 0."""

    kind: Literal["cpu", "gpu"]
    instance_types: tuple[str, ...] = Field(min_length=1)
    min_nodes: int = Field(0, ge=0)
    max_nodes: int = Field(ge=1)
    disk_gib: int = Field(100, ge=20)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes ({self.min_nodes}) exceeds max_nodes ({self.max_nodes})")
        return self


class AwsSettings(_Settings):
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


class TeamSettings(_Settings):
    """What one team may use of the cluster."""

    cpu_quota: int = Field(8, ge=1)
    """In cores."""
    memory_quota_gib: int = Field(32, ge=1)
    gpu_quota: int = Field(0, ge=0)


class Settings(_Settings):
    """All settings of one environment."""

    environment: Name
    place: Literal["local", "aws"]
    owner: str = Field("platform", min_length=1)
    """Whom to ask about this environment; a tag on every resource."""
    residency: Residency = Residency()
    local: LocalSettings | None = None
    aws: AwsSettings | None = None
    teams: dict[Name, TeamSettings] = Field(default_factory=dict)
    kubeconfig: SecretStr | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = []
        if self.place == "local" and self.aws is not None:
            problems.append("aws: has no meaning where place is local")
        if self.place == "aws":
            if self.local is not None:
                problems.append("local: has no meaning where place is aws")
            if self.aws is None:
                problems.append("aws: is missing, the account and node pools of this environment")
            elif self.aws.region not in self.residency.allowed_regions:
                problems.append(
                    f"aws.region: is {self.aws.region!r}; allowed by residency.allowed_regions: "
                    f"{', '.join(self.residency.allowed_regions)}"
                )
        if problems:
            raise ValueError("\n".join(problems))
        return self


def parse(
    environment: str,
    config: Mapping[str, str],
    secret_keys: Collection[str] = (),
) -> Settings:
    """The settings of `environment` from its stack configuration.

    `config` holds what Pulumi hands to a program: `namespace:key` → text, structures as JSON.
    `secret_keys` names the keys that are encrypted in the file. Raises `SettingsError`.
    """
    prefix = f"{NAMESPACE}:"
    raw: dict[str, Any] = {
        key.removeprefix(prefix): _decode(value)
        for key, value in config.items()
        if key.startswith(prefix)
    }
    secrets = {key.removeprefix(prefix) for key in secret_keys}
    problems = []
    if not raw and environment != "local":
        problems.append(
            f"the file is missing or empty: copy stacks/config/Pulumi.dev.yaml and edit it "
            f"(stack {environment})"
        )
    for path, problem in _plain_secrets(raw, secrets):
        problems.append(f"{prefix}{path}: {problem}")
    raw.setdefault("place", "local" if environment == "local" else "aws")
    if raw["place"] == "local":
        raw.setdefault("local", {})
    try:
        settings = Settings.model_validate({"environment": environment, **raw})
    except ValidationError as error:
        problems.extend(_explain(error))
    if problems:
        raise SettingsError(environment, problems)
    return settings


def read() -> Settings:
    """The settings of the running Pulumi program. Raises `SettingsError`."""
    import pulumi
    from pulumi.runtime import config

    return parse(pulumi.get_stack(), config.CONFIG.get(), config._SECRET_KEYS.get())  # noqa: SLF001


def _decode(text: str) -> Any:
    """Pulumi hands everything over as text; a structure is JSON, a scalar is left to pydantic."""
    if not text.startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain_secrets(
    raw: Mapping[str, Any], secret_keys: Collection[str]
) -> Iterator[tuple[str, str]]:
    for key, value in raw.items():
        if key in secret_keys:
            continue
        hint = f"pulumi config set --secret {NAMESPACE}:{key}"
        if key == "kubeconfig":
            yield key, f"is a secret in plain text; set it with: {hint}"
            continue
        for path, text in _scalars(key, value):
            named = _SECRET_NAMES.search(path.rsplit(".", 1)[-1])
            found = next((what for what, form in _PLAIN_SECRETS.items() if form.search(text)), None)
            if found or named:
                yield path, f"holds {found or 'a secret'} in plain text; set it with: {hint}"


def _scalars(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _scalars(f"{path}.{key}", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _scalars(f"{path}[{index}]", inner)
    elif isinstance(value, str):
        yield path, value


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        keys = [str(part) for part in problem["loc"]]
        path = f"{NAMESPACE}:{'.'.join(keys)}"
        if problem["type"] == "extra_forbidden":
            allowed = _fields_at(keys[:-1])
            near = difflib.get_close_matches(keys[-1], allowed, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            yield f"{path}: is no setting{meant} Allowed: {', '.join(allowed)}"
        elif problem["type"] == "missing":
            yield f"{path}: is missing"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            for line in message.split("\n"):
                if keys:
                    yield f"{path}: {line}{_given(problem['input'])}"
                else:
                    yield f"{NAMESPACE}:{line}"


def _given(value: Any) -> str:
    return f" (is {value!r})" if isinstance(value, str | int | float | bool) else ""


def _fields_at(keys: list[str]) -> list[str]:
    """The settings allowed under the path `keys`."""
    model: type[BaseModel] = Settings
    skip = False
    for key in keys:
        if skip:  # a name chosen by the user, such as that of a team
            skip = False
            continue
        found, skip = _model_of(model.model_fields[key].annotation)
        if found is None:
            return []
        model = found
    return sorted(name for name in model.model_fields if (model, name) != (Settings, "environment"))


def _model_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model inside an annotation, and whether it is the value type of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, tuple, dict):
        for argument in typing.get_args(annotation):
            found, _ = _model_of(argument)
            if found is not None:
                return found, origin in (dict, tuple)
    return None, False


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"
