"""Rules on clusters: which one a program deploys to, and where its pods may connect to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from policies.common.arns import host_of, is_host_among, region_of_host
from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.residency.regions import Regions

_PROVIDER = "pulumi:providers:kubernetes"
_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_ENTRIES = frozenset(
    f"kubernetes:networking.istio.io/{version}:ServiceEntry"
    for version in ("v1", "v1beta1", "v1alpha3")
)


class Clusters(Regions):
    """Which clusters a program may deploy to, besides those of EKS in `allowedRegions`."""

    allowedClusterHosts: tuple[str, ...] = ()  # noqa: N815
    """Of API servers; ``*.example.ae`` stands for any name below a domain."""


def provider_targets(provider: Resource, parameters: Clusters) -> Iterator[Finding]:
    """Without a kubeconfig of its own it takes whichever cluster a workstation was at last."""
    if not is_missing(provider.at("renderYamlToDirectory")):
        return
    said = provider.at("kubeconfig")
    config = _loaded(said)
    if said is UNKNOWN or config is UNKNOWN:
        yield pending(provider, "kubeconfig")
    elif is_missing(said):
        what = "is not set: the context of whoever deploys decides"
        yield Finding(resource=provider, where="kubeconfig", what=what)
    elif not isinstance(config, Mapping):
        what = "is no kubeconfig; one that a path names is that of whoever deploys"
        yield Finding(resource=provider, where="kubeconfig", what=what)
    else:
        yield from _target(provider, config, parameters)


def _loaded(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return ABSENT


def _target(
    provider: Resource, config: Mapping[str, Any], parameters: Clusters
) -> Iterator[Finding]:
    """The cluster that is used: by name, by the context that is named, or by the current one."""
    context, name = provider.at("context"), provider.at("cluster")
    context = at(config, "current-context") if is_missing(context) else context
    if is_missing(name):
        name = UNKNOWN if context is UNKNOWN else at(_named(config, "context", context), "cluster")
    if name is UNKNOWN:
        yield pending(provider, "kubeconfig")
        return
    cluster = _named(config, "cluster", name)
    server = at(cluster, "server")
    if UNKNOWN in (cluster, server):
        yield pending(provider, "kubeconfig")
    elif is_missing(server):
        what = "names no server for the context that is used"
        yield Finding(resource=provider, where="kubeconfig", what=what)
    else:
        yield from _host(provider, "server", str(server), parameters)
    proxy = at(cluster, "proxy-url")
    if proxy is not UNKNOWN and not is_missing(proxy):
        yield from _host(provider, "proxy-url", str(proxy), parameters)
    if at(cluster, "insecure-skip-tls-verify") is True:
        what = "says insecure-skip-tls-verify: any server is believed to be the cluster"
        yield Finding(resource=provider, where="kubeconfig", what=what)


def _named(config: Mapping[str, Any], kind: str, name: Any) -> Any:
    listed = at(config, f"{kind}s")
    if listed is UNKNOWN:
        return UNKNOWN
    for one in listed if isinstance(listed, list) else ():
        if one is UNKNOWN or at(one, "name") == name:
            return at(one, kind)
    return ABSENT


def _host(provider: Resource, part: str, url: str, parameters: Clusters) -> Iterator[Finding]:
    host = host_of(url) or ""
    region = region_of_host(host)
    allowed = ", ".join((*parameters.allowedRegions, *parameters.allowedClusterHosts))
    ours = part == "server" and region in parameters.allowedRegions and ".eks" in f".{host}"
    if not ours and not is_host_among(host, parameters.allowedClusterHosts):
        what = f"is {host}, which is no EKS in a region, nor a host, that is allowed: {allowed}"
        yield Finding(resource=provider, where=f"{part} of kubeconfig", what=what)


class Egress(Parameters):
    """Where pods may connect to."""

    privateCidrs: tuple[str, ...] = (  # noqa: N815
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
        *("169.254.0.0/16", "fc00::/7", "fe80::/10"),
    )
    openPorts: tuple[int | str, ...] = (53, "dns", "dns-tcp")  # noqa: N815
    """Numbers or names, at which anybody may be asked."""
    allowedHosts: tuple[str, ...] = ("*.me-central-1.amazonaws.com",)  # noqa: N815
    """``*.example.ae`` stands for any name below a domain."""


def cluster_egress(resource: Resource, parameters: Egress) -> Iterator[Finding]:
    """What pods may reach abroad, data may leave to."""
    if resource.type == _POLICY:
        rules = resource.at("spec", "egress")
        if rules is UNKNOWN:
            yield pending(resource, "spec.egress")
        for index, rule in enumerate(rules if isinstance(rules, list) else ()):
            yield from _rule(resource, f"spec.egress[{index}]", rule, parameters)
    elif resource.at("spec") is UNKNOWN or resource.at("spec", "location") is UNKNOWN:
        yield pending(resource, "spec.location")
    elif resource.at("spec", "location") != "MESH_INTERNAL":
        yield from _entry(resource, parameters)


def _rule(resource: Resource, where: str, rule: Any, parameters: Egress) -> Iterator[Finding]:
    peers = at(rule, "to")
    if peers is UNKNOWN:
        yield pending(resource, f"{where}.to")
    elif is_missing(peers):
        ports = at(rule, "ports")
        listed = ports if isinstance(ports, list) else []
        if UNKNOWN in (rule, ports) or any(at(one, "port") is UNKNOWN for one in listed):
            yield pending(resource, f"{where}.ports")
        elif not listed or not all(_is_open(one, parameters) for one in listed):
            open_ = ", ".join(map(str, parameters.openPorts))
            what = f"names nobody, so that all of the internet is meant; allowed for ports {open_}"
            yield Finding(resource=resource, where=f"{where}.to", what=what)
    for index, peer in enumerate(peers if isinstance(peers, list) else ()):
        place, cidr = f"{where}.to[{index}].ipBlock.cidr", at(peer, "ipBlock", "cidr")
        if cidr is UNKNOWN:
            yield pending(resource, place)
        elif not is_missing(cidr) and not _is_private(cidr, parameters.privateCidrs):
            what = f"is {cidr}; allowed: {', '.join(parameters.privateCidrs)}"
            yield Finding(resource=resource, where=place, what=what)


def _is_open(port: Any, parameters: Egress) -> bool:
    return at(port, "port") in parameters.openPorts and is_missing(at(port, "endPort"))


def _is_private(cidr: Any, private: Sequence[str]) -> bool:
    try:
        asked = ipaddress.ip_network(str(cidr), strict=False)
    except ValueError:
        return False
    for one in map(ipaddress.ip_network, private):
        if one.version == asked.version and asked.subnet_of(one):  # type: ignore[arg-type]
            return True
    return False


def _entry(entry: Resource, parameters: Egress) -> Iterator[Finding]:
    """A host is but a name where addresses are said, too."""
    allowed = ", ".join(parameters.allowedHosts) or "none"
    hosts, ends = entry.at("spec", "hosts"), entry.at("spec", "endpoints")
    asked = [
        *((f"spec.hosts[{i}]", one) for i, one in enumerate(_listed(hosts))),
        *(
            (f"spec.endpoints[{i}].address", at(one, "address"))
            for i, one in enumerate(_listed(ends))
        ),
    ]
    for where, host in (("spec.hosts", hosts), ("spec.endpoints", ends)):
        if host is UNKNOWN:
            yield pending(entry, where)
    for where, host in asked:
        if host is UNKNOWN:
            yield pending(entry, where)
        elif is_missing(host) or _is_private(host, parameters.privateCidrs):
            continue
        elif not is_host_among(str(host), parameters.allowedHosts):
            yield Finding(resource=entry, where=where, what=f"is {host}; allowed: {allowed}")


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


RULES = (
    Rule(
        name="kubernetes-provider-targets-in-region-cluster",
        description="Every Kubernetes provider is bound to a cluster in the country.",
        mend="build the kubeconfig from the cluster of the program and pass it to the provider.",
        applies_to=lambda resource: resource.type == _PROVIDER,
        parameters=Clusters,
        each=provider_targets,
    ),
    Rule(
        name="cluster-egress-goes-to-allowed-hosts",
        description="Pods connect to private addresses and to hosts that are allowed.",
        mend="go through a VPC endpoint, or list the host that was approved.",
        applies_to=lambda resource: resource.type == _POLICY or resource.type in _ENTRIES,
        parameters=Egress,
        each=cluster_egress,
    ),
)
