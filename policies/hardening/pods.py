"""Rules on pods: none has more of its node than it needs.

The same as Pod Security's level ``restricted``, and what a quota needs, on what is deployed: also
inside custom resources, and before a cluster has seen it. Source: Kubernetes, Pod Security
Standards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from policies.common.pods import Pod, describes_pods, kind_of, namespace_of, pods
from policies.common.quantities import amount
from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending

Check = Callable[[Resource, Pod, Any], Iterator[Finding]]


class Exempt(Parameters):
    """Where pods reach into their nodes by trade: the mesh, drivers, agents."""

    exemptNamespaces: tuple[str, ...] = ()  # noqa: N815


class Capabilities(Exempt):
    """Which capabilities a container may add."""

    allowedAdds: tuple[str, ...] = ("NET_BIND_SERVICE",)  # noqa: N815


class Room(Exempt):
    """What a container must say of what it needs."""

    requireCpuLimit: bool = False  # noqa: N815


def pod_spec_is_found(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """An object in which no pod is found would pass every other rule."""
    found = pods(resource)
    borrowed = not is_missing(resource.at("spec", "clusterSelector"))
    if not found and not (kind_of(resource) == ("ray.io", "RayJob") and borrowed):
        yield Finding(resource=resource, where="spec", what="describes no pod")
    for pod in found:
        if pod.spec is UNKNOWN or at(pod.spec, "containers") is UNKNOWN:
            yield pending(resource, pod.where)
        elif is_missing(at(pod.spec, "containers")):
            yield Finding(resource=resource, where=f"{pod.where}.containers", what="is empty")


def each_pod(resource: Resource, parameters: Exempt, check: Check) -> Iterator[Finding]:
    """What `check` finds in each pod, but where pods are exempt."""
    namespace = namespace_of(resource)
    if namespace in parameters.exemptNamespaces:
        return
    for pod in pods(resource):
        if pod.spec is UNKNOWN:
            yield pending(resource, pod.where)
        else:
            for finding in check(resource, pod, parameters):
                if namespace is UNKNOWN and parameters.exemptNamespaces:
                    yield pending(resource, finding.where, f"{finding.what}; of which namespace?")
                else:
                    yield finding


def _is(resource: Resource, where: str, value: Any, allowed: Sequence[Any], what: str) -> Any:
    """What is to be said of `value`, which must be one of `allowed`."""
    if value is UNKNOWN:
        yield pending(resource, where)
    elif value not in allowed:
        yield Finding(resource=resource, where=where, what=what)


def privileged(resource: Resource, pod: Pod, _: Exempt) -> Iterator[Finding]:
    """A privileged container is root on its node."""
    for where, container in pod.containers():
        if container is UNKNOWN:
            yield pending(resource, where)
            continue
        for path, allowed, what in (
            (("privileged",), (ABSENT, None, False), "is true"),
            (("allowPrivilegeEscalation",), (False,), "is not false"),
            (("procMount",), (ABSENT, None, "", "Default"), "is not Default"),
            (("windowsOptions", "hostProcess"), (ABSENT, None, False), "is true"),
        ):
            value = at(container, "securityContext", *path)
            place = f"{where}.securityContext.{'.'.join(path)}"
            yield from _is(resource, place, value, allowed, what)


def host(resource: Resource, pod: Pod, _: Exempt) -> Iterator[Finding]:
    """The host's namespaces, files and ports are not a pod's."""
    for switch in ("hostNetwork", "hostPID", "hostIPC"):
        value = at(pod.spec, switch)
        yield from _is(resource, f"{pod.where}.{switch}", value, (ABSENT, None, False), "is true")
    volumes = at(pod.spec, "volumes")
    if volumes is UNKNOWN:
        yield pending(resource, f"{pod.where}.volumes")
    for index, volume in enumerate(volumes if isinstance(volumes, list) else ()):
        if volume is UNKNOWN:
            yield pending(resource, f"{pod.where}.volumes[{index}]")
        elif not is_missing(at(volume, "hostPath")):
            place = f"{pod.where}.volumes[{index}].hostPath"
            yield Finding(resource=resource, where=place, what="is a folder of the node")
    yield from _ports(resource, pod)


def _ports(resource: Resource, pod: Pod) -> Iterator[Finding]:
    for where, container in pod.containers():
        ports = at(container, "ports")
        if ports is UNKNOWN:
            yield pending(resource, f"{where}.ports")
        for index, port in enumerate(ports if isinstance(ports, list) else ()):
            place, value = f"{where}.ports[{index}].hostPort", at(port, "hostPort")
            yield from _is(resource, place, value, (ABSENT, None, 0), "is a port of the node")


def _effective(pod: Pod, container: Any, *path: str) -> Any:
    """What the container says, else what its pod says."""
    own = at(container, "securityContext", *path)
    return at(pod.spec, "securityContext", *path) if own in (ABSENT, None) else own


def non_root(resource: Resource, pod: Pod, _: Exempt) -> Iterator[Finding]:
    """Root in a container is one mistake away from root on the node."""
    for where, container in pod.containers():
        if container is UNKNOWN:
            yield pending(resource, where)
            continue
        place = f"{where}.securityContext"
        value = _effective(pod, container, "runAsNonRoot")
        yield from _is(resource, f"{place}.runAsNonRoot", value, (True,), "is not true")
        if _effective(pod, container, "runAsUser") == 0:
            yield Finding(resource=resource, where=f"{place}.runAsUser", what="is 0: root")
    if at(pod.spec, "securityContext", "fsGroup") == 0:
        place = f"{pod.where}.securityContext.fsGroup"
        yield Finding(resource=resource, where=place, what="is 0: root's group")


def capabilities(resource: Resource, pod: Pod, parameters: Capabilities) -> Iterator[Finding]:
    """Each capability is a part of root."""
    for where, container in pod.containers():
        place = f"{where}.securityContext.capabilities"
        dropped = at(container, "securityContext", "capabilities", "drop")
        added = at(container, "securityContext", "capabilities", "add")
        if UNKNOWN in (dropped, added):
            yield pending(resource, place)
            continue
        if "ALL" not in (dropped if isinstance(dropped, list) else ()):
            yield Finding(resource=resource, where=f"{place}.drop", what="does not hold ALL")
        for one in added if isinstance(added, list) else ():
            if one not in parameters.allowedAdds:
                allowed = ", ".join(parameters.allowedAdds) or "none"
                what = f"has {one}; allowed: {allowed}"
                yield Finding(resource=resource, where=f"{place}.add", what=what)


def read_only(resource: Resource, pod: Pod, _: Exempt) -> Iterator[Finding]:
    """What cannot write its own files cannot be made to keep an intruder's."""
    for where, container in pod.containers():
        value = at(container, "securityContext", "readOnlyRootFilesystem")
        place = f"{where}.securityContext.readOnlyRootFilesystem"
        yield from _is(resource, place, value, (True,), "is not true")


def seccomp(resource: Resource, pod: Pod, _: Exempt) -> Iterator[Finding]:
    """Without a profile a container may call all of the kernel."""
    for where, container in pod.containers():
        value = _effective(pod, container, "seccompProfile", "type")
        place = f"{where}.securityContext.seccompProfile.type"
        what = "is neither RuntimeDefault nor Localhost"
        yield from _is(resource, place, value, ("RuntimeDefault", "Localhost"), what)


def room(resource: Resource, pod: Pod, parameters: Room) -> Iterator[Finding]:
    """Who says nothing is placed anywhere, and takes what others need."""
    needed = [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")]
    needed += [("limits", "cpu")] if parameters.requireCpuLimit else []
    for where, container in pod.containers():
        resources = at(container, "resources")
        for path in needed:
            value = at(resources, *path)
            place = f"{where}.resources.{'.'.join(path)}"
            # a limit alone is the request too
            if path[0] == "requests" and value in (ABSENT, None):
                value = at(resources, "limits", path[1])
            if value is UNKNOWN:
                yield pending(resource, place)
            elif is_missing(value):
                yield Finding(resource=resource, where=place, what="is not set")
        yield from _above(resource, where, resources)


def _above(resource: Resource, where: str, resources: Any) -> Iterator[Finding]:
    """Requests that are above their limits, which no API server takes."""
    requests = at(resources, "requests")
    for name in requests if isinstance(requests, Mapping) else ():
        asked, limit = at(requests, name), at(resources, "limits", name)
        if UNKNOWN in (asked, limit) or is_missing(limit) or is_missing(asked):
            continue
        place = f"{where}.resources.requests.{name}"
        least, most = amount(asked), amount(limit)
        if least is None or most is None:
            what = f"is {asked}, its limit {limit}: one of them is no quantity"
            yield Finding(resource=resource, where=place, what=what)
        elif least > most:
            yield Finding(resource=resource, where=place, what=f"is {asked}, above {limit}")


def _rule(name: str, description: str, mend: str, parameters: type[Exempt], check: Check) -> Rule:
    return Rule(
        name=name,
        description=description,
        mend=mend,
        applies_to=describes_pods,
        parameters=parameters,
        each=partial(each_pod, check=check),
    )


RULES = (
    Rule(
        name="workload-pod-spec-is-found",
        description="Every object that makes pods says which, so that rules see them.",
        mend="write the pod's spec out in the object.",
        applies_to=describes_pods,
        each=pod_spec_is_found,
    ),
    _rule(
        "container-is-not-privileged",
        "No container is privileged or can become it.",
        "remove privileged and set allowPrivilegeEscalation to false.",
        Exempt,
        privileged,
    ),
    _rule(
        "pod-does-not-share-host",
        "No pod shares the namespaces, files or ports of its node.",
        "use a Service, a CSI volume or emptyDir.",
        Exempt,
        host,
    ),
    _rule(
        "container-runs-as-non-root",
        "No container runs as root.",
        "set runAsNonRoot and a user's number.",
        Exempt,
        non_root,
    ),
    _rule(
        "container-drops-all-capabilities",
        "No container has a capability that it was not given by name.",
        "set capabilities.drop to [ALL].",
        Capabilities,
        capabilities,
    ),
    _rule(
        "container-has-read-only-root",
        "No container can write its image's files.",
        "set readOnlyRootFilesystem, and mount an emptyDir where files are written.",
        Exempt,
        read_only,
    ),
    _rule(
        "pod-uses-default-seccomp",
        "Every container has a seccomp profile.",
        "set securityContext.seccompProfile.type of the pod to RuntimeDefault.",
        Exempt,
        seccomp,
    ),
    _rule(
        "container-sets-requests-and-limits",
        "Every container says what it needs and at most uses.",
        "set resources.requests and resources.limits.",
        Room,
        room,
    ),
)
