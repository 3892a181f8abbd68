"""Resources as plain data, wherever they come from: the engine's policy API or an exported state.

Three things are kept apart: a property that is not there (`ABSENT`), one that is null (``None``),
and one whose value is not known before `up` (`UNKNOWN`). A rule sees nothing but this.
"""

from __future__ import annotations

import enum
import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:  # a state is read without the SDK, which takes a third of a second
    from google.protobuf.struct_pb2 import Struct, Value
    from pulumi.runtime.proto.analyzer_pb2 import (
        AnalyzeRequest,
        AnalyzerProviderResource,
        AnalyzerResource,
    )

Properties = Mapping[str, Any]

# How the engine tells values that JSON has not. Source: pulumi/pulumi,
# sdk/go/common/resource/{properties.go,plugin/rpc.go}.
_SIGNATURE = "4dabf18193072939515e22adb298388d"  # pragma: allowlist secret
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105  # pragma: allowlist secret
_OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"  # pragma: allowlist secret
_UNKNOWN = frozenset(
    {
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",  # a text, or anything computed
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)


class Missing(enum.Enum):
    """Why there is no value."""

    ABSENT = "absent"
    UNKNOWN = "unknown"


ABSENT = Missing.ABSENT
UNKNOWN = Missing.UNKNOWN


class StateError(Exception):
    """The text is neither an exported state nor a plan, whichever was asked for."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource: inputs where a rule looks at one resource, outputs where it sees the stack."""

    type: str
    urn: str
    name: str
    properties: Properties = field(default_factory=dict)
    provider: Resource | None = None
    parent: str = ""
    """URN of what it is part of."""
    protect: bool = False
    """Whether the engine refuses to delete it."""
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Property → URNs of the resources whose outputs it is made of; known even at preview. Of the
    whole stack alone: the engine does not tell it of one resource."""

    dependencies: frozenset[str] = frozenset()
    """URNs of all that must be there before; of the whole stack alone, too."""

    made_at: tuple[str, int] | None = None
    """The file below the project's folder and the line in it that made the resource, where the
    language's SDK tells it (Python's and Node's do), of a plan or a state alone."""

    hidden: bool = False
    """Whether its provider waits for values itself (a cluster that is not there yet): then the
    engine shows nothing at all of a resource's outputs, and nothing of it is known."""

    @property
    def stack(self) -> str:
        """The name of its stack."""
        return self.urn.partition("::")[0].rpartition(":")[2]

    def at(self, *path: str | int) -> Any:
        """The value at `path`, `None` where it is null, else `ABSENT` or `UNKNOWN`."""
        return UNKNOWN if self.hidden else at(self.properties, *path)


_MAPPINGS = (dict, Mapping)
"""Most are of the first, and whether something is of the second takes long to ask."""


def at(value: Any, *path: str | int) -> Any:
    """The value at `path` inside `value`, `None` where it is null, else `ABSENT` or `UNKNOWN`."""
    for step in path:
        if value is UNKNOWN:
            return UNKNOWN
        if isinstance(step, str) and isinstance(value, _MAPPINGS):
            value = value.get(step, ABSENT)
        elif isinstance(step, int) and isinstance(value, Sequence) and not isinstance(value, str):
            value = value[step] if step < len(value) else ABSENT
        else:
            return ABSENT
    return value


def is_missing(value: Any) -> bool:
    """Whether nothing was said: absent, null or empty. What is unknown is not missing."""
    return value is ABSENT or value is None or value in ("", [], {})


def of_request(request: AnalyzeRequest) -> Resource:
    """The resource that the engine asks a policy about, with its inputs."""
    return Resource(
        type=request.type,
        urn=request.urn,
        name=request.name,
        properties=_of_struct(request.properties),
        provider=_of_provider(request.provider) if request.HasField("provider") else None,
        parent=request.options.parent,
        protect=request.options.protect,
    )


def of_stack(resources: Iterable[AnalyzerResource]) -> list[Resource]:
    """The resources of a stack as the engine shows them, with their outputs."""
    return [
        Resource(
            type=one.type,
            urn=one.urn,
            name=one.name,
            properties=_of_struct(one.properties),
            provider=_of_provider(one.provider) if one.HasField("provider") else None,
            parent=one.parent,
            protect=one.options.protect,
            references={
                name: tuple(targets.urns) for name, targets in one.propertyDependencies.items()
            },
            dependencies=frozenset(one.dependencies),
            hidden=_waits(one),
        )
        for one in resources
    ]


def _waits(one: AnalyzerResource) -> bool:
    return (
        one.HasField("provider")
        and not one.properties.fields
        and UNKNOWN in _of_provider(one.provider).properties.values()
    )


def of_state(state: str, show: str) -> list[Resource]:
    """The resources of an exported state, with what `show` names: ``inputs`` or ``outputs``.

    Raises `StateError`. A secret that is still encrypted is `UNKNOWN`.
    """
    inputs, outputs = of_export(state)
    return inputs if show == "inputs" else outputs


def of_export(state: str) -> tuple[list[Resource], list[Resource]]:
    """The resources of an exported state by their inputs, and by their outputs; read once.

    Raises `StateError`. A secret that is still encrypted is `UNKNOWN`.
    """
    try:
        deployment = json.loads(state)["deployment"]
        # of a stack that is empty, nothing but the manifest is exported
        exported = deployment.get("resources", [] if "manifest" in deployment else None)
        there = [one for one in exported if not one.get("delete")]
        return _both(there, _of_state, exported)
    except _NOT_ONE as error:
        raise StateError(
            "this is no exported state: make one with `pulumi stack export --file state.json`"
            f"{_because(error)}"
        ) from error


def of_plan(plan: str) -> tuple[list[Resource], list[Resource]]:
    """The resources that a plan (``pulumi preview --json``) would end with, as `of_export`.

    Raises `StateError`. It tells no outputs: what a resource is to be made of stands in their
    place, and of what waits for its provider nothing is known, as when the engine shows a preview.
    """
    try:
        there = {
            one["newState"]["urn"]: one["newState"]
            for one in json.loads(plan)["steps"]
            if one.get("newState")
        }
        planned = list(there.values())
        return _both(planned, _of_plan, planned)
    except _NOT_ONE as error:
        raise StateError(
            f"this is no plan: make one with `pulumi preview --json > plan.json`{_because(error)}"
        ) from error


_NOT_ONE = (AttributeError, KeyError, TypeError, ValueError, RecursionError)
"""What reading anything else as a state ends in."""
_SECRET_IN_PLAN = "[secret]"  # noqa: S105
"""What the engine writes in a plan for a secret (pkg/backend/display/json.go)."""


def _because(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return " (it is nested too deeply)"
    return f" ({error})" if isinstance(error, json.JSONDecodeError) else ""


def _both(
    there: Sequence[Mapping[str, Any]],
    read: Callable[[Mapping[str, Any], str, Mapping[str, Resource]], Resource],
    exported: Sequence[Mapping[str, Any]],
) -> tuple[list[Resource], list[Resource]]:
    providers = {
        one["urn"]: read(one, "inputs", {})
        for one in exported
        if one["type"].startswith("pulumi:providers:")
    }
    inputs, outputs = ([read(one, show, providers) for one in there] for show in _SHOWN)
    return inputs, outputs


_SHOWN = ("inputs", "outputs")


def _of_plan(one: Mapping[str, Any], show: str, providers: Mapping[str, Resource]) -> Resource:
    made = _of_state({**one, "outputs": one.get("outputs", one.get("inputs"))}, show, providers)
    waits = made.provider is not None and UNKNOWN in made.provider.properties.values()
    return replace(
        made,
        properties=_without_secrets(made.properties),
        hidden=waits and show == "outputs",
    )


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_secrets(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_secrets(one) for one in value]
    return UNKNOWN if value == _SECRET_IN_PLAN else value


def _of_state(one: Mapping[str, Any], show: str, providers: Mapping[str, Resource]) -> Resource:
    urn = one["urn"]
    return Resource(
        type=one["type"],
        urn=urn,
        name=urn.rsplit("::", maxsplit=1)[-1],
        properties=_plain(one.get(show) or {}),
        # an URN, two colons, and the provider's id
        provider=providers.get(str(one.get("provider", "")).rpartition("::")[0]),
        parent=one.get("parent", ""),
        protect=bool(one.get("protect", False)),
        references={
            name: tuple(urns or ())
            for name, urns in (one.get("propertyDependencies") or {}).items()
        },
        dependencies=frozenset(one.get("dependencies") or ()),
        made_at=_position(one.get("sourcePosition")),
    )


def _position(told: Any) -> tuple[str, int] | None:
    """Of ``project:///folder/file.py#12`` or ``…#12,3``; what lies outside the project is nothing.

    Source: pulumi/pulumi, proto/pulumi/source.proto.
    """
    found = _POSITION.fullmatch(told) if isinstance(told, str) else None
    if found is None:
        return None
    file = unquote(found["file"])
    if file.startswith("/") or ".." in file.split("/"):
        return None
    return file, int(found["line"])


_POSITION = re.compile(r"project:///(?P<file>[^\s#?]+)#(?P<line>[1-9]\d{0,8})(,\d+)?")


def _of_provider(provider: AnalyzerProviderResource) -> Resource:
    return _told(provider.SerializeToString())


@functools.lru_cache(maxsize=128)  # the engine tells of a provider with each of its resources
def _told(said: bytes) -> Resource:
    from pulumi.runtime.proto.analyzer_pb2 import AnalyzerProviderResource

    provider = AnalyzerProviderResource.FromString(said)
    return Resource(
        type=provider.type,
        urn=provider.urn,
        name=provider.name,
        properties=_of_struct(provider.properties),
    )


def _of_struct(struct: Struct) -> dict[str, Any]:
    return {name: _of_value(value) for name, value in struct.fields.items()}


def _of_value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWN else value.string_value
    if kind == "struct_value":
        return _signed(_of_struct(value.struct_value))
    if kind == "list_value":
        return [_of_value(one) for one in value.list_value.values]
    if kind == "number_value":
        return _number(value.number_value)
    return value.bool_value if kind == "bool_value" else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return _signed({name: _plain(one) for name, one in value.items()})
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        return UNKNOWN if value in _UNKNOWN else value
    return _number(value) if isinstance(value, float) else value


def _signed(value: dict[str, Any]) -> Any:
    """What an object stands for: itself, a secret, or a value that may not be known yet."""
    match value.get(_SIGNATURE):
        case s if s == _SECRET and "plaintext" in value:
            return _plain(json.loads(value["plaintext"]))
        case s if s in (_SECRET, _OUTPUT):
            return value.get("value", UNKNOWN)
        case _:
            return value


def _number(value: float) -> float | int:
    """The engine's numbers are all floats."""
    return int(value) if value.is_integer() else value
