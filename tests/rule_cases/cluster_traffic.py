"""Cases of `policies/encryption/cluster_traffic.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, resource

INGRESS = "kubernetes:networking.k8s.io/v1:Ingress"
ENTRY = "kubernetes:gateway.networking.k8s.io/v1:Gateway"
ALB = "alb.ingress.kubernetes.io/"
BALANCED = {
    f"{ALB}certificate-arn": "arn:aws:acm:me-central-1:123456789012:certificate/1",
    f"{ALB}ssl-policy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
}


def ingress(hosts: Any = ("a.bank.ae",), tls: Any = ABSENT, **annotations: Any) -> list[Resource]:
    covered = [{"hosts": ["a.bank.ae"], "secretName": "a"}] if tls is ABSENT else tls
    rules = hosts if hosts is UNKNOWN else [{"host": host} for host in hosts]
    spec = {"ingressClassName": "nginx", "rules": rules, "tls": covered}
    metadata = {"annotations": annotations}
    return [resource(INGRESS, "entry", {"metadata": metadata, "spec": spec})]


def balanced(**change: Any) -> list[Resource]:
    annotations = {**BALANCED, **{f"{ALB}{key}": one for key, one in change.items()}}
    said = {key: one for key, one in annotations.items() if one is not ABSENT}
    spec = {"ingressClassName": "alb", "rules": [{"host": "a.bank.ae"}]}
    return [resource(INGRESS, "alb", {"metadata": {"annotations": said}, "spec": spec})]


def entry(*protocols: Any, kind: str = ENTRY) -> list[Resource]:
    listeners = [{"name": "one", "protocol": protocol} for protocol in protocols]
    return [resource(kind, "entry", {"spec": {"listeners": listeners}})]


GATEWAY = "kubernetes:networking.istio.io/v1:Gateway"
DESTINATION = "kubernetes:networking.istio.io/v1:DestinationRule"


def server(protocol: Any = "HTTPS", kind: str = GATEWAY, **tls: Any) -> list[Resource]:
    said = tls or {"mode": "SIMPLE", "credentialName": "gateway-tls"}
    servers = [{"port": {"number": 8443, "protocol": protocol}, "tls": said}]
    return [resource(kind, "gateway", {"spec": {"servers": servers}})]


def destination(kind: str = DESTINATION, **spec: Any) -> list[Resource]:
    return [resource(kind, "rule", {"spec": {"host": "models", **spec}})]


OFF = {"tls": {"mode": "DISABLE"}}

NAMESPACE = "kubernetes:core/v1:Namespace"
PEERS = "kubernetes:security.istio.io/v1:PeerAuthentication"


def peers(
    mode: Any = "STRICT",
    namespace: Any = "istio-system",
    name: Any = "default",
    kind: str = PEERS,
    references: Any = (),
    **spec: Any,
) -> Resource:
    metadata = {"name": name, "namespace": namespace}
    mtls = {} if mode is ABSENT else {"mtls": {"mode": mode}}
    properties = {"metadata": metadata, "spec": {**mtls, **spec}}
    return resource(kind, f"{name}", properties, references=dict(references))


def namespace(name: str = "ray", **labels: Any) -> Resource:
    said = {key.replace("_", "-"): one for key, one in labels.items()}
    return resource(NAMESPACE, name, {"metadata": {"name": name, "labels": said}})


AMBIENT = resource(
    NAMESPACE,
    "ray",
    {"metadata": {"name": "ray", "labels": {"istio.io/dataplane-mode": "ambient"}}},
)
REVISED = resource(
    NAMESPACE, "ray", {"metadata": {"name": "ray", "labels": {"istio.io/rev": "stable"}}}
)
HOME = namespace("istio-system")

CASES = (
    Cases(
        rule="kubernetes-ingress-uses-tls",
        baseline=[*ingress(), *balanced(), *entry("HTTPS", "TLS")],
        fails={
            "no section": ingress(tls=[]),
            "of another host": ingress(["b.bank.ae"]),
            "one of two": ingress(["a.bank.ae", "b.bank.ae"]),
            "no secret": ingress(tls=[{"hosts": ["a.bank.ae"]}]),
            "any host": ingress([None]),
            "no rules": ingress([], []),
            "too deep": ingress(["x.a.bank.ae"], [{"hosts": ["*.bank.ae"], "secretName": "a"}]),
            "HTTP too": ingress(**{"nginx.ingress.kubernetes.io/ssl-redirect": "false"}),
            "no certificate": balanced(**{"certificate-arn": ABSENT}),
            "TLS by default": balanced(**{"ssl-policy": ABSENT}),
            "old TLS": balanced(**{"ssl-policy": "ELBSecurityPolicy-2016-08"}),
            "plain port": balanced(**{"listen-ports": '[{"HTTP": 80}, {"HTTPS": 443}]'}),
            "no JSON": balanced(**{"listen-ports": "HTTP"}),
            "listener": entry("HTTPS", "HTTP"),
            "TCP": entry("TCP"),
            "before": entry("HTTP", kind="kubernetes:gateway.networking.k8s.io/v1beta1:Gateway"),
        },
        passes={
            "wildcard": ingress(["x.bank.ae"], [{"hosts": ["*.bank.ae"], "secretName": "a"}]),
            "for all hosts": ingress(["b.bank.ae", None], [{"secretName": "a"}]),
            "redirects": balanced(
                **{"listen-ports": '[{"HTTP": 80}, {"HTTPS": 443}]', "ssl-redirect": "443"}
            ),
            "HTTPS alone": balanced(**{"listen-ports": '[{"HTTPS": 443}]'}),
            "of the mesh itself": entry("HBONE"),
        },
        pending={
            "host": ingress([UNKNOWN]),
            "hosts": ingress(UNKNOWN),
            "section": ingress(tls=UNKNOWN),
            "its hosts": ingress(tls=[{"hosts": [UNKNOWN], "secretName": "a"}]),
            "policy": balanced(**{"ssl-policy": UNKNOWN}),
            "ports": balanced(**{"listen-ports": UNKNOWN}),
            "protocol": entry(UNKNOWN),
            "class": [resource(INGRESS, "entry", {"spec": {"ingressClassName": UNKNOWN}})],
        },
    ),
    Cases(
        rule="mesh-gateway-keeps-tls",
        baseline=[
            *server(mode="MUTUAL", minProtocolVersion="TLSV1_3"),
            *destination(trafficPolicy={"tls": {"mode": "ISTIO_MUTUAL"}}),
        ],
        fails={
            "HTTP": server("HTTP"),
            "gRPC, which knows no TLS here": server("GRPC"),
            "TCP": server("TCP"),
            "no mode": server(credentialName="gateway-tls"),
            "old TLS": server(mode="SIMPLE", minProtocolVersion="TLSV1_1"),
            "before": server("HTTP", kind="kubernetes:networking.istio.io/v1beta1:Gateway"),
            "long before": server("HTTP", kind="kubernetes:networking.istio.io/v1alpha3:Gateway"),
            "off": destination(trafficPolicy=OFF),
            "off for a port": destination(trafficPolicy={"portLevelSettings": [OFF]}),
            "off for a subset": destination(subsets=[{"name": "a", "trafficPolicy": OFF}]),
            "off for a port of a subset": destination(
                subsets=[{"name": "a", "trafficPolicy": {"portLevelSettings": [OFF]}}]
            ),
            "any certificate": destination(
                trafficPolicy={"tls": {"mode": "SIMPLE", "insecureSkipVerify": True}}
            ),
            "off before": destination(
                "kubernetes:networking.istio.io/v1beta1:DestinationRule", trafficPolicy=OFF
            ),
        },
        passes={
            "redirects": server("HTTP", httpsRedirect=True),
            "hands TLS on": server("TLS", mode="PASSTHROUGH"),
            "nothing said of TLS": destination(
                trafficPolicy={"loadBalancer": {"simple": "RANDOM"}}
            ),
        },
        pending={
            "protocol": server(UNKNOWN),
            "mode": server(mode=UNKNOWN),
            "whether it redirects": server("HTTP", httpsRedirect=UNKNOWN),
            "rule": destination(trafficPolicy={"tls": UNKNOWN}),
            "gateway": [resource(GATEWAY, "gateway", {"spec": {"servers": UNKNOWN}})],
        },
    ),
    Cases(
        rule="mesh-mtls-is-strict",
        baseline=[peers(), AMBIENT],
        fails={
            "no policy": [AMBIENT],
            "elsewhere": [peers(namespace="ray")],
            "another name": [peers(name="strict")],
            "of some pods": [peers(selector={"matchLabels": {"app": "a"}})],
            "permissive": [peers("PERMISSIVE")],
            "nothing said": [peers(ABSENT)],
            "off in one": [peers(), peers("DISABLE", "ray", "off")],
            "permissive before": [
                peers(),
                peers(
                    "PERMISSIVE",
                    "ray",
                    "a",
                    "kubernetes:security.istio.io/v1beta1:PeerAuthentication",
                ),
            ],
            "off at a port": [
                peers(),
                peers("STRICT", "ray", "a", portLevelMtls={"8080": {"mode": "DISABLE"}}),
            ],
            "no label": [peers(), namespace()],
            "not injected": [peers(), namespace(istio_injection="disabled")],
        },
        passes={
            "injected": [peers(), namespace(istio_injection="enabled")],
            "by revision": [peers(), REVISED],
            "of no concern": [peers(), namespace("kube-public")],
            "what the mesh has": [peers(), peers("UNSET", "ray", "a"), AMBIENT],
            "before": [peers(kind="kubernetes:security.istio.io/v1beta1:PeerAuthentication")],
            "at preview": [
                HOME,
                peers(namespace=UNKNOWN, references={"metadata": (HOME.urn,)}),
            ],
        },
        pending={
            "where": [peers(namespace=UNKNOWN)],
            "all, before there is a cluster": [resource(PEERS, "default", {}, hidden=True)],
            "which namespace": [peers(), resource(NAMESPACE, "ray", {}, hidden=True)],
            "mode": [peers(UNKNOWN)],
            "of some pods": [peers(selector=UNKNOWN)],
            "labels": [
                peers(),
                resource(NAMESPACE, "ray", {"metadata": {"name": "ray", "labels": UNKNOWN}}),
            ],
            "ports": [peers(), peers("STRICT", "ray", "a", portLevelMtls=UNKNOWN)],
        },
    ),
)
