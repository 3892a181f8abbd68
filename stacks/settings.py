"""Every setting of an environment: parsed once, checked once, all that is wrong in one list.

The settings of the stack `<environment>` are the keys `falaj:…` of
`stacks/config/Pulumi.<environment>.yaml`. `read` gives them to the program as `Settings`; nothing
else reads configuration.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from components.aws.settings.aws import (
    SKIP,
    AwsSettings,
    beyond_the_team_budget,
    unverified,
)
from components.aws.settings.backup import unapproved_copies
from components.aws.settings.cache import long_cache_names, problems_of_features
from components.aws.settings.identity import problems_of_deployers, problems_of_teams
from components.aws.settings.image_registry import cache_problems
from components.aws.settings.log_shipping import problems_of_shipping
from components.aws.settings.network import NetworkSettings
from components.aws.settings.pools_for_pods import pools_for_pods
from components.aws.settings.storage import long_team_names
from components.kubernetes.layer_settings import (
    LayerSettings,
    problems_of_layer,
    problems_on_nodes,
)
from components.kubernetes.place_settings import KubernetesSettings, problems_of_stores
from components.local.settings import LocalSettings
from components.residency import Residency
from components.section import Name

NAMESPACE = "falaj"
CONFIG_DIRECTORY = Path(__file__).parent / "config"
PROFILES = CONFIG_DIRECTORY / "profiles"

_PLAIN_SECRETS = {
    "an AWS access key id": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a password in a URL": re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@]+@"),
    "a token": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{36}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})"),
}
_SECRET_NAMES = re.compile(
    r"(password|passphrase|secret|token|private_key|credential)", re.IGNORECASE
)
_NAMES_OF_SECRETS = frozenset({"credentials_secret", "password_secret", "pull_secrets"})
"""Settings that say where a secret is in the cluster, and hold none."""


_NEUTRAL = {"account_id": "000000000000"}
"""What stands for a required setting while the rest is checked without it."""


class SettingsError(Exception):
    """The settings of an environment are wrong; `problems` lists everything that is."""

    def __init__(self, environment: str, problems: list[str]) -> None:
        self.problems = problems
        listed = "\n".join(f"  {number}. {text}" for number, text in enumerate(problems, 1))
        super().__init__(
            f"stacks/config/Pulumi.{environment}.yaml has {len(problems)} "
            f"problem{'s' if len(problems) > 1 else ''}:\n{listed}"
        )


class Settings(LayerSettings):
    """All settings of one environment."""

    environment: Name
    place: Literal["local", "aws", "kubernetes"]
    profile: Literal["smb", "enterprise"] | None = None
    """Whose settings stand behind those of the stack file: `stacks/config/profiles/<profile>.yaml`;
    `None` locally."""
    owner: str = Field("platform", min_length=1)
    """Whom to ask about this environment; a tag on every resource."""
    residency: Residency = Residency()
    local: LocalSettings | None = None
    aws: AwsSettings | None = None
    kubernetes: KubernetesSettings | None = None
    kubeconfig: SecretStr | None = None
    """How the cluster is reached, where it is not made here."""
    public_cluster: bool = False
    """Whether a cluster may be deployed to whose API server the whole internet reaches."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = [
            f"{section}: has no meaning where place is {self.place}"
            for section in ("local", "aws", "kubernetes")
            if section != self.place and getattr(self, section) is not None
        ]
        if self.place != "local":
            problems += problems_of_layer(self.environment, self, self.residency.allowed_regions)
        if self.place == "kubernetes":
            if self.kubernetes is None:
                problems.append("kubernetes: is missing, the cluster of this environment")
            else:
                pools = self.kubernetes.pools_for_pods()
                problems += problems_on_nodes(self.environment, self, pools)
                problems += problems_of_stores(
                    self.kubernetes, self.orchestrated, self.page_hosts, self.with_databases
                )
        if self.place == "aws":
            problems += problems_of_teams(self.environment, self.teams, self.orchestrated)
            if self.aws is None:
                problems.append("aws: is missing, the account and node pools of this environment")
            elif self.aws.region not in self.residency.allowed_regions:
                problems.append(
                    f"aws.region: is {self.aws.region!r}; allowed by residency.allowed_regions: "
                    f"{', '.join(self.residency.allowed_regions)}"
                )
            problems += long_team_names(self.environment, self.teams)
            if self.aws is not None:
                problems += _problems_of_deployers(self.environment, self.aws)
                featured = self.feature_store.teams
                problems += long_cache_names(self.environment, self.aws.cache, featured)
                problems += problems_of_features(self.aws.cache, featured)
                stores = [f"feature_store.teams.{team}" for team in featured]
                problems += unverified(self.aws, [*self.with_databases, *stores])
                quotas = {name: team.gpu_quota for name, team in self.teams.items()}
                problems += beyond_the_team_budget(self.aws.gpu_budget, quotas)
                problems += _problems_of_images(self.environment, self.aws)
                max_pods = (self.aws.network or NetworkSettings()).max_pods
                pools = pools_for_pods(self.aws.pools, max_pods)
                problems += problems_on_nodes(self.environment, self, pools)
                problems += unapproved_copies(self.aws.backup, self.residency)
                problems += problems_of_shipping(
                    self.aws.logs,
                    account_id=self.aws.account_id,
                    regions=self.residency.allowed_regions,
                )
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _problems_of_deployers(environment: str, aws: AwsSettings) -> list[str]:
    account = aws.account_id if aws.account_id not in _NEUTRAL.values() else None
    found = problems_of_deployers(
        environment, aws.identity, account_id=account, runner=aws.runner is not None
    )
    return [f"aws.{problem}" for problem in found]


def _problems_of_images(environment: str, aws: AwsSettings) -> list[str]:
    has_egress = aws.network.egress != "none" if aws.network is not None else None
    found = cache_problems(aws.image_registry, environment, has_egress=has_egress)
    return [f"aws.{problem}" for problem in found]


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
    if raw["place"] == "aws":
        raw.setdefault("profile", "enterprise")
    raw = _over_profile(raw)
    settings, wrong = _validated({"environment": environment, **raw})
    problems += wrong
    if problems or settings is None:
        raise SettingsError(environment, problems)
    return settings


def _validated(raw: Mapping[str, Any]) -> tuple[Settings | None, list[str]]:
    """The settings, or `None`, and everything that is wrong with them.

    Sections are checked against each other only once each is sound by itself. So what is wrong is
    noted, taken out, and the rest checked again, until nothing more comes to light.
    """
    rest: dict[str, Any] = copy.deepcopy(dict(raw))
    problems: list[str] = []
    taken: set[tuple[int | str, ...]] = set()
    said: dict[str, bool] = {}
    while True:
        try:
            return Settings.model_validate(rest, context=said), problems
        except ValidationError as error:
            new = [one for one in error.errors() if one["loc"] not in taken]
            problems += [text for text in _explain(new) if text not in problems]
            if len(new) < len(error.errors()):
                return None, problems
            for one in new:
                if one["loc"] == (SKIP,) and one["type"] == "value_error":
                    said[SKIP] = True
                elif not _take_out(rest, one["loc"]):
                    return None, problems
            taken |= {one["loc"] for one in new} - {(SKIP,)}


def _take_out(raw: Any, path: Sequence[int | str]) -> bool:
    """Removes what stands under `path`; `False` where nothing does, or a whole section would go."""
    if len(path) == 1 and isinstance(raw.get(path[0]), dict):
        return False
    for place, key in enumerate(path):
        if not isinstance(raw, dict) or key not in raw:
            return False
        inner = raw[key]
        if place == len(path) - 1 or not isinstance(inner, dict) or path[place + 1] not in inner:
            raw[key] = _NEUTRAL.get(str(key))
            if raw[key] is None:
                del raw[key]
            return True
        raw = inner
    return False


def _over_profile(raw: dict[str, Any]) -> dict[str, Any]:
    """`raw` with what its profile says of everything that `raw` leaves out."""
    file = PROFILES / f"{raw.get('profile')}.yaml"
    if not file.is_file():
        return raw
    merged: dict[str, Any] = _merged(yaml.safe_load(file.read_text(encoding="utf-8")), raw)
    return merged


def _merged(under: Any, over: Any) -> Any:
    """`over` with the keys that it lacks from `under`, mapping by mapping."""
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    return under | {key: _merged(under.get(key), value) for key, value in over.items()}


def read() -> Settings:
    """The settings of the running Pulumi program. Raises `SettingsError`."""
    import pulumi
    from pulumi.runtime import config

    return parse(pulumi.get_stack(), config.CONFIG.get(), config._SECRET_KEYS.get())  # noqa: SLF001


def read_file(environment: str, directory: Path = CONFIG_DIRECTORY) -> Settings:
    """The settings in the stack file of `environment`, for commands that run no Pulumi.

    What is encrypted there stays so, and counts as set. Raises `SettingsError`.
    """
    file = directory / f"Pulumi.{environment}.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    config, secrets = {}, []
    for key, value in ((content or {}).get("config") or {}).items():
        if isinstance(value, dict) and set(value) == {"secure"}:
            secrets.append(key)
            config[key] = "[secret]"
        else:
            config[key] = value if isinstance(value, str) else json.dumps(value)
    return parse(environment, config, secrets)


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
            last = path.rsplit(".", 1)[-1].partition("[")[0]
            named = last not in _NAMES_OF_SECRETS and _SECRET_NAMES.search(last)
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


def _explain(errors: Sequence[ErrorDetails]) -> Iterator[str]:
    for problem in errors:
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
