"""Cases of `policies/hardening/rbac.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import ACCOUNT, Cases, Change, mutated, resource
from rule_cases.pods import POD, everywhere, of

CLUSTER = "aws:eks/cluster:Cluster"
ENTRY = "aws:eks/accessEntry:AccessEntry"
ASSOCIATION = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
ACCESS = {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False}
APPLY = f"arn:aws:iam::{ACCOUNT}:role/falaj-prod-apply"


def cluster(**access: Any) -> list[Resource]:
    changes = (((name,), value) for name, value in access.items())
    return [resource(CLUSTER, "one", {"accessConfig": mutated(ACCESS, *changes)})]


def entry(groups: Any) -> list[Resource]:
    return [resource(ENTRY, "one", {"principalArn": APPLY, "kubernetesGroups": groups})]


def associated(policy: Any, principal: Any = APPLY, kind: Any = "cluster") -> list[Resource]:
    name = policy if policy is UNKNOWN else f"arn:aws:eks::aws:cluster-access-policy/{policy}"
    said = {"policyArn": name, "principalArn": principal, "accessScope": {"type": kind}}
    return [resource(ASSOCIATION, "one", said)]


RBAC = "rbac.authorization.k8s.io/v1"
BINDINGS = ("ClusterRoleBinding", "RoleBinding", "ClusterRoleBindingPatch", "RoleBindingPatch")
SUBJECT = {"kind": "ServiceAccount", "name": "app", "namespace": "risk"}
EVERYBODY = (
    *("system:anonymous", "system:unauthenticated", "system:authenticated", "system:masters"),
    "system:serviceaccounts",
)


def bound(
    to: Any, *subjects: Any, kind: str = "ClusterRoleBinding", name: Any = "it"
) -> list[Resource]:
    said = {
        "metadata": {"name": name},
        "roleRef": {"kind": "ClusterRole", "name": to},
        "subjects": list(subjects or (SUBJECT,)),
    }
    return [resource(f"kubernetes:{RBAC}:{kind}", "it", said)]


def group(name: Any) -> dict[str, Any]:
    return {"kind": "Group", "name": name}


GRANT: dict[str, Any] = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


def role(kind: str = "ClusterRole", name: Any = "it", **change: Any) -> list[Resource]:
    rules = [GRANT, {**GRANT, **change}]
    metadata = {"name": name, "namespace": "risk"}
    return [resource(f"kubernetes:{RBAC}:{kind}", "it", {"metadata": metadata, "rules": rules})]


OWN = POD | {"serviceAccountName": "app"}


def pod(*changes: Change, namespace: Any = "risk") -> list[Resource]:
    spec = mutated(OWN, *changes)
    return of("apps/v1:Deployment", {"spec": {"template": {"spec": spec}}}, namespace)


def account(mounts: Any = ABSENT, name: Any = "app", namespace: Any = "risk") -> list[Resource]:
    said: dict[str, Any] = {"metadata": {"name": name, "namespace": namespace}}
    if mounts is not ABSENT:
        said["automountServiceAccountToken"] = mounts
    return [resource("kubernetes:core/v1:ServiceAccount", "app", said)]


MOUNTS: Change = (("automountServiceAccountToken",), True)
OPERATOR = (("serviceAccountName",), "operator")

CASES = (
    Cases(
        rule="eks-access-is-through-limited-entries",
        parameters={"breakGlassPrincipals": ["arn:aws:iam::*:role/falaj-prod-apply"]},
        baseline=cluster(),
        fails={
            "nothing said": [resource(CLUSTER, "one", {})],
            "by a ConfigMap": cluster(authenticationMode="CONFIG_MAP"),
            "by both": cluster(authenticationMode="API_AND_CONFIG_MAP"),
            "not said how": cluster(authenticationMode=ABSENT),
            "its maker for ever": cluster(bootstrapClusterCreatorAdminPermissions=True),
            "its maker, not said": cluster(bootstrapClusterCreatorAdminPermissions=ABSENT),
            "masters": entry(["system:masters"]),
            "nodes, among others": entry(["app", "system:nodes"]),
            "somebody administers": associated("AmazonEKSClusterAdminPolicy", f"{APPLY}-2"),
            "somebody administers a part": associated(
                "AmazonEKSAdminPolicy", f"{APPLY}-2", "namespace"
            ),
            "somebody sees all": associated("AmazonEKSViewPolicy"),
        },
        passes={
            "a group of the owner's": entry(["risk-readers"]),
            "no group": entry(None),
            "who deploys administers": associated("AmazonEKSClusterAdminPolicy"),
            "somebody sees a part": associated("AmazonEKSViewPolicy", f"{APPLY}-2", "namespace"),
        },
        pending={
            "access": [resource(CLUSTER, "one", {"accessConfig": UNKNOWN})],
            "maker": cluster(bootstrapClusterCreatorAdminPermissions=UNKNOWN),
            "groups": entry(UNKNOWN),
            "a group": entry([UNKNOWN]),
            "policy": associated(UNKNOWN),
            "who": associated("AmazonEKSClusterAdminPolicy", UNKNOWN),
            "where": associated("AmazonEKSViewPolicy", kind=UNKNOWN),
        },
    ),
    Cases(
        rule="cluster-admin-is-not-bound",
        parameters={"exemptBindings": ["backup"]},
        baseline=bound("view"),
        fails={
            **{kind: bound("cluster-admin", kind=kind) for kind in BINDINGS},
            **{name: bound("view", SUBJECT, group(name)) for name in EVERYBODY},
            "everybody, in a binding that may": bound("view", group(EVERYBODY[0]), name="backup"),
        },
        passes={
            "a binding that may": bound("cluster-admin", name="backup"),
            "a name that begins alike": bound("cluster-admin-lite"),
            "accounts of one namespace": bound("view", group("system:serviceaccounts:risk")),
            "nobody": [
                resource(f"kubernetes:{RBAC}:RoleBinding", "it", {"roleRef": {"name": "view"}})
            ],
        },
        pending={
            "role": bound(UNKNOWN),
            "who": bound("view", group(UNKNOWN)),
            "which binding": bound("cluster-admin", name=UNKNOWN),
        },
    ),
    Cases(
        rule="rbac-has-no-wildcard",
        parameters={"exemptRoles": ["operator", "velero-*"]},
        baseline=role(),
        fails={
            **{
                kind: role(kind, verbs=["*"])
                for kind in ("ClusterRole", "Role", "ClusterRolePatch", "RolePatch")
            },
            "resources": role(resources=["pods", "*"]),
            "scale of all": role(resources=["*/scale"]),
            "groups": role(apiGroups=["*"]),
            "paths": role(nonResourceURLs=["*"]),
            **{verb: role(verbs=[verb]) for verb in ("escalate", "bind", "impersonate")},
            "tokens": role(resources=["serviceaccounts/token"], verbs=["create"]),
            **{
                f"{verb} of all secrets": role(resources=["secrets"], verbs=[verb])
                for verb in ("get", "list", "watch")
            },
        },
        passes={
            "an operator's": role(name="operator", verbs=["*"]),
            "one of an operator's": role(name="velero-server", verbs=["*"]),
            "below a path": role(nonResourceURLs=["/healthz/*"]),
            "secrets of one namespace": role("Role", resources=["secrets"]),
            "secrets by name": role(resources=["secrets"], resourceNames=["one"]),
            "writes secrets": role(resources=["secrets"], verbs=["create"]),
            "looks at tokens": role(resources=["serviceaccounts/token"], verbs=["get"]),
            "made of others": [
                resource(f"kubernetes:{RBAC}:ClusterRole", "it", {"aggregationRule": {}})
            ],
        },
        pending={
            "rules": [resource(f"kubernetes:{RBAC}:Role", "it", {"rules": UNKNOWN})],
            "verbs": role(verbs=UNKNOWN),
            "a verb": role(verbs=["get", UNKNOWN]),
            "which role": role(name=UNKNOWN, verbs=["*"]),
        },
    ),
    Cases(
        rule="service-account-is-own-and-without-token",
        parameters={
            "needsApiAccess": ["risk/operator", "queues/*"],
            "exemptNamespaces": ["kube-system"],
        },
        baseline=[*pod(), *account(False)],
        fails={
            "none": pod((("serviceAccountName",), ABSENT)),
            "default": pod((("serviceAccountName",), "default")),
            "empty": pod((("serviceAccountName",), "")),
            "default, by its old name": pod(
                (("serviceAccountName",), ABSENT), (("serviceAccount",), "default")
            ),
            "none, of an operator's namespace": pod(
                (("serviceAccountName",), ABSENT), namespace="queues"
            ),
            "a pod takes a token": pod(MOUNTS),
            "an account gives one": account(True),
            "an account says nothing": account(),
            "an account of another namespace": account(name="operator", namespace="other"),
            **everywhere(POD, OWN),
        },
        passes={
            "in every place": [one for stack in everywhere(OWN, OWN).values() for one in stack],
            "by its old name": pod((("serviceAccountName",), ABSENT), (("serviceAccount",), "app")),
            "said not to": pod((("automountServiceAccountToken",), False)),
            "an operator": [*pod(OPERATOR, MOUNTS), *account(name="operator")],
            "any of a namespace": account(True, namespace="queues"),
            "of the cluster's own": [
                *pod((("serviceAccountName",), ABSENT), namespace="kube-system"),
                *account(namespace="kube-system"),
            ],
            "the default of a namespace": account(False, name="default"),
        },
        pending={
            "account": pod((("serviceAccountName",), UNKNOWN)),
            "token": pod((("automountServiceAccountToken",), UNKNOWN)),
            "an account's": account(UNKNOWN),
            "whole pod": of("apps/v1:Deployment", {"spec": {"template": {"spec": UNKNOWN}}}),
            "namespace": pod((("serviceAccountName",), ABSENT), namespace=UNKNOWN),
            "namespace of an account": account(True, namespace=UNKNOWN),
        },
    ),
)
