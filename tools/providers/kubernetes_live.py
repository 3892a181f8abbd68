"""The `kubernetes` stand-in over a real API server on this machine: applied, not pretended.

On only where the environment variable `FALAJ_STANDIN_KUBERNETES` says `apply`, and only to a server
on loopback: tests start one. A cluster of anybody's is left to Pulumi's own provider.

As that provider does, it applies on the server's side under a field manager of each resource, asks
the server at preview (a dry run), finds kinds by discovery and waits until what it deletes is gone.
A patch (`StorageClassPatch`) needs an object that is there, and leaves it there when it goes.
Unlike it, it does not wait for a Deployment to be ready, and takes charts from a folder alone.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import os
import urllib.parse
from collections.abc import Callable
from typing import Any

import httpx
import kubernetes_charts
from faults import Refused
from google.protobuf import empty_pb2
from kubernetes_api import Api, ApiError, Object
from pulumi.runtime import rpc
from pulumi.runtime.proto import provider_pb2
from standin import (
    UNKNOWN,
    Properties,
    StandIn,
    answering,
    holds_unknown,
    name_of_urn,
    plain,
    struct,
)

from components.kubernetes.kubeconfig import KubeconfigError

VARIABLE = "FALAJ_STANDIN_KUBERNETES"
APPLY = "apply"

_DELETE_SECONDS = 300.0
_MANAGER = "__fieldManager"
_FORCE = "pulumi.com/patchForce"
_MADE_BY_THE_SERVER = ("managedFields",)


def is_asked_for() -> bool:
    """Whether objects are to be applied. Raises `ValueError` where the variable says neither."""
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", APPLY):
        raise ValueError(f"{VARIABLE} is {asked!r}, and may be {APPLY!r} or unset")
    return asked == APPLY


def _refusing[Q, R](
    method: Callable[[LiveStandIn, Q, Any], R],
) -> Callable[[LiveStandIn, Q, Any], R]:
    """What the server has against it reaches the engine with the name of the object."""

    @answering
    @functools.wraps(method)
    def answer(self: LiveStandIn, request: Any, context: Any) -> R:
        try:
            return method(self, request, context)
        except ApiError as error:
            raise Refused(
                f"{name_of_urn(request.urn)}: {error.reason or error.status}: {error}"
            ) from (error)
        except httpx.HTTPError as error:
            server = self.api.access.server if self.api is not None else "?"
            raise Refused(f"the API server at {server} does not answer: {error}") from error

    return answer


class LiveStandIn(StandIn):
    """The provider protocol over an API server."""

    api: Api | None = None
    """`None` while the kubeconfig is not known, as at the preview of a new cluster."""

    @answering
    def Configure(  # noqa: N802
        self, request: provider_pb2.ConfigureRequest, context: Any
    ) -> provider_pb2.ConfigureResponse:
        """Opens the server that the provider's `kubeconfig` names."""
        response = super().Configure(request, context)
        kubeconfig = self._config.get("kubeconfig")
        if kubeconfig == UNKNOWN:
            return response
        if not kubeconfig:
            raise Refused("the provider has no kubeconfig: the one of a workstation is not used")
        try:
            api = Api(kubeconfig)
        except KubeconfigError as error:
            raise Refused(str(error)) from error
        if not _is_loopback(api.access.server):
            api.close()
            raise Refused(
                f"{api.access.server} is not on this machine: the stand-in applies to servers of "
                "tests alone, a cluster needs Pulumi's own provider"
            )
        self.api = api
        return response

    def Diff(  # noqa: N802
        self, request: provider_pb2.DiffRequest, context: Any
    ) -> provider_pb2.DiffResponse:
        """As by inputs; an object that keeps its name goes before its successor comes."""
        response = super().Diff(request, context)
        old, new = (plain(one).get("metadata") or {} for one in (request.old_inputs, request.news))
        kept = all(old.get(name) == new.get(name) for name in ("name", "namespace"))
        response.deleteBeforeReplace = bool(response.replaces) and kept
        return response

    @_refusing
    def Create(  # noqa: N802
        self, request: provider_pb2.CreateRequest, context: Any
    ) -> provider_pb2.CreateResponse:
        """Applies; at preview as a dry run as far as all is known."""
        inputs = plain(request.properties)
        if self.api is None:
            return super().Create(request, context)
        if _is_patch(request.urn) and self.api.get(_object(inputs)) is None:
            raise Refused(f"{name_of_urn(request.urn)}: there is no {_identifier(inputs)} to patch")
        manager = f"pulumi-kubernetes-{hashlib.sha256(request.urn.encode()).hexdigest()[:8]}"
        if request.preview:
            self._try(inputs, manager)
            return super().Create(request, context)
        made = _apply(self.api, inputs, manager)
        return provider_pb2.CreateResponse(id=_identifier(made), properties=_outputs(made, manager))

    @_refusing
    def Update(  # noqa: N802
        self, request: provider_pb2.UpdateRequest, context: Any
    ) -> provider_pb2.UpdateResponse:
        """Applies again as the same manager: what is no longer asked for goes."""
        inputs, previous = plain(request.news), plain(request.olds)
        if self.api is None:
            return super().Update(request, context)
        manager = str(previous.get(_MANAGER))
        if request.preview:
            self._try(inputs, manager)
            return super().Update(request, context)
        made = _apply(self.api, inputs, manager)
        return provider_pb2.UpdateResponse(properties=_outputs(made, manager))

    @_refusing
    def Read(  # noqa: N802
        self, request: provider_pb2.ReadRequest, context: Any
    ) -> provider_pb2.ReadResponse:
        """The object as it is; of its content what was asked for counts as inputs."""
        if self.api is None:
            return super().Read(request, context)
        previous, inputs = plain(request.properties), plain(request.inputs)
        try:
            live = self.api.get(_object(inputs or previous))
        except ApiError as error:
            if error.reason != "NoKind":
                raise
            live = None  # with its CRD an object is gone too
        if live is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(
            id=request.id,
            properties=_outputs(live, str(previous.get(_MANAGER))),
            inputs=struct(_within(live, inputs)),
        )

    @_refusing
    def Delete(  # noqa: N802
        self, request: provider_pb2.DeleteRequest, context: Any
    ) -> empty_pb2.Empty:
        """Deletes, and waits until finalizers let go."""
        if self.api is None:
            return super().Delete(request, context)
        previous = plain(request.properties)
        thing = _object(previous)
        if _is_patch(request.urn):
            self._let_go(thing, str(previous.get(_MANAGER)))
            return empty_pb2.Empty()
        try:
            self.api.delete(thing, seconds=request.timeout or _DELETE_SECONDS)
        except ApiError as error:
            if error.reason != "NoKind":
                raise
        return empty_pb2.Empty()

    def _let_go(self, thing: Object, manager: str) -> None:
        """The object stays; what `manager` has written into it goes."""
        if self.api is None or self.api.get(thing) is None:
            return
        kept = {
            key: thing["metadata"][key] for key in ("name", "namespace") if key in thing["metadata"]
        }
        bare = {"apiVersion": thing["apiVersion"], "kind": thing["kind"], "metadata": kept}
        self.api.apply(bare, manager=manager, force=True)

    def _try(self, inputs: Properties, manager: str) -> None:
        """What the server would say, as far as the preview can know it."""
        if self.api is None or holds_unknown(inputs):
            return
        try:
            _apply(self.api, inputs, manager, dry_run=True)
        except ApiError as error:
            # its namespace or its CRD comes with the same update
            if error.status != httpx.codes.NOT_FOUND:
                raise


class LiveWithCharts(kubernetes_charts.WithCharts, LiveStandIn):
    """The same, which renders charts for the server's version."""

    def kubernetes_version(self) -> str | None:
        """As the server says."""
        if self.api is None:
            return None
        return str(self.api.request("GET", "/version")["gitVersion"])


def _is_patch(urn: str) -> bool:
    """Whether a resource changes what somebody else has made, and does not make it."""
    return urn.split("::")[2].rpartition("$")[2].endswith("Patch")


def _apply(api: Api, inputs: Properties, manager: str, *, dry_run: bool = False) -> Object:
    thing = _object(inputs)
    annotations = thing["metadata"].get("annotations") or {}
    force = annotations.get(_FORCE) == "true"
    return api.apply(thing, manager=manager, dry_run=dry_run, force=force)


def _object(properties: Properties) -> Object:
    """What is sent: no marks of the engine, nothing that is null, whole numbers as such."""
    return {
        name: _sent(value)
        for name, value in properties.items()
        if not name.startswith("__") and value is not None
    }


def _sent(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sent(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_sent(inner) for inner in value]
    # the engine's protocol has one kind of number
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _outputs(live: Object, manager: str) -> Any:
    metadata = {
        name: value for name, value in live["metadata"].items() if name not in _MADE_BY_THE_SERVER
    }
    outputs = {**live, "metadata": metadata, _MANAGER: manager}
    if live["kind"] == "Secret" and "data" in live:
        outputs["data"] = {
            rpc._special_sig_key: rpc._special_secret_sig,  # noqa: SLF001
            "value": live["data"],
        }
    return struct(outputs)


def _identifier(thing: Object) -> str:
    metadata = thing["metadata"]
    return "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)


def _within(live: Any, asked: Any) -> Any:
    """Of `live` what `asked` speaks of: the rest are defaults and what controllers wrote."""
    if isinstance(live, dict) and isinstance(asked, dict):
        # the server leaves out what is empty
        kept = {name: value for name, value in asked.items() if name.startswith("__") or not value}
        return kept | {
            name: _within(live[name], value) for name, value in asked.items() if name in live
        }
    if isinstance(live, list) and isinstance(asked, list) and len(live) == len(asked):
        return [_within(*pair) for pair in zip(live, asked, strict=True)]
    return live


def _is_loopback(server: str) -> bool:
    host = urllib.parse.urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
