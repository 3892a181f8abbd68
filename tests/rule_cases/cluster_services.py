"""Cases of `policies/hardening/cluster_services.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import Cases, resource
from rule_cases.values import nested

SERVICE, INGRESS = "core/v1:Service", "networking.k8s.io/v1:Ingress"
PREFIX = "service.beta.kubernetes.io/"
SCHEME = f"{PREFIX}aws-load-balancer-scheme"
INTERNAL = f"{PREFIX}aws-load-balancer-internal"
FAMILY = f"{PREFIX}aws-load-balancer-ip-address-type"
RANGES = f"{PREFIX}load-balancer-source-ranges"
ALB = "alb.ingress.kubernetes.io/scheme"
RAY = {
    "ray.io/v1:RayCluster": "spec",
    "ray.io/v1alpha1:RayCluster": "spec",
    "ray.io/v1:RayCronJob": "spec.jobTemplate.rayClusterSpec",
    "ray.io/v1:RayJob": "spec.rayClusterSpec",
    "ray.io/v1:RayService": "spec.rayClusterConfig",
}


def of(kind: str, properties: Any, annotations: Any = None) -> list[Resource]:
    metadata = {"name": "it", "namespace": "risk", "annotations": annotations}
    return [resource(f"kubernetes:{kind}", "it", {"metadata": metadata, **properties})]


def service(annotations: Any = None, kind: str = SERVICE, **spec: Any) -> list[Resource]:
    return of(kind, {"spec": spec}, annotations)


def balanced(annotations: Any, **spec: Any) -> list[Resource]:
    said = {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, **spec}
    return service(annotations, **said)


def ray(kind: str, annotations: Any = None, **head: Any) -> list[Resource]:
    cluster = {"headGroupSpec": head, "headServiceAnnotations": annotations}
    return of(kind, nested(RAY[kind], cluster))


def asked(**service_spec: Any) -> list[Resource]:
    inner = {"rayClusterConfig": {}, "serveService": {"spec": service_spec}}
    return of("ray.io/v1:RayService", {"spec": inner})


def ingress(scheme: Any, name: Any = "it") -> list[Resource]:
    metadata = {"namespace": "risk", "name": name, "annotations": {ALB: scheme}}
    return [resource(f"kubernetes:{INGRESS}", "it", {"metadata": metadata})]


INSIDE = {SCHEME: "internal"}
PORT = [{"port": 80, "nodePort": 30080}]

CASES = (
    Cases(
        rule="kubernetes-service-is-internal",
        parameters={"publicIngresses": ["risk/front"]},
        baseline=balanced(INSIDE),
        fails={
            "nothing said": balanced(None),
            "another's annotation": balanced({f"{PREFIX}aws-load-balancer-type": "nlb"}),
            "said": balanced({SCHEME: "internet-facing"}),
            "the newer annotation counts": balanced({SCHEME: "internet-facing", INTERNAL: "true"}),
            "said not to be inside": balanced({INTERNAL: "false"}),
            "both families": balanced({**INSIDE, FAMILY: "dualstack"}),
            "from anywhere": balanced(INSIDE, loadBalancerSourceRanges=["10.0.0.0/8", "0.0.0.0/0"]),
            "from anywhere, of IPv6": balanced(INSIDE, loadBalancerSourceRanges=["::/0"]),
            "from anywhere, by annotation": balanced({**INSIDE, RANGES: "10.0.0.0/8, 0.0.0.0/0"}),
            "takes addresses over": service(externalIPs=["203.0.113.1"]),
            "a patch": service(kind="core/v1:ServicePatch", type="LoadBalancer"),
            **{kind: ray(kind, serviceType="LoadBalancer") for kind in RAY},
            "a head's own service": ray(
                "ray.io/v1:RayCluster", headService={"spec": {"type": "LoadBalancer"}}
            ),
            "what asks for answers": asked(type="LoadBalancer"),
            "ingress": ingress("internet-facing"),
            "class of ingresses": of(
                "elbv2.k8s.aws/v1beta1:IngressClassParams", nested("spec.scheme", "internet-facing")
            ),
            "gateway's": of(
                "gateway.k8s.aws/v1beta1:LoadBalancerConfiguration",
                nested("spec.scheme", "internet-facing"),
            ),
        },
        passes={
            "of the cluster": service(type="ClusterIP"),
            "nothing said of how": service(ports=[{"port": 80}]),
            "the older annotation": balanced({INTERNAL: "true"}),
            "from the network": balanced(INSIDE, loadBalancerSourceRanges=["10.0.0.0/8"]),
            "one family": balanced({**INSIDE, FAMILY: "ipv4"}),
            "head of the cluster": ray("ray.io/v1:RayCluster", serviceType="ClusterIP"),
            "head inside": ray("ray.io/v1:RayCluster", INSIDE, serviceType="LoadBalancer"),
            "a job in a cluster of another's": of(
                "ray.io/v1:RayJob", {"spec": {"clusterSelector": {"ray.io/cluster": "one"}}}
            ),
            "ingress inside": ingress("internal"),
            "ingress that says nothing is inside": ingress(None),
            "ingress for all": ingress("internet-facing", "front"),
            "class of ingresses": of(
                "elbv2.k8s.aws/v1beta1:IngressClassParams", nested("spec.scheme", "internal")
            ),
        },
        pending={
            "spec": of(SERVICE, {"spec": UNKNOWN}),
            "type": service(type=UNKNOWN),
            "annotations": balanced(UNKNOWN),
            "scheme": balanced({SCHEME: UNKNOWN}),
            "older annotation": balanced({INTERNAL: UNKNOWN}),
            "addresses": service(externalIPs=UNKNOWN),
            "head": of("ray.io/v1:RayCluster", {"spec": UNKNOWN}),
            "ingress": ingress(UNKNOWN),
            "which ingress": ingress("internet-facing", UNKNOWN),
        },
    ),
    Cases(
        rule="node-port-is-forbidden",
        baseline=service(type="ClusterIP", ports=[{"port": 80}]),
        fails={
            "type": service(type="NodePort"),
            "a port": service(type="LoadBalancer", allocateLoadBalancerNodePorts=False, ports=PORT),
            "the second port": service(ports=[{"port": 80}, *PORT]),
            "of a load balancer": service(type="LoadBalancer"),
            "said, of a load balancer": balanced(INSIDE, allocateLoadBalancerNodePorts=True),
            "a patch": service(kind="core/v1:ServicePatch", type="NodePort"),
            **{kind: ray(kind, serviceType="NodePort") for kind in RAY},
            "a head's own service": ray(
                "ray.io/v1:RayCluster", headService={"spec": {"type": "NodePort"}}
            ),
            "what asks for answers": asked(type="NodePort"),
        },
        passes={
            "nothing said": service(),
            "of a load balancer without": balanced(INSIDE),
            "none chosen": service(type="ClusterIP", ports=[{"port": 80, "nodePort": 0}]),
            "port null": service(ports=[{"port": 80, "nodePort": None}]),
            "head of the cluster": ray("ray.io/v1:RayCluster", serviceType="ClusterIP"),
            "head inside": ray("ray.io/v1:RayCluster", INSIDE, serviceType="LoadBalancer"),
        },
        pending={
            "spec": of(SERVICE, {"spec": UNKNOWN}),
            "type": service(type=UNKNOWN),
            "ports": service(ports=UNKNOWN),
            "a port": service(ports=[{"port": 80, "nodePort": UNKNOWN}]),
            "of a load balancer": service(
                type="LoadBalancer", allocateLoadBalancerNodePorts=UNKNOWN
            ),
            "head": of("ray.io/v1:RayCluster", {"spec": UNKNOWN}),
        },
    ),
)
