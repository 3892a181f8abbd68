"""Charts in a stand-in: `helm.v4.Chart`, rendered where the chart is on this machine.

A real provider fetches a chart, renders it and registers each object under it. A closed machine has
no charts: then the chart stands in the plan without objects, and the engine says so. Where the
environment variable `FALAJ_CHARTS` names a folder that holds it (`<name>/` or
`<name>-<version>.tgz`), Helm renders it and every object is registered, as the real one does: hooks
left out, definitions first, `helm.sh/resource-policy: keep` heeded, nothing at a preview in which a
value is not known yet.

Values that the chart does not know are refused. Helm itself is silent about them, and a limit under
a wrong key limits nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import yaml
from faults import Refused
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import rpc
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    provider_pb2,
    resource_pb2,
    resource_pb2_grpc,
)
from standin import UNKNOWN, Properties, StandIn, answering, holds_unknown, plain, struct

VARIABLE = "FALAJ_CHARTS"
CHART = "kubernetes:helm.sh/v4:Chart"

_MESSAGE_LIMIT_BYTES = 400 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", _MESSAGE_LIMIT_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_LIMIT_BYTES),
]
_DEFINITION = "CustomResourceDefinition"
_POLICY = "helm.sh/resource-policy"
_CLUSTERS = frozenset(
    {
        *("APIService", "ClusterRole", "ClusterRoleBinding", "CSIDriver", _DEFINITION),
        *("FlowSchema", "IngressClass", "MutatingWebhookConfiguration", "Namespace"),
        *("PersistentVolume", "PriorityClass", "PriorityLevelConfiguration", "RuntimeClass"),
        *("StorageClass", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
        "ValidatingWebhookConfiguration",
    }
)
"""Built-in kinds that are in no namespace."""

_said = threading.Event()
_SIGN, _SECRET = rpc._special_sig_key, rpc._special_secret_sig  # noqa: SLF001
_OUTPUT = rpc._special_output_value_sig  # noqa: SLF001


class WithCharts(StandIn):
    """A stand-in that makes charts too; mixed into another, before it.

    The engine lets only those make components that keep its secrets apart themselves: whatever was
    secret in a request is marked so in the answer.
    """

    def Configure(  # noqa: N802
        self, request: provider_pb2.ConfigureRequest, context: Any
    ) -> provider_pb2.ConfigureResponse:
        """Takes secrets as such."""
        response = super().Configure(request, context)
        response.acceptSecrets = True
        return response

    def Check(  # noqa: N802
        self, request: provider_pb2.CheckRequest, context: Any
    ) -> provider_pb2.CheckResponse:
        """As the other, with secrets kept."""
        response = super().Check(request, context)
        return provider_pb2.CheckResponse(
            inputs=covered(response.inputs, request.news), failures=response.failures
        )

    def Create(  # noqa: N802
        self, request: provider_pb2.CreateRequest, context: Any
    ) -> provider_pb2.CreateResponse:
        """As the other, with secrets kept."""
        response = super().Create(request, context)
        made = covered(response.properties, request.properties)
        return provider_pb2.CreateResponse(id=response.id, properties=made)

    def Update(  # noqa: N802
        self, request: provider_pb2.UpdateRequest, context: Any
    ) -> provider_pb2.UpdateResponse:
        """As the other, with secrets kept."""
        response = super().Update(request, context)
        return provider_pb2.UpdateResponse(properties=covered(response.properties, request.news))

    def Read(  # noqa: N802
        self, request: provider_pb2.ReadRequest, context: Any
    ) -> provider_pb2.ReadResponse:
        """As the other, with secrets kept."""
        response = super().Read(request, context)
        return provider_pb2.ReadResponse(
            id=response.id,
            properties=covered(response.properties, request.properties),
            inputs=covered(response.inputs, request.inputs),
        )

    @answering
    def Construct(  # noqa: N802
        self, request: provider_pb2.ConstructRequest, _context: Any
    ) -> provider_pb2.ConstructResponse:
        """A chart, with its objects where it can be rendered."""
        return construct(request, self.kubernetes_version())

    def kubernetes_version(self) -> str | None:
        """Of the cluster, where there is one."""
        return None


def covered(answer: struct_pb2.Struct, asked: struct_pb2.Struct) -> struct_pb2.Struct:
    """`answer` with everything marked as secret that is so in `asked`."""
    return struct(_covered(json_format.MessageToDict(answer), json_format.MessageToDict(asked)))


def _covered(value: Any, like: Any) -> Any:
    if _is(value, _SECRET):
        return value
    if _is(like, _SECRET):
        return {_SIGN: _SECRET, "value": value}
    if isinstance(value, dict) and isinstance(like, dict):
        return {name: _covered(inner, like.get(name)) for name, inner in value.items()}
    if isinstance(value, list) and isinstance(like, list):
        if len(value) == len(like):
            return [_covered(*pair) for pair in zip(value, like, strict=True)]
        return {_SIGN: _SECRET, "value": value} if _SECRET in json.dumps(like) else value
    return value


def _is(value: Any, sign: str) -> bool:
    return isinstance(value, dict) and value.get(_SIGN) == sign


def _settled(value: Any) -> Any:
    """What an output is, once it is known; a secret stays one."""
    if _is(value, _OUTPUT):
        inner = _settled(value["value"]) if "value" in value else UNKNOWN
        return {_SIGN: _SECRET, "value": inner} if value.get("secret") else inner
    if isinstance(value, dict):
        return {name: _settled(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_settled(one) for one in value]
    return value


class _Loader(yaml.CSafeLoader):
    """Takes `=` for a text, as Kubernetes does."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


def construct(
    request: provider_pb2.ConstructRequest, kubernetes_version: str | None
) -> provider_pb2.ConstructResponse:
    """Registers a chart, and its objects where it can be rendered. Raises `Refused`.

    `kubernetes_version` is that of the cluster, where there is one.
    """
    if request.type != CHART:
        raise Refused(f"{request.type} is a component that the stand-in does not make")
    sent = struct(_settled(json_format.MessageToDict(request.inputs)))
    inputs = plain(sent)
    with grpc.insecure_channel(request.monitorEndpoint, options=_OPTIONS) as channel:
        monitor = resource_pb2_grpc.ResourceMonitorStub(channel)
        urn = _component(monitor, request, sent)
        if request.dryRun and holds_unknown(inputs):
            _say(engine_pb2.WARNING, "values are not known yet: its objects are not shown", urn)
        elif (found := find(inputs)) is None:
            if not _said.is_set():
                _said.set()
                _say(
                    engine_pb2.INFO,
                    f"charts are not rendered, so their objects are not here: {VARIABLE} may name "
                    "a folder that holds them",
                    urn,
                )
        else:
            objects = render(found, inputs, kubernetes_version)
            prefix = str(inputs.get("resourcePrefix") or request.name)
            _register(monitor, request, urn, children(objects, prefix))
        monitor.RegisterResourceOutputs(
            resource_pb2.RegisterResourceOutputsRequest(urn=urn, outputs=struct({}))
        )
    return provider_pb2.ConstructResponse(urn=urn, state=struct({}))


def find(inputs: Mapping[str, Any]) -> Path | None:
    """Where the chart that `inputs` ask for lies here, `None` where it does not.

    Raises `Refused` where another version of it does.
    """
    folder, asked = os.environ.get(VARIABLE), str(inputs["chart"])
    version = str(inputs.get("version") or "")
    if Path(asked).is_dir():
        return Path(asked)
    if not folder:
        return None
    name = asked.rpartition("/")[2]
    archive = Path(folder) / f"{name}-{version}.tgz"
    if archive.is_file():
        return archive
    unpacked = Path(folder) / name
    if not unpacked.is_dir():
        return None
    there = yaml.safe_load((unpacked / "Chart.yaml").read_text(encoding="utf-8"))["version"]
    if version and str(there) != version:
        raise Refused(f"{name} {version} is asked for, and {unpacked} holds {there}")
    return unpacked


def render(
    chart: Path, inputs: Mapping[str, Any], kubernetes_version: str | None = None
) -> list[Properties]:
    """The objects of a chart, without hooks. Raises `Refused` with what Helm says.

    Raises it too where a value is given that the chart does not know.
    """
    values = inputs.get("values") or {}
    # with a schema a chart may know more than it has defaults for, and Helm heeds it
    closed = _file_of(chart, "values.schema.json") != ""
    strange = [] if closed else list(unknown_values(values, defaults_of(chart)))
    if strange:
        raise Refused(f"{chart.name} knows no value {', '.join(strange)}: it would change nothing")
    helm = shutil.which("helm")
    if helm is None:
        raise Refused("there is no helm to render charts with: python3 -m tools.setup --with-tests")
    namespace = str(inputs.get("namespace") or "default")
    command = [helm, "template", str(inputs["name"]), str(chart), "--namespace", namespace]
    command += ["--no-hooks", "--values", "-"]
    command += ["--skip-crds"] if inputs.get("skipCrds") else ["--include-crds"]
    if kubernetes_version is not None:
        command += ["--kube-version", kubernetes_version]
    # nobody's configuration of Helm, and no network: all is in the folder
    rendered = subprocess.run(
        command,
        input=json.dumps(_whole(values)),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    if rendered.returncode != 0:
        raise Refused(f"{chart.name}: {rendered.stderr.strip()}")
    found = [one for one in yaml.load_all(rendered.stdout, Loader=_Loader) if one]
    objects = [_object(one, namespace) for one in found]
    return sorted(objects, key=lambda one: one["kind"] != _DEFINITION)


def defaults_of(chart: Path) -> Properties:
    """The `values.yaml` of a chart, in a folder or an archive."""
    return yaml.load(_file_of(chart, "values.yaml"), Loader=_Loader) or {}  # noqa: S506


def _file_of(chart: Path, name: str) -> str:
    """The text of a file at the top of a chart, empty where there is none."""
    if chart.is_dir():
        path = chart / name
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    with tarfile.open(chart) as archive:
        for inner in archive.getnames():
            if inner.count("/") == 1 and inner.endswith(f"/{name}"):
                file = archive.extractfile(inner)
                return file.read().decode() if file is not None else ""
    return ""


def unknown_values(
    values: Mapping[str, Any], defaults: Mapping[str, Any], path: str = ""
) -> Iterator[str]:
    """The paths of `values` that are not among `defaults`.

    What stands empty there (``{}``, or nothing at all) takes any content. A value of another type
    than the default counts too, but for numbers and texts.
    """
    for key, value in values.items():
        where = f"{path}{key}"
        if key not in defaults:
            yield where
            continue
        default = defaults[key]
        if isinstance(default, Mapping) and isinstance(value, Mapping):
            if default:
                yield from unknown_values(value, default, f"{where}.")
        elif default is not None and isinstance(default, Mapping | list) != isinstance(
            value, Mapping | list
        ):
            yield f"{where} (of this type)"


def children(objects: list[Properties], prefix: str) -> Iterator[tuple[str, str, Properties, bool]]:
    """Type token, name, content of each object, and whether it outlives its chart."""
    for thing in objects:
        metadata = thing["metadata"]
        group, _, version = thing["apiVersion"].rpartition("/")
        token = f"kubernetes:{group or 'core'}/{version}:{thing['kind']}"
        name = "/".join(one for one in (metadata.get("namespace"), metadata["name"]) if one)
        keeps = (metadata.get("annotations") or {}).get(_POLICY) == "keep"
        yield token, f"{prefix}:{name}", thing, keeps


def _component(
    monitor: Any, request: provider_pb2.ConstructRequest, inputs: struct_pb2.Struct
) -> str:
    answer = monitor.RegisterResource(
        resource_pb2.RegisterResourceRequest(
            type=request.type,
            name=request.name,
            parent=request.parent,
            object=inputs,
            dependencies=request.dependencies,
            providers=request.providers,
            protect=request.protect,
            retainOnDelete=request.retainOnDelete,
            aliases=request.aliases,
            acceptSecrets=True,
            acceptResources=True,
        )
    )
    return str(answer.urn)


def _register(
    monitor: Any,
    request: provider_pb2.ConstructRequest,
    urn: str,
    objects: Iterable[tuple[str, str, Properties, bool]],
) -> None:
    definitions: list[str] = []
    for token, name, thing, keeps in objects:
        sent = resource_pb2.RegisterResourceRequest(
            type=token,
            name=name,
            parent=urn,
            custom=True,
            object=struct(thing),
            provider=request.providers.get("kubernetes", ""),
            dependencies=[] if thing["kind"] == _DEFINITION else definitions,
            acceptSecrets=True,
            acceptResources=True,
        )
        if keeps:
            sent.retainOnDelete = True
        made = monitor.RegisterResource(sent)
        if thing["kind"] == _DEFINITION:
            definitions.append(str(made.urn))


def _object(rendered: Properties, namespace: str) -> Properties:
    """An object as it is sent: in its namespace, without what the server alone writes."""
    kept = {name: value for name, value in rendered.items() if name != "status"}
    metadata = {name: value for name, value in kept["metadata"].items() if value is not None}
    built_in = "." not in kept["apiVersion"].rpartition("/")[0].removesuffix(".k8s.io")
    if built_in and kept["kind"] not in _CLUSTERS:
        metadata.setdefault("namespace", namespace)
    plain_data: Properties = _without_nothing({**kept, "metadata": metadata})
    return plain_data


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _without_nothing(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nothing(one) for one in value]
    return value


def _whole(value: Any) -> Any:
    """Whole numbers as such: the engine's protocol has one kind of number."""
    if isinstance(value, dict):
        return {name: _whole(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _say(severity: Any, message: str, urn: str) -> None:
    """To whoever runs Pulumi; the engine gives its address as the first argument."""
    if len(sys.argv) < 2:
        return
    with grpc.insecure_channel(sys.argv[1]) as channel:
        engine_pb2_grpc.EngineStub(channel).Log(
            engine_pb2.LogRequest(severity=severity, message=message, urn=urn)
        )
