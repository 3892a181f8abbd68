"""Cases of `policies/residency/clusters.py`."""

from __future__ import annotations

import json
from typing import Any

import yaml

from policies.common.resources import UNKNOWN, Resource
from rule_cases import Cases, resource
from rule_cases.namespaces import hidden, inside

SERVER = "https://ABCDEF.gr7.me-central-1.eks.amazonaws.com"


def config(server: Any = SERVER, **cluster: Any) -> dict[str, Any]:
    """A kubeconfig with a cluster abroad beside the one that is used."""
    return {
        "current-context": "here",
        "contexts": [
            {"name": "there", "context": {"cluster": "abroad"}},
            {"name": "here", "context": {"cluster": "home"}},
        ],
        "clusters": [
            {"name": "abroad", "cluster": {"server": SERVER.replace("me-central-1", "us-east-1")}},
            {"name": "home", "cluster": {"server": server, **cluster}},
        ],
    }


def provider(kubeconfig: Any, **more: Any) -> list[Resource]:
    """A provider."""
    if isinstance(kubeconfig, dict):
        kubeconfig = json.dumps(kubeconfig)
    properties = {"kubeconfig": kubeconfig, **more}
    return [resource("pulumi:providers:kubernetes", "cluster", properties)]


POLICY = "networking.k8s.io/v1:NetworkPolicy"


def policy(*rules: Any) -> list[Resource]:
    """A policy with rules for what goes out."""
    return [inside(POLICY, {"podSelector": {}, "egress": list(rules)})]


def to(cidr: Any) -> list[Resource]:
    """A policy that lets pods connect to `cidr`."""
    return policy({"to": [{"podSelector": {}}, {"ipBlock": {"cidr": cidr}}]})


def ports(*numbers: Any) -> list[Resource]:
    """A policy that lets pods connect to anybody."""
    return policy({"ports": [{"port": number} for number in numbers]})


def entry(*hosts: Any, version: str = "v1", **spec: Any) -> list[Resource]:
    """What the mesh knows of outside."""
    spec = {"hosts": list(hosts), **spec}
    return [inside(f"networking.istio.io/{version}:ServiceEntry", spec)]


AWS = "sts.me-central-1.amazonaws.com"

CASES = (
    Cases(
        rule="kubernetes-provider-targets-in-region-cluster",
        baseline=provider(config()),
        fails={
            "not set": provider(None),
            "a path": provider("~/.kube/config"),
            "no YAML": provider("{"),
            "abroad": provider(config(SERVER.replace("me-central-1", "eu-west-1"))),
            "abroad, by its context": provider(config(), context="there"),
            "abroad, by its cluster": provider(config(), cluster="abroad"),
            "of somebody else": provider(config("https://cluster.example.org:6443")),
            "of somebody else, with a name that looks right": provider(
                config(f"{SERVER}.example.org")
            ),
            "no EKS": provider(config("https://ec2.me-central-1.amazonaws.com")),
            "through a proxy": provider(config(**{"proxy-url": "https://proxy.example.org"})),
            "whoever answers": provider(config(**{"insecure-skip-tls-verify": True})),
            "no such context": provider(config(), context="nowhere"),
        },
        passes={
            "in YAML": provider(yaml.safe_dump(config())),
            "as an object": [
                resource("pulumi:providers:kubernetes", "cluster", {"kubeconfig": config()})
            ],
            "of the organisation": provider(config("https://api.cluster.bank.ae:6443")),
            "by both stacks": provider(config("https://ABC.eks-cluster.me-central-1.api.aws")),
            "files alone": provider(None, renderYamlToDirectory="out"),
            "no proxy": provider(config(**{"proxy-url": ""})),
        },
        pending={
            "kubeconfig": provider(UNKNOWN),
            "context": provider(config(), context=UNKNOWN),
        },
        parameters={"allowedClusterHosts": ["*.cluster.bank.ae"]},
    ),
    Cases(
        rule="cluster-egress-goes-to-allowed-hosts",
        baseline=to("10.1.0.0/16"),
        fails={
            "anywhere": to("0.0.0.0/0"),
            "anywhere, in new addresses": to("::/0"),
            "somewhere": to("203.0.113.0/24"),
            "more than is private": to("10.0.0.0/7"),
            "no range": to("home"),
            "anybody": policy({}),
            "anybody, at a port": ports(443),
            "anybody, at ports": ports(53, 443),
            "anybody, from a port on": policy({"ports": [{"port": 53, "endPort": 443}]}),
            "nobody, which is anybody": policy({"to": [], "ports": [{"port": 443}]}),
            "a host": entry("huggingface.co"),
            "one of two": entry(AWS, "huggingface.co", version="v1beta1"),
            "in another region": entry("s3.eu-west-1.amazonaws.com", version="v1alpha3"),
            "an address behind a name": entry(AWS, endpoints=[{"address": "203.0.113.1"}]),
            "outside, as said": entry("huggingface.co", location="MESH_EXTERNAL"),
        },
        passes={
            "pods": policy({"to": [{"namespaceSelector": {}}]}),
            "names": ports(53),
            "names by the port's name": ports("dns"),
            "one address": to("169.254.170.23/32"),
            "new addresses": to("fd00::/8"),
            "nothing": policy(),
            "a host": entry(AWS),
            "inside": entry("anything", location="MESH_INTERNAL"),
            "an address inside": entry(AWS, endpoints=[{"address": "10.1.2.3"}]),
        },
        pending={
            "range": to(UNKNOWN),
            "whom": policy({"to": UNKNOWN}),
            "rules": [inside(POLICY, {"egress": UNKNOWN})],
            "ports": policy({"ports": UNKNOWN}),
            "host": entry(UNKNOWN),
            "where": entry(AWS, location=UNKNOWN),
            "endpoints": entry(AWS, endpoints=UNKNOWN),
            "everything": [inside("networking.istio.io/v1:ServiceEntry", UNKNOWN), hidden(POLICY)],
        },
    ),
)
