"""Rule on the ways to models: MLflow, Ray and Seldon are reached through the mesh, and by TLS.

What other rules hold is not said again: the Services that KubeRay makes of a head
(`ray-head-is-not-exposed`), and the certificate of an Ingress, whatever it leads to
(`kubernetes-ingress-uses-tls`). Annotations of Seldon that say how its engine runs
(``seldon.io/engine-separate-pod``, ``seldon.io/no-engine``) or what an Ambassador is told change
nothing here: the pods are in the mesh, or they are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from policies.common.namespaces import (
    NAMESPACE,
    Homes,
    Inside,
    cluster_of,
    in_mesh,
    is_ambient,
    leaves_mesh,
    selects,
)
from policies.common.pods import describes_pods, kind_of, pods
from policies.common.properties import anywhere, dotted, is_one_of, places
from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Path, Rule, pending
from policies.common.stack import Stack
from policies.encryption.cluster_traffic import GATEWAYS, MESH_VERSIONS, SERVERS, server

_SERVICE = "kubernetes:core/v1:Service"
_ROUTES = frozenset(f"kubernetes:networking.istio.io/{one}:VirtualService" for one in MESH_VERSIONS)
_MAKERS = frozenset(
    {
        *(("ray.io", kind) for kind in ("RayCluster", "RayCronJob", "RayJob", "RayService")),
        ("machinelearning.seldon.io", "SeldonDeployment"),
    }
)
"""Kinds whose operators make pods of models, and Services with names that begin like theirs."""


class Endpoints(Parameters):
    """What serves models."""

    mlSelectors: tuple[str, ...] = (  # noqa: N815
        *("app.kubernetes.io/name=mlflow", "ray.io/node-type=head", "seldon-deployment-id"),
        "falaj/part=model",
    )
    """Labels of its pods: each ``label=value``, or a label alone, which any value has."""


@dataclass(frozen=True)
class _Served:
    """What of a stack serves models."""

    pods: list[Resource] = field(default_factory=list)
    """What describes their pods."""
    services: list[Resource] = field(default_factory=list)

    def all(self) -> list[Resource]:
        return [*self.pods, *self.services]


def stays_in_mesh(stack: Stack, parameters: Endpoints) -> Iterator[Finding]:
    """Outside of the mesh, requests and predictions cross the network in plain text."""
    served = _Served()
    for one in stack:
        if one.hidden and _may_be_judged(one):
            yield pending(one, "spec")
        elif describes_pods(one) and _makes_models(one, parameters) is not False:
            served.pods.append(one)
    beside = Inside(
        Stack([*stack.of({NAMESPACE}), *served.pods]), {one.type for one in served.pods}
    )
    for service in stack.of({_SERVICE}):
        chosen = False if service.hidden else _serves_models(service, beside, parameters)
        if chosen is UNKNOWN:
            yield pending(service, "spec.selector")
        elif chosen:
            served.services.append(service)
            yield from is_one_of(service, ("spec", "type"), ("ClusterIP",), or_missing=True)
    homes = Homes(stack)
    yield from _at_home(served, homes, parameters)
    yield from _published(stack, served, homes)


def _may_be_judged(one: Resource) -> bool:
    return one.type == _SERVICE or one.type in _ROUTES or describes_pods(one)


def _marked(labels: Any, parameters: Endpoints) -> Any:
    """Whether `labels` are those of something that serves models, or `UNKNOWN`."""
    answers = []
    for selector in parameters.mlSelectors:
        label, _, wanted = selector.partition("=")
        value = UNKNOWN if labels is UNKNOWN else at(labels, label)
        answers.append(
            UNKNOWN if value is UNKNOWN else value == wanted if wanted else not is_missing(value)
        )
    return True if True in answers else UNKNOWN if UNKNOWN in answers else False


def _makes_models(workload: Resource, parameters: Endpoints) -> Any:
    if kind_of(workload) in _MAKERS:
        return True
    answers = [_marked(pod.labels, parameters) for pod in pods(workload)]
    return True if True in answers else UNKNOWN if UNKNOWN in answers else False


def _serves_models(service: Resource, beside: Inside, parameters: Endpoints) -> Any:
    """Whether pods of models are behind `service`, or `UNKNOWN`."""
    selector = service.at("spec", "selector")
    if is_missing(selector):
        return False
    answers = [_marked(selector, parameters)]
    workloads, _ = beside.beside(service)
    for workload in workloads:
        made = _makes_models(workload, parameters)
        for pod in pods(workload):
            chosen = selects({"matchLabels": selector}, pod.labels)
            answers.append(made if chosen is True else chosen)
    return True if True in answers else UNKNOWN if UNKNOWN in answers else False


def _at_home(served: _Served, homes: Homes, parameters: Endpoints) -> Iterator[Finding]:
    """The namespaces of what serves models, each once, and the pods that leave the mesh."""
    told: set[str] = set()
    for one in served.all():
        home = homes.of(one)
        if one in served.pods and _makes_models(one, parameters) is UNKNOWN:
            yield pending(one, "its labels")
            continue
        if not isinstance(home, Resource):
            what = "is not known yet" if home is UNKNOWN else "is not of this program"
            yield pending(one, "its namespace", f"{what}: nobody knows whether the mesh has it")
        elif home.urn not in told:
            told.add(home.urn)
            yield from _labelled(home, one)
        labels = home.at("metadata", "labels") if isinstance(home, Resource) else {}
        yield from _left(one, ambient=is_ambient(labels))


def _left(one: Resource, *, ambient: bool) -> Iterator[Finding]:
    """The pods of `one` that leave the mesh; a Service describes none."""
    for pod in pods(one):
        where = f"{pod.where.removesuffix('spec')}metadata"
        leaves = leaves_mesh(pod.metadata, ambient=ambient)
        if leaves is UNKNOWN:
            yield pending(one, where)
        elif leaves is not None:
            what = "keeps pods of models out of the mesh"
            yield Finding(resource=one, where=f"{where}.{leaves}", what=what)


def _labelled(home: Resource, one: Resource) -> Iterator[Finding]:
    inside = in_mesh(home)
    if inside is UNKNOWN or home.hidden:
        yield pending(home, "metadata.labels")
    elif not inside:
        what = f"do not bring the namespace into the mesh, and '{one.name}' in it serves models"
        yield Finding(resource=home, where="metadata.labels", what=what)


def _published(stack: Stack, served: _Served, homes: Homes) -> Iterator[Finding]:
    """What leads to models from outside: by gateways that speak nothing but TLS."""
    gateways = {
        (cluster_of(one), homes.name(one), one.at("metadata", "name")): one
        for one in stack.of(GATEWAYS)
    }
    reached = [*served.services, *(one for one in served.pods if kind_of(one) in _MAKERS)]
    names = [(cluster_of(one), homes.name(one), *_called(one)) for one in reached]
    for route in stack.of(_ROUTES):
        spec, here = route.at("spec"), (cluster_of(route), homes.name(route))
        leads = [
            _leads(route.at(*place, "host"), here, names)
            for place in anywhere(spec, "destination", ("spec",))
        ]
        if route.hidden or not names or not (True in leads or UNKNOWN in leads):
            continue
        for place in _listed(route):
            for number, name in enumerate(_list(route.at(*place))):
                where = dotted((*place, number))
                if name == "mesh":
                    continue
                wrong = UNKNOWN if True not in leads else _in_plain(name, here, gateways)
                if wrong is UNKNOWN:
                    what = "is not known yet, or of another program"
                    yield pending(route, where, what)
                elif wrong:
                    what = f"is {name}, which does not speak TLS alone, and models are behind it"
                    yield Finding(resource=route, where=where, what=what)


def _called(one: Resource) -> tuple[Any, bool]:
    """The name of `one`, and whether those of its Services only begin with it."""
    name = one.at("metadata", "name")
    return name, kind_of(one) in _MAKERS


def _leads(host: Any, here: tuple[str, Any], names: list[tuple[str, Any, Any, bool]]) -> Any:
    """Whether `host`, as said in the namespace `here`, is a Service of models, or `UNKNOWN`."""
    if not isinstance(host, str):
        return UNKNOWN if host is UNKNOWN else False
    name, *rest = host.split(".")
    namespace = rest[0] if rest else here[1]
    answers = []
    for cluster, home, called, begins in names:
        if cluster != here[0] or (home != namespace and UNKNOWN not in (home, namespace)):
            continue
        like = isinstance(called, str) and begins and name.startswith(f"{called}-")
        if UNKNOWN in (home, namespace) or called is UNKNOWN:
            answers.append(UNKNOWN if like or called in (name, UNKNOWN) else False)
        else:
            answers.append(like or (name == called and not begins))
    return True if True in answers else UNKNOWN if UNKNOWN in answers else False


def _listed(route: Resource) -> Iterator[Path]:
    """Where `route` names gateways: what a match names takes the place of what all have."""
    yield from anywhere(route.at("spec"), "gateways", ("spec",))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if is_missing(value) else [UNKNOWN]


def _in_plain(
    name: Any, here: tuple[str, Any], gateways: Mapping[tuple[str, Any, Any], Resource]
) -> Any:
    """Whether the gateway `name` has a server without TLS; `UNKNOWN` where it is not known."""
    if not isinstance(name, str):
        return UNKNOWN
    namespace, _, called = name.rpartition("/")
    gateway = gateways.get((here[0], namespace or here[1], called), ABSENT)
    if not isinstance(gateway, Resource) or gateway.hidden:
        return UNKNOWN
    found = [
        one.verdict
        for where in places(gateway.properties, SERVERS)
        for one in server(gateway, where)
    ]
    return "violation" in found or (UNKNOWN if found else False)


RULES = (
    Rule(
        name="ml-endpoint-stays-in-mesh",
        description="Whatever serves models is in the mesh, and is reached through TLS alone.",
        mend="put the workload in a mesh namespace, and publish it through the TLS gateway.",
        applies_to=lambda resource: (
            kind_of(resource) in _MAKERS
            or (resource.hidden and _may_be_judged(resource))
            or (describes_pods(resource) and _makes_models(resource, Endpoints()) is not False)
            or (
                resource.type == _SERVICE
                and _marked(resource.at("spec", "selector"), Endpoints()) is not False
            )
        ),
        parameters=Endpoints,
        together=stays_in_mesh,
    ),
)
