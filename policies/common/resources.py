"""Resources as plain data, wherever they come from: the engine's policy API or an exported state.

Three things are kept apart: a property that is not there (`ABSENT`), one that is null (``None``),
and one whose value is not known before `up` (`UNKNOWN`). A rule sees nothing but this.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pulumi_policy import PolicyProviderResource, PolicyResource, ResourceValidationArgs
from pulumi_policy.proxy import UnknownValueError

Properties = Mapping[str, Any]

_SIGNATURE = "4dabf18193072939515e22adb298388d"  # pragma: allowlist secret
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105  # pragma: allowlist secret


class Missing(enum.Enum):
    """Why there is no value."""

    ABSENT = "absent"
    UNKNOWN = "unknown"


ABSENT = Missing.ABSENT
UNKNOWN = Missing.UNKNOWN


class StateError(Exception):
    """The text is not an exported state."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource: inputs where a rule looks at one resource, outputs where it sees the stack."""

    type: str
    urn: str
    name: str
    properties: Properties = field(default_factory=dict)
    provider: Resource | None = None
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Property → URNs of the resources whose outputs it is made of; known even at preview."""

    def at(self, *path: str | int) -> Any:
        """The value at `path`, `None` where it is null, else `ABSENT` or `UNKNOWN`."""
        return at(self.properties, *path)


def at(value: Any, *path: str | int) -> Any:
    """The value at `path` inside `value`, `None` where it is null, else `ABSENT` or `UNKNOWN`."""
    for step in path:
        if value is UNKNOWN:
            return UNKNOWN
        if isinstance(step, str) and isinstance(value, Mapping):
            value = value.get(step, ABSENT)
        elif isinstance(step, int) and isinstance(value, Sequence) and not isinstance(value, str):
            value = value[step] if step < len(value) else ABSENT
        else:
            return ABSENT
    return value


def is_missing(value: Any) -> bool:
    """Whether nothing was said: absent, null or empty. What is unknown is not missing."""
    return value is ABSENT or value is None or value in ("", [], {})


def of_validation(args: ResourceValidationArgs) -> Resource:
    """The resource that the engine asks a policy about, with its inputs."""
    return Resource(
        type=args.resource_type,
        urn=args.urn,
        name=args.name,
        properties=_plain(args.props),
        provider=_provider(args.provider),
    )


def of_stack(resources: Iterable[PolicyResource]) -> list[Resource]:
    """The resources of a stack as the engine shows them, with their outputs."""
    return [
        Resource(
            type=resource.resource_type,
            urn=resource.urn,
            name=resource.name,
            properties=_plain(resource.props),
            provider=_provider(resource.provider),
            references={
                name: tuple(target.urn for target in targets)
                for name, targets in resource.property_dependencies.items()
            },
        )
        for resource in resources
    ]


def of_state(state: str, show: str) -> list[Resource]:
    """The resources of an exported state, with what `show` names: ``inputs`` or ``outputs``.

    Raises `StateError`. A secret that is still encrypted is `UNKNOWN`.
    """
    try:
        exported = json.loads(state)["deployment"]["resources"]
        if not isinstance(exported, list):
            raise TypeError
        providers = {
            one["urn"]: _of_state(one, "inputs", {})
            for one in exported
            if one["type"].startswith("pulumi:providers:")
        }
        return [_of_state(one, show, providers) for one in exported if not one.get("delete")]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StateError(
            "this is no exported state: make one with `pulumi stack export --file state.json`"
        ) from error


def _of_state(one: Mapping[str, Any], show: str, providers: Mapping[str, Resource]) -> Resource:
    urn = one["urn"]
    return Resource(
        type=one["type"],
        urn=urn,
        name=urn.rsplit("::", maxsplit=1)[-1],
        properties=_plain(one.get(show) or {}),
        # an URN, two colons, and the provider's id
        provider=providers.get(str(one.get("provider", "")).rpartition("::")[0]),
        references={
            name: tuple(urns or ()) for name, urns in one.get("propertyDependencies", {}).items()
        },
    )


def _provider(provider: PolicyProviderResource | None) -> Resource | None:
    if provider is None:
        return None
    return Resource(
        type=provider.resource_type,
        urn=provider.urn,
        name=provider.name,
        properties=_plain(provider.props),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if _signature(value) == _SECRET:
            return _plain(json.loads(value["plaintext"])) if "plaintext" in value else UNKNOWN
        return {name: _read(value, name) for name in value}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_read(value, index) for index in range(len(value))]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _signature(value: Mapping[str, Any]) -> Any:
    # `in` would read the value, and reading what is unknown raises
    return _read(value, _SIGNATURE) if any(name == _SIGNATURE for name in value) else None


def _read(container: Any, key: Any) -> Any:
    try:
        return _plain(container[key])
    except UnknownValueError:
        return UNKNOWN
