"""Cases of `policies/encryption/model_endpoints.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, resource

NAMESPACE = "kubernetes:core/v1:Namespace"
SERVICE = "kubernetes:core/v1:Service"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
ROUTE = "kubernetes:networking.istio.io/v1:VirtualService"
GATEWAY = "kubernetes:networking.istio.io/v1:Gateway"
MLFLOW = {"app.kubernetes.io/name": "mlflow"}
INJECT, MODE = "sidecar.istio.io/inject", "istio.io/dataplane-mode"
OUT = {INJECT: "false"}
INJECTED, AMBIENT = {"istio-injection": "enabled"}, {MODE: "ambient"}


def home(labels: Any = INJECTED, name: str = "ml") -> Resource:
    return resource(NAMESPACE, name, {"metadata": {"name": name, "labels": labels}})


def placed(kind: str, name: str, spec: Any, namespace: Any = "ml") -> Resource:
    metadata = {"name": name, "namespace": namespace}
    return resource(kind, name, {"metadata": metadata, "spec": spec})


def service(selector: Any = MLFLOW, namespace: Any = "ml", **spec: Any) -> Resource:
    return placed(SERVICE, "tracking", {"selector": selector, **spec}, namespace)


def template(labels: Any = (), annotations: Any = ()) -> dict[str, Any]:
    said = labels if labels is UNKNOWN else dict(labels)
    metadata = {"labels": said, "annotations": dict(annotations)}
    return {"metadata": metadata, "spec": {"containers": []}}


def workload(labels: Any = (), annotations: Any = ()) -> Resource:
    said = labels if labels is UNKNOWN else {**MLFLOW, "app": "a", **dict(labels)}
    return placed(DEPLOYMENT, "server", {"template": template(said, annotations)})


def cluster(labels: Any = (), workers: Any = ()) -> dict[str, Any]:
    return {
        "headGroupSpec": {"template": template(labels)},
        "workerGroupSpecs": [{"template": template(workers)}],
    }


def ray(kind: str = "RayCluster", version: str = "v1", **groups: Any) -> Resource:
    described = cluster(**groups)
    spec = {
        "RayCluster": described,
        "RayJob": {"rayClusterSpec": described},
        "RayService": {"rayClusterConfig": described},
        "RayCronJob": {"jobTemplate": {"rayClusterSpec": described}},
    }[kind]
    return placed(f"kubernetes:ray.io/{version}:{kind}", "train", spec)


def seldon(labels: Any = (), version: str = "v1") -> Resource:
    predictors = [{"name": "champion", "componentSpecs": [template(labels)]}]
    kind = f"kubernetes:machinelearning.seldon.io/{version}:SeldonDeployment"
    return placed(kind, "credit", {"predictors": predictors})


def gateway(protocol: Any = "HTTPS", **more: Any) -> Resource:
    servers = [{"port": {"protocol": protocol}, "tls": {"mode": "SIMPLE"}, **more}]
    return placed(GATEWAY, "door", {"servers": servers}, "edge")


def route(
    host: Any = "tracking", gateways: Any = ("edge/door",), kind: str = ROUTE, **more: Any
) -> Resource:
    said = {} if gateways is ABSENT else {"gateways": gateways}
    said = {**said, "gateways": list(gateways)} if isinstance(gateways, tuple) else said
    http = [{"route": [{"destination": {"host": host}}], **more}]
    return placed(kind, "models", {**said, "http": http})


PLAIN = gateway("HTTP")
SERVED = [home(), service(), workload()]
AT_PREVIEW = resource(
    SERVICE,
    "tracking",
    {"metadata": {"name": "tracking", "namespace": UNKNOWN}, "spec": {"selector": MLFLOW}},
    references={"metadata": (home().urn,)},
)
ELSEWHERE = resource("pulumi:providers:kubernetes", "elsewhere", {})

CASES = (
    Cases(
        rule="ml-endpoint-stays-in-mesh",
        baseline=[*SERVED, ray(), seldon(), gateway(), route()],
        fails={
            "a port of each node": [home(), service(type="NodePort")],
            "a load balancer": [home(), service(type="LoadBalancer")],
            "no label": [home({}), service()],
            "not injected": [home({"istio-injection": "disabled", "istio.io/rev": "a"}), service()],
            "known by its pods": [home(), service({"app": "a"}, type="NodePort"), workload()],
            "a model's": [home({}), service({"falaj/part": "model"})],
            "Ray's head": [home({}), service({"ray.io/node-type": "head"})],
            "Seldon's": [home({}), service({"seldon-deployment-id": "credit"})],
            "pods alone": [home({}), workload()],
            "out by label": [home(), workload(OUT)],
            "out by annotation": [home(), workload((), OUT)],
            "out of sidecars by label, whatever the annotation": [
                home(),
                workload(OUT, {INJECT: "true"}),
            ],
            "out of the ambient mesh": [home(AMBIENT), workload({MODE: "none"})],
            **{
                f"{kind}, no label": [home({}), ray(kind)]
                for kind in ("RayCluster", "RayJob", "RayService", "RayCronJob")
            },
            "its head out": [home(), ray(labels=OUT)],
            "its workers out": [home(), ray("RayJob", workers=OUT)],
            "before": [home({}), ray(version="v1alpha1")],
            "Seldon, no label": [home({}), seldon()],
            "Seldon's pods out": [home(), seldon(OUT)],
            "Seldon before": [home({}), seldon(version="v1alpha3")],
            "published in plain": [*SERVED, PLAIN, route()],
            "by its long name": [*SERVED, PLAIN, route("tracking.ml.svc.cluster.local")],
            "one of two": [*SERVED, PLAIN, route(gateways=("mesh", "edge/door"))],
            "by a match": [
                *SERVED,
                PLAIN,
                route(gateways=ABSENT, match=[{"gateways": ["edge/door"]}]),
            ],
            "what Ray's operator makes": [
                home(),
                ray("RayService"),
                PLAIN,
                route("train-serve-svc"),
            ],
            "what Seldon makes": [home(), seldon(), PLAIN, route("credit-champion")],
            "published before": [
                *SERVED,
                PLAIN,
                route(kind="kubernetes:networking.istio.io/v1beta1:VirtualService"),
            ],
            "published long before": [
                *SERVED,
                PLAIN,
                route(kind="kubernetes:networking.istio.io/v1alpha3:VirtualService"),
            ],
        },
        passes={
            "by revision": [home({"istio.io/rev": "stable"}), service()],
            "no sidecar in the ambient mesh": [home(AMBIENT), workload(OUT)],
            "the label outweighs": [home(), workload({INJECT: "true"}, OUT)],
            "of something else": [*SERVED, home({}, "web"), service({"app": "b"}, "web")],
            "no pods": [*SERVED, service({}, type="NodePort")],
            "inside of the mesh": [*SERVED, PLAIN, route(gateways=("mesh",))],
            "no gateway said": [*SERVED, PLAIN, route(gateways=ABSENT)],
            "redirects": [*SERVED, gateway("HTTP", tls={"httpsRedirect": True}), route()],
            "leads elsewhere": [*SERVED, PLAIN, route("web"), route("tracking.web")],
            "begins like it": [*SERVED, PLAIN, route("tracking-page")],
            "at preview": [home(), AT_PREVIEW],
        },
        pending={
            "labels": [home(UNKNOWN), service()],
            "selector": [home(), service(UNKNOWN)],
            "kind": [home(), service(type=UNKNOWN)],
            "where": [home(), service(namespace=UNKNOWN)],
            "of another program": [service()],
            "of another cluster": [
                home(),
                resource(SERVICE, "a", dict(service().properties), provider=ELSEWHERE),
            ],
            "pods": [home(), workload({INJECT: UNKNOWN})],
            "whose pods": [home(), workload(UNKNOWN)],
            "host": [*SERVED, gateway(), route(UNKNOWN)],
            "gateways": [*SERVED, gateway(), route(gateways=UNKNOWN)],
            "gateway of another program": [*SERVED, route()],
            "what it speaks": [*SERVED, gateway(UNKNOWN), route()],
            "before there is a cluster": [resource(SERVICE, "a", {}, hidden=True)],
        },
    ),
)
