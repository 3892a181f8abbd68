"""Rules on who may do what in a cluster: administrators, roles, service accounts and tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from policies.common.patterns import is_among
from policies.common.pods import describes_pods, kind_of, namespace_of, pods
from policies.common.properties import EACH, dotted, is_one_of, places
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending

_CLUSTER = "aws:eks/cluster:Cluster"
_ENTRY = "aws:eks/accessEntry:AccessEntry"
_ASSOCIATION = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
_ADMINISTRATORS = ("AmazonEKSClusterAdminPolicy", "AmazonEKSAdminPolicy")


class Entries(Parameters):
    """Who administers clusters."""

    breakGlassPrincipals: tuple[str, ...] = ()  # noqa: N815
    """ARNs, where ``*`` stands for anything."""


def access_is_limited(resource: Resource, parameters: Entries) -> Iterator[Finding]:
    """Whoever makes a cluster administers it for ever, unless told otherwise."""
    if resource.type == _CLUSTER:
        yield from is_one_of(resource, ("accessConfig", "authenticationMode"), ("API",))
        where = "accessConfig.bootstrapClusterCreatorAdminPermissions"
        creator = resource.at(*where.split("."))
        if creator is UNKNOWN:
            yield pending(resource, where)
        elif creator is not False:
            yield Finding(resource=resource, where=where, what="is not false")
    elif resource.type == _ENTRY:
        for where_, group in _entries(resource, "kubernetesGroups"):
            if group is UNKNOWN:
                yield pending(resource, where_)
            elif str(group).startswith("system:"):
                yield Finding(resource=resource, where=where_, what=f"is {group}")
    else:
        yield from _associated(resource, parameters)


def _entries(resource: Resource, name: str) -> Iterator[tuple[str, Any]]:
    values = resource.at(name)
    if values is UNKNOWN:
        yield name, UNKNOWN
    for index, value in enumerate(values if isinstance(values, list) else ()):
        yield f"{name}[{index}]", value


def _associated(association: Resource, parameters: Entries) -> Iterator[Finding]:
    policy, principal = association.at("policyArn"), association.at("principalArn")
    if policy is UNKNOWN:
        yield pending(association, "policyArn")
    elif str(policy).rpartition("/")[2] not in _ADMINISTRATORS:
        yield from is_one_of(association, ("accessScope", "type"), ("namespace",))
    elif principal is UNKNOWN:
        yield pending(association, "principalArn")
    elif not is_among(principal, parameters.breakGlassPrincipals):
        what = f"is {principal}, who administers and is not in breakGlassPrincipals"
        yield Finding(resource=association, where="principalArn", what=what)


_RBAC = "rbac.authorization.k8s.io"
_BINDINGS = ((_RBAC, "ClusterRoleBinding"), (_RBAC, "RoleBinding"))
_ROLES = ((_RBAC, "ClusterRole"), (_RBAC, "Role"))
_EVERYBODY = (
    *("system:anonymous", "system:unauthenticated", "system:authenticated", "system:masters"),
    "system:serviceaccounts",
)


def _kind(resource: Resource) -> tuple[str, str]:
    """Group and kind; a patch is judged like what it patches."""
    group, kind = kind_of(resource) or ("", "")
    return group, kind.removesuffix("Patch")


class Bindings(Parameters):
    """Which roles are bound to nobody."""

    forbiddenRoles: tuple[str, ...] = ("cluster-admin",)  # noqa: N815
    exemptBindings: tuple[str, ...] = ()  # noqa: N815
    """Names of bindings that may be to such a role all the same; ``*`` stands for anything."""


def cluster_admin_is_not_bound(binding: Resource, parameters: Bindings) -> Iterator[Finding]:
    """What administers the cluster reads every secret of it."""
    role, name = binding.at("roleRef", "name"), binding.at("metadata", "name")
    if role in parameters.forbiddenRoles:
        if name is UNKNOWN and parameters.exemptBindings:
            yield pending(binding, "roleRef.name", f"is {role}; of which binding is not known yet")
        elif not is_among(name, parameters.exemptBindings):
            yield Finding(resource=binding, where="roleRef.name", what=f"is {role}")
    elif role is UNKNOWN:
        yield pending(binding, "roleRef.name")
    for where in places(binding.properties, ("subjects", EACH)):
        subject = binding.at(*where, "name")
        if subject is UNKNOWN:
            yield pending(binding, dotted(where))
        elif subject in _EVERYBODY:
            yield Finding(resource=binding, where=dotted(where), what=f"is {subject}")


_TAKING_MORE = ("escalate", "bind", "impersonate")
_READING = ("get", "list", "watch")


class Roles(Parameters):
    """Which roles may have more."""

    exemptRoles: tuple[str, ...] = ()  # noqa: N815
    """Their names, where ``*`` stands for anything."""


def no_wildcard(role: Resource, parameters: Roles) -> Iterator[Finding]:
    """What matches everything matches what comes tomorrow, too."""
    name = role.at("metadata", "name")
    if is_among(name, parameters.exemptRoles):
        return
    for where in places(role.properties, ("rules", EACH)):
        rule = role.at(*where)
        lists = {
            key: at(rule, key) for key in ("verbs", "resources", "apiGroups", "nonResourceURLs")
        }
        unknown = [
            key
            for key, values in lists.items()
            if values is UNKNOWN or (isinstance(values, list) and UNKNOWN in values)
        ]
        if unknown:
            yield pending(role, dotted(where))
        for what in _too_much(role, rule, lists):
            if name is UNKNOWN and parameters.exemptRoles:
                yield pending(role, dotted(where), f"{what}; of which role is not known yet")
            else:
                yield Finding(resource=role, where=dotted(where), what=what)


def _too_much(role: Resource, rule: Any, lists: dict[str, Any]) -> Iterator[str]:
    said: dict[str, Sequence[Any]] = {
        key: values if isinstance(values, list) else () for key, values in lists.items()
    }
    for key, values in said.items():
        # a star after a slash is of all subresources of one name
        if any(one == "*" or (key == "resources" and "*" in str(one)) for one in values):
            yield f"has * in {key}"
    for verb in _TAKING_MORE:
        if verb in said["verbs"]:
            yield f"allows {verb}, by which it gets more"
    if "serviceaccounts/token" in said["resources"] and "create" in said["verbs"]:
        yield "allows to make tokens of service accounts"
    if (
        _kind(role)[1] == "ClusterRole"
        and "secrets" in said["resources"]
        and set(_READING) & set(said["verbs"])
        and is_missing(at(rule, "resourceNames"))
    ):
        yield "allows to read the secrets of all namespaces"


_ACCOUNT = ("core", "ServiceAccount")


class ApiAccess(Parameters):
    """Which service accounts ask the API server."""

    needsApiAccess: tuple[str, ...] = ()  # noqa: N815
    """``namespace/name`` of each, where ``*`` stands for anything."""
    exemptNamespaces: tuple[str, ...] = ()  # noqa: N815
    """Where the cluster's own pods run."""


def account_is_own(resource: Resource, parameters: ApiAccess) -> Iterator[Finding]:
    """A token in a pod is one more thing to steal."""
    namespace = namespace_of(resource)
    if namespace in parameters.exemptNamespaces:
        return
    if kind_of(resource) == _ACCOUNT:
        name, mounts = resource.at("metadata", "name"), resource.at("automountServiceAccountToken")
        if mounts is not False and not _needs(namespace, name, parameters):
            where, what = "automountServiceAccountToken", "is not false"
            yield _unless_unknown(resource, where, what, (mounts, namespace), parameters)
        return
    for pod in pods(resource):
        if pod.spec is UNKNOWN:
            yield pending(resource, pod.where)
            continue
        name = at(pod.spec, "serviceAccountName")
        name = at(pod.spec, "serviceAccount") if is_missing(name) else name
        if is_missing(name) or name in ("default", UNKNOWN):
            where = f"{pod.where}.serviceAccountName"
            what = "is not set" if is_missing(name) else "is default"
            yield _unless_unknown(resource, where, what, (name, namespace), parameters)
        mounts = at(pod.spec, "automountServiceAccountToken")
        allowed = is_missing(mounts) or mounts is False
        if not allowed and not _needs(namespace, name, parameters):
            where = f"{pod.where}.automountServiceAccountToken"
            yield _unless_unknown(resource, where, "is true", (mounts, namespace, name), parameters)


def _needs(namespace: Any, name: Any, parameters: ApiAccess) -> bool:
    if UNKNOWN in (namespace, name):
        return False
    return is_among(f"{namespace}/{name}", parameters.needsApiAccess)


def _unless_unknown(
    resource: Resource,
    where: str,
    what: str,
    asked: tuple[Any, ...],
    parameters: ApiAccess,
) -> Finding:
    """A finding; where an exempt one may be meant, or its value is not known, one that waits."""
    value, *whose = asked
    if value is UNKNOWN:
        return pending(resource, where)
    if UNKNOWN in whose and (parameters.needsApiAccess or parameters.exemptNamespaces):
        return pending(resource, where, f"{what}; of which namespace is not known yet")
    return Finding(resource=resource, where=where, what=what)


RULES = (
    Rule(
        name="eks-access-is-through-limited-entries",
        description="Nobody administers a cluster but those who are named for it.",
        mend="set accessConfig, and bind a group of your own to a limited role.",
        applies_to=lambda resource: resource.type in (_CLUSTER, _ENTRY, _ASSOCIATION),
        parameters=Entries,
        each=access_is_limited,
    ),
    Rule(
        name="cluster-admin-is-not-bound",
        description="No binding makes anybody the cluster's administrator, or is to everybody.",
        mend="bind a role with the needed verbs to the account that needs them.",
        applies_to=lambda resource: _kind(resource) in _BINDINGS,
        parameters=Bindings,
        each=cluster_admin_is_not_bound,
    ),
    Rule(
        name="rbac-has-no-wildcard",
        description="No role of a cluster allows everything, or to get more than it allows.",
        mend="list the verbs and resources.",
        applies_to=lambda resource: _kind(resource) in _ROLES,
        parameters=Roles,
        each=no_wildcard,
    ),
    Rule(
        name="service-account-is-own-and-without-token",
        description="Every pod has an account of its own, and a token only where it needs one.",
        mend="make a service account for the workload, with automountServiceAccountToken false.",
        applies_to=lambda resource: describes_pods(resource) or kind_of(resource) == _ACCOUNT,
        parameters=ApiAccess,
        each=account_is_own,
    ),
)
