"""A Pulumi provider that makes nothing: the protocol, shared by the stand-ins.

Owns the gRPC service, the check of inputs against the SDK's own classes, and the rules of what is
known when. What the types of one cloud answer is said by a `Catalogue`; what exists between runs is
kept by `world`, where asked for, and `faults` says what goes wrong.
"""

from __future__ import annotations

import abc
import collections.abc
import contextlib
import difflib
import functools
import hashlib
import inspect
import json
import sys
import threading
import types
import typing
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import Any

import grpc
from faults import Fault, Faults, Operation, Refused, happen
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi import _types
from pulumi.runtime import rpc
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc
from world import Thing, World

Properties = dict[str, Any]

UNKNOWN = rpc.UNKNOWN
"""What stands for a value that is not known before `up`."""

_MESSAGE_LIMIT_BYTES = 400 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", _MESSAGE_LIMIT_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_LIMIT_BYTES),
]
_PROTOCOL_INPUTS = frozenset({"version", "pluginDownloadURL", "__internal"})
"""What the engine itself adds to the inputs of a provider resource."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource as the functions of a `Kind` see it."""

    token: str
    """Type token, such as ``aws:s3/bucket:Bucket``."""
    urn: str
    inputs: Properties
    config: Properties
    """The inputs of its provider."""
    previous: Properties = field(default_factory=dict)
    """Its outputs until now, empty at creation."""

    @functools.cached_property
    def unique(self) -> str:
        """32 hexadecimal digits that no other resource has."""
        return uuid.uuid4().hex


def changed(old: Properties, new: Properties) -> list[str]:
    """The names of the properties that differ."""
    return sorted(
        name
        for name in old.keys() | new.keys()
        if old.get(name) != new.get(name) and not name.startswith("__")
    )


Compute = Callable[[Resource], Any]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the resources of one type answer."""

    identifier: Compute
    outputs: Mapping[str, Compute] = field(default_factory=dict)
    """Outputs that the cloud computes: unknown at the preview of a creation, kept by updates."""
    volatile: frozenset[str] = frozenset()
    """Those of `outputs` that each update computes anew."""
    name: str | None = None
    """The input that holds the name, made up where the program leaves it out."""
    replaced_by: frozenset[str] = frozenset()
    """Inputs whose change makes a new resource; `name` always does."""
    nested: Mapping[str, Mapping[str, Compute]] = field(default_factory=dict)
    """Computed properties inside an object that is an input: the input's name → outputs."""
    within: frozenset[str] | None = frozenset()
    """Inputs inside whose values the name is unique; `None` where two may have the same name."""
    overwrites: bool = False
    """Whether creation writes over what is there, as a setting of something else does."""
    keeps: Callable[[Resource], str | None] | None = None
    """Why the service refuses to delete a resource, `None` where it does not."""


_LOADING = threading.RLock()
"""One thread at a time asks for the SDK's types: it shows its modules before they are loaded."""


class Catalogue(abc.ABC):
    """The types of one cloud."""

    package: str
    """Of the type tokens, such as ``aws``."""
    sdk: str
    """The Python package that knows its types, such as ``pulumi_aws``."""

    @abc.abstractmethod
    def kind(self, token: str, args: type) -> Kind:
        """What resources of the type `token`, whose inputs are `args`, answer."""

    def present(self, resource: Resource, outputs: Properties) -> Properties:
        """`outputs` with what is known of every resource, even at preview."""
        del resource
        return outputs

    def replacing(self, kind: Kind, old: Properties, new: Properties) -> list[str]:
        """The inputs whose change from `old` to `new` makes another resource."""
        return [name for name in changed(old, new) if name in kind.replaced_by | {kind.name}]

    def place(self, config: Properties, inputs: Properties) -> str:
        """What keeps the names of one cloud apart, such as account and region."""
        del config, inputs
        return ""

    def scope_of_name(self, kind: Kind, inputs: Properties) -> list[Any]:
        """The values inside which the name must be unique."""
        return [inputs.get(name) for name in sorted(kind.within or ())]

    def further_inputs(self, token: str) -> frozenset[str]:
        """Inputs of the type `token` that the SDK's class does not name."""
        del token
        return frozenset()

    def further_problems(self, token: str, inputs: Properties) -> Iterator[tuple[str, str]]:
        """What the service, rather than the SDK, has against `inputs`: (property path, reason)."""
        del token, inputs
        yield from ()

    def taken(self, token: str, name: str) -> str:
        """What the service says when `name` is in use."""
        return f"AlreadyExists: {token} {name!r} exists already"

    def name_of(self, inputs: Properties, name: str) -> Any:
        """The value of the name `name` in `inputs`, `None` where the program gives none."""
        return inputs.get(name)

    def with_name(self, inputs: Properties, name: str, value: str) -> Properties:
        """`inputs` with the name `name` set to `value`."""
        return inputs | {name: value}

    def __init__(self) -> None:
        self._classes: dict[str, tuple[type, type] | None] = {}

    def classes(self, token: str) -> tuple[type, type] | None:
        """The SDK's resource and input classes of the type `token`, `None` if it has none."""
        with _LOADING:
            if token not in self._classes:
                self._classes[token] = self._find(token)
            return self._classes[token]

    def _find(self, token: str) -> tuple[type, type] | None:
        import_module(self.sdk)  # registers its modules
        package, module, _ = token.split(":")
        registered: Any = rpc.get_resource_module(package, module, "")
        name = registered.mod_info["classes"].get(token) if registered is not None else None
        if name is None:
            return None
        resource = getattr(import_module(registered.mod_info["fqn"]), name)
        home = sys.modules[resource.__module__]
        # `InitArgs` where the plain name is taken by a nested type
        return resource, getattr(home, f"{name}InitArgs", None) or getattr(home, f"{name}Args")

    @functools.cached_property
    def provider_args(self) -> type:
        """The SDK's input class of the provider itself."""
        return typing.cast(type, import_module(f"{self.sdk}.provider").ProviderArgs)

    @functools.cached_property
    def version(self) -> str:
        """The version that the program's SDK asks for."""
        return metadata.version(self.sdk.replace("_", "-"))


@functools.cache
def required(args: type) -> tuple[str, ...]:
    """The inputs that the SDK's class `args` cannot be made without."""
    parameters = inspect.signature(args).parameters
    empty = inspect.Parameter.empty
    return tuple(
        name
        for python, name in _types.input_type_py_to_pulumi_names(args).items()
        if python in parameters and parameters[python].default is empty
    )


def problems(args: type, inputs: Properties, path: str = "") -> Iterator[tuple[str, str]]:
    """What is wrong with `inputs` for the SDK's input class `args`: (property path, reason)."""
    for name in required(args):
        if inputs.get(name) is None:
            yield f"{path}{name}", "is required and missing"
    with _LOADING:
        annotations = _types.input_type_types(args)
    known = set(_types.input_type_py_to_pulumi_names(args).values())
    for name, value in inputs.items():
        if name in known:
            yield from _nested(annotations.get(name), value, f"{path}{name}")
        elif name not in _PROTOCOL_INPUTS:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            yield f"{path}{name}", f"is no input here{meant}"


def _nested(annotation: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if value == UNKNOWN or value is None:
        return
    if isinstance(annotation, type) and _types.is_input_type(annotation):
        if isinstance(value, dict):
            yield from problems(annotation, value, f"{path}.")
        else:
            yield path, f"is {value!r}, and must be an object"
        return
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is collections.abc.Sequence and isinstance(value, list):
        for index, element in enumerate(value):
            yield from _nested(inner[0], element, f"{path}[{index}]")
    elif origin is collections.abc.Mapping and isinstance(value, dict):
        for key, element in value.items():
            yield from _nested(inner[1], element, f"{path}.{key}")
    elif origin in (typing.Union, types.UnionType):
        objects = [one for one in inner if isinstance(one, type) and _types.is_input_type(one)]
        if len(objects) == 1 and (str not in inner or isinstance(value, dict)):
            yield from _nested(objects[0], value, path)


def answering[S, Q, R](method: Callable[[S, Q, Any], R]) -> Callable[[S, Q, Any], R]:
    """A method of the protocol whose refusals reach the engine as errors of the provider."""

    @functools.wraps(method)
    def answer(self: S, request: Q, context: Any) -> R:
        try:
            return method(self, request, context)
        except Refused as refusal:
            if context is None:
                raise
            context.abort(grpc.StatusCode.UNKNOWN, str(refusal))
            raise  # which `abort` has done already

    return answer


class StandIn(provider_pb2_grpc.ResourceProviderServicer):
    """The provider protocol over a catalogue."""

    def __init__(self, catalogue: Catalogue, world: World | None = None) -> None:
        self._catalogue = catalogue
        self._config: Properties = {}
        self._world = world or World.of_environment()
        self._faults = Faults.of_environment(self._world)
        self._names: dict[tuple[str, str, str], str] = {}
        """Place, type and name → the URN that asked for it in this process."""

    def GetPluginInfo(self, _request: Any, _context: Any) -> plugin_pb2.PluginInfo:  # noqa: N802
        """The version of the SDK, so that the engine takes the stand-in for the real one."""
        return plugin_pb2.PluginInfo(version=self._catalogue.version)

    def Cancel(self, _request: Any, _context: Any) -> empty_pb2.Empty:  # noqa: N802
        """Nothing takes long enough to be stopped."""
        return empty_pb2.Empty()

    def CheckConfig(  # noqa: N802
        self, request: provider_pb2.CheckRequest, _context: Any
    ) -> provider_pb2.CheckResponse:
        """Refuses inputs that the SDK's provider does not have."""
        return provider_pb2.CheckResponse(
            inputs=request.news,
            failures=_failures(
                problems(self._catalogue.provider_args, self._decoded(request.news))
            ),
        )

    def DiffConfig(  # noqa: N802
        self, request: provider_pb2.DiffRequest, _context: Any
    ) -> provider_pb2.DiffResponse:
        """Another region or account is another place: everything in it is replaced."""
        different = changed(plain(request.old_inputs), plain(request.news))
        place = {"region", "allowedAccountIds"}
        return _difference(different, [name for name in different if name in place])

    def Configure(  # noqa: N802
        self, request: provider_pb2.ConfigureRequest, _context: Any
    ) -> provider_pb2.ConfigureResponse:
        """Remembers the provider's inputs."""
        self._config = self._decoded(request.args)
        return provider_pb2.ConfigureResponse(
            supportsPreview=True, supports_autonaming_configuration=True
        )

    def Check(  # noqa: N802
        self, request: provider_pb2.CheckRequest, _context: Any
    ) -> provider_pb2.CheckResponse:
        """Refuses unknown types, missing and unknown inputs; makes up names."""
        inputs, token = plain(request.news), _token(request.urn)
        classes = self._catalogue.classes(token)
        if classes is None:
            return provider_pb2.CheckResponse(
                inputs=request.news,
                failures=_failures([("", f"the SDK knows no type {token}")]),
            )
        kind = self._catalogue.kind(token, classes[1])
        beside = self._catalogue.further_inputs(token)
        of_the_class = {name: value for name, value in inputs.items() if name not in beside}
        wrong = [
            *problems(classes[1], of_the_class),
            *self._catalogue.further_problems(token, inputs),
        ]
        if kind.name is not None and self._catalogue.name_of(inputs, kind.name) is None:
            name = self._catalogue.name_of(plain(request.olds), kind.name)
            if name is None:
                suffix = hashlib.sha256(request.randomSeed + request.urn.encode()).hexdigest()[:7]
                proposed = request.autonaming.proposed_name
                name = proposed or f"{request.urn.rsplit('::', maxsplit=1)[-1]}-{suffix}"
            if f"{kind.name}Prefix" not in inputs:
                inputs = self._catalogue.with_name(inputs, kind.name, name)
        if (collision := self._collision(request.urn, kind, inputs)) is not None:
            wrong.append((kind.name or "", collision))
        return provider_pb2.CheckResponse(inputs=struct(inputs), failures=_failures(wrong))

    def Diff(  # noqa: N802
        self, request: provider_pb2.DiffRequest, _context: Any
    ) -> provider_pb2.DiffResponse:
        """Which inputs changed, and which of them make a new resource."""
        old, new = plain(request.old_inputs), plain(request.news)
        kind = self._kind(_token(request.urn))
        return _difference(changed(old, new), self._catalogue.replacing(kind, old, new))

    @answering
    def Create(  # noqa: N802
        self, request: provider_pb2.CreateRequest, _context: Any
    ) -> provider_pb2.CreateResponse:
        """Makes nothing, but in the world where there is one, and answers as if."""
        resource = self._resource(request.urn, plain(request.properties))
        kind = self._kind(resource.token)
        computed = {
            name: UNKNOWN if request.preview else compute(resource)
            for name, compute in kind.outputs.items()
        }
        for name, inner in kind.nested.items():
            computed[name] = _object(resource.inputs.get(name)) | {
                key: UNKNOWN if request.preview else compute(resource)
                for key, compute in inner.items()
            }
        outputs = self._catalogue.present(resource, resource.inputs | computed)
        if request.preview:
            return provider_pb2.CreateResponse(id="", properties=struct(outputs))
        identifier = str(kind.identifier(resource))
        with self._operation("create", request.urn) as due:
            self._make(kind, resource, identifier, outputs)
            if any(fault.what == "lose" for fault in due):
                self._lose(resource, identifier)
        return provider_pb2.CreateResponse(id=identifier, properties=struct(outputs))

    @answering
    def Update(  # noqa: N802
        self, request: provider_pb2.UpdateRequest, _context: Any
    ) -> provider_pb2.UpdateResponse:
        """Changes nothing, but in the world where there is one, and answers as if."""
        resource = self._resource(request.urn, plain(request.news), plain(request.olds))
        kind = self._kind(resource.token)
        computed: Properties = {}
        for name, compute in kind.outputs.items():
            if name not in kind.volatile:
                computed[name] = resource.previous.get(name)
            else:
                computed[name] = UNKNOWN if request.preview else compute(resource)
        for name, inner in kind.nested.items():
            before = _object(resource.previous.get(name))
            computed[name] = _object(resource.inputs.get(name)) | {
                key: before.get(key) for key in inner
            }
        outputs = self._catalogue.present(resource, resource.inputs | computed)
        if not request.preview:
            with self._operation("update", request.urn) as due:
                self._change(kind, resource, request.id, outputs)
                if any(fault.what == "lose" for fault in due):
                    self._lose(resource, request.id)
        return provider_pb2.UpdateResponse(properties=struct(outputs))

    @answering
    def Read(  # noqa: N802
        self, request: provider_pb2.ReadRequest, _context: Any
    ) -> provider_pb2.ReadResponse:
        """What the world holds; without one the engine's state is all that there is."""
        with self._operation("read", request.urn):
            pass
        if self._world is None:
            return provider_pb2.ReadResponse(
                id=request.id, properties=request.properties, inputs=request.inputs
            )
        thing = self._find(_token(request.urn), plain(request.properties), request.id)
        if thing is None:
            return provider_pb2.ReadResponse()  # without an id: it is gone
        return provider_pb2.ReadResponse(
            id=thing.id, properties=struct(thing.outputs), inputs=struct(thing.inputs)
        )

    @answering
    def Delete(  # noqa: N802
        self, request: provider_pb2.DeleteRequest, _context: Any
    ) -> empty_pb2.Empty:
        """Deletes from the world; without one the engine forgets the resource, and that is all."""
        properties = plain(request.properties)
        resource = self._resource(request.urn, plain(request.old_inputs), properties)
        kind = self._kind(resource.token)
        with self._operation("delete", request.urn):
            if kind.keeps is not None and (reason := kind.keeps(resource)) is not None:
                raise Refused(reason)
            thing = self._find(resource.token, properties, request.id)
            if thing is not None and self._world is not None:
                self._world.remove(thing.place, thing.token, thing.id)
        return empty_pb2.Empty()

    @contextlib.contextmanager
    def _operation(self, operation: Operation, urn: str) -> Iterator[list[Fault]]:
        """Around what an operation does: what goes wrong before it, and after."""
        due = self._faults.due(operation, urn)
        subject = f"{operation} of {_token(urn)} '{name_of_urn(urn)}'"
        happen(due, "before", subject)
        yield due
        happen(due, "after", subject)

    def _make(self, kind: Kind, resource: Resource, identifier: str, outputs: Properties) -> None:
        if self._world is None:
            return
        place = self._catalogue.place(self._config, resource.inputs)
        name = self._unique_name(kind, resource.inputs)
        there = self._world.find(place, resource.token, identifier)
        if there is None and name:
            there = self._world.named(place, resource.token, name)
        # written over by its own resource: done before, and the engine did not hear of it
        if there is not None and not (kind.overwrites and there.urn == resource.urn):
            raise Refused(self._catalogue.taken(resource.token, _shown(kind, name, identifier)))
        self._put(resource, identifier, name, outputs)

    def _change(self, kind: Kind, resource: Resource, identifier: str, outputs: Properties) -> None:
        if self._world is None:
            return
        if self._find(resource.token, resource.inputs, identifier) is None:
            raise Refused(f"NotFound: there is no {resource.token} {identifier!r}")
        self._put(resource, identifier, self._unique_name(kind, resource.inputs), outputs)

    def _put(self, resource: Resource, identifier: str, name: str, outputs: Properties) -> None:
        assert self._world is not None, "called with a world alone"  # noqa: S101
        self._world.put(
            Thing(
                place=self._catalogue.place(self._config, resource.inputs),
                token=resource.token,
                id=identifier,
                name=name,
                urn=resource.urn,
                inputs={key: value for key, value in resource.inputs.items() if key[:2] != "__"},
                outputs=outputs,
            )
        )

    def _find(self, token: str, properties: Properties, identifier: str) -> Thing | None:
        if self._world is None:
            return None
        place = self._catalogue.place(self._config, properties)
        return self._world.find(place, token, identifier)

    def _lose(self, resource: Resource, identifier: str) -> None:
        if self._world is not None:
            place = self._catalogue.place(self._config, resource.inputs)
            self._world.remove(place, resource.token, identifier)

    def _unique_name(self, kind: Kind, inputs: Properties) -> str:
        """What must be unique in its place; empty where nothing must, or it is not known yet."""
        if kind.name is None or kind.within is None:
            return ""
        name = self._catalogue.name_of(inputs, kind.name)
        parts = [*self._catalogue.scope_of_name(kind, inputs), name]
        if name is None or holds_unknown(parts):
            return ""
        return json.dumps(parts)

    def _collision(self, urn: str, kind: Kind, inputs: Properties) -> str | None:
        """Why the name cannot be had, at preview already; `None` where it can."""
        name, token = self._unique_name(kind, inputs), _token(urn)
        if not name:
            return None
        place = self._catalogue.place(self._config, inputs)
        holder = self._names.setdefault((place, token, name), urn)
        if holder != urn:
            return f"'{name_of_urn(holder)}' has the same: {_shown(kind, name, '')}"
        if self._world is not None and not kind.overwrites:
            thing = self._world.named(place, token, name)
            if thing is not None and thing.urn != urn:
                return self._catalogue.taken(token, _shown(kind, name, thing.id))
        return None

    def _decoded(self, struct: struct_pb2.Struct) -> Properties:
        """The inputs of a provider; what is not a text among them travels as JSON."""
        annotations = _types.input_type_types(self._catalogue.provider_args)
        inputs = plain(struct)
        for name, value in inputs.items():
            if (
                isinstance(value, str)
                and value != UNKNOWN
                and annotations.get(name, str) is not str
            ):
                inputs[name] = json.loads(value)
        return inputs

    def _kind(self, token: str) -> Kind:
        classes = self._catalogue.classes(token)
        if classes is None:
            raise LookupError(f"the SDK knows no type {token}")
        return self._catalogue.kind(token, classes[1])

    def _resource(
        self, urn: str, inputs: Properties, previous: Properties | None = None
    ) -> Resource:
        return Resource(
            token=_token(urn),
            urn=urn,
            inputs=inputs,
            config=self._config,
            previous=previous or {},
        )


def serve(provider: StandIn, threads: int = 4) -> None:
    """Serves the provider as the engine expects it: on a port of loopback, printed first."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=threads), options=_OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop(grace=None)


def _token(urn: str) -> str:
    return urn.split("::")[2].rsplit("$", maxsplit=1)[-1]


def name_of_urn(urn: str) -> str:
    """The name of a resource in its program."""
    return urn.rpartition("::")[2]


def _shown(kind: Kind, name: str, identifier: str) -> str:
    """A name for people, or the id of what has none."""
    return str(json.loads(name)[-1]) if name and kind.name else identifier


def _object(value: Any) -> Properties:
    return value if isinstance(value, dict) else {}


def plain(sent: struct_pb2.Struct) -> Properties:
    """Properties as plain data, secrets uncovered (the engine covers them again)."""
    return {name: _uncovered(value) for name, value in json_format.MessageToDict(sent).items()}


def holds_unknown(value: Any) -> bool:
    """Whether anything in `value` is not known before `up`."""
    return UNKNOWN in json.dumps(value)


def _uncovered(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(rpc._special_sig_key) == rpc._special_secret_sig:  # noqa: SLF001
            return _uncovered(value["value"])
        return {name: _uncovered(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_uncovered(inner) for inner in value]
    return value


def struct(properties: Properties) -> struct_pb2.Struct:
    """Plain data as the protocol has it."""
    return json_format.ParseDict(properties, struct_pb2.Struct())


def _failures(found: typing.Iterable[tuple[str, str]]) -> list[provider_pb2.CheckFailure]:
    return [
        provider_pb2.CheckFailure(property=path, reason=f"{path}: {reason}" if path else reason)
        for path, reason in found
    ]


def _difference(different: list[str], replacing: list[str]) -> provider_pb2.DiffResponse:
    some = provider_pb2.DiffResponse.DIFF_SOME
    none = provider_pb2.DiffResponse.DIFF_NONE
    return provider_pb2.DiffResponse(
        changes=some if different else none, diffs=different, replaces=replacing
    )
