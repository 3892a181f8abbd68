"""What every pod must be before the cluster takes it, judged by the API server itself.

Owns the policies and their bindings (`ValidatingAdmissionPolicy`, built into Kubernetes: no engine
that could be down). They judge pods, and the templates of what makes pods, so that whoever applies
a Deployment hears of it. Leaves signatures of images to Kyverno and the shape of a namespace to
`tenancy`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes.flows import NAMESPACE, TENANCY
from components.kubernetes.pools import TEAM
from components.kubernetes.priorities import FOR_TEAMS
from components.kubernetes.settings import AdmissionSettings

ACCOUNTS_OF_ALL = ("", "default", "workload")
"""As whom anybody who may start pods of a team may start them; the last is the team's own account
(`tenancy.SERVICE_ACCOUNT`), the first leaves the account out."""

_JUDGED = (
    ("", ("pods", "pods/ephemeralcontainers")),
    ("apps", ("deployments", "statefulsets", "daemonsets", "replicasets")),
    ("batch", ("jobs", "cronjobs")),
)
"""API group → resources. What operators make of their own kinds comes by as pods."""
_RAY = (("ray.io", ("rayclusters", "rayjobs")),)
_CONTROLLERS = (
    "request.userInfo.username.startsWith('system:serviceaccount:kube-system:')"
    " || request.userInfo.username == 'system:kube-controller-manager'"
)
"""CEL: whether Kubernetes itself asks, for whoever made what it goes by."""

_TEMPLATE = (
    "object.kind == 'Pod' ? object"
    " : (object.kind == 'CronJob' ? object.spec.jobTemplate.spec.template"
    " : object.spec.template)"
)
_VARIABLES = {
    "pod": _TEMPLATE,
    "containers": (
        "variables.pod.spec.containers"
        " + (has(variables.pod.spec.initContainers) ? variables.pod.spec.initContainers : [])"
        " + (has(variables.pod.spec.ephemeralContainers)"
        " ? variables.pod.spec.ephemeralContainers : [])"
    ),
    "own": (
        "variables.pod.spec.containers"
        " + (has(variables.pod.spec.initContainers) ? variables.pod.spec.initContainers : [])"
    ),
    "labels": ("has(variables.pod.metadata.labels) ? variables.pod.metadata.labels : {}"),
}
"""Name → CEL expression, for all policies; `own` leaves out those that a debugger adds, which have
no resources."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One policy."""

    holds: str
    """CEL expression: whether the object may come in."""
    message: str
    """CEL expression of the text that the user gets: what is wrong, and what to do."""
    in_teams: bool = False
    """Whether it is asked of teams' namespaces alone."""
    of_privilege: bool = False
    """Whether it is not asked where pods may reach into the node."""
    also: Sequence[tuple[str, Sequence[str]]] = ()
    """API group → resources that it judges besides, each in any version."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Its own, besides those of all policies."""


@dataclass(frozen=True, kw_only=True)
class AdmissionArgs:
    """What is asked."""

    settings: AdmissionSettings
    registry: pulumi.Input[str] | None = None
    """The place's own, where `settings` names none."""
    privileged: Collection[str] = ()
    """Namespaces whose pods may reach into the node (`operator_table.PRIVILEGED`): whatever else is
    asked of a pod is asked of them too."""

    def __post_init__(self) -> None:
        """Raises `ValueError` where any image would be refused."""
        if not self.settings.registries and self.registry is None:
            raise ValueError("admission.registries: is empty, and the place has no registry")


class Admission(pulumi.ComponentResource):
    """The policies; `ready` is what pods must wait for to be judged."""

    def __init__(
        self, name: str, args: AdmissionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Admission", name, None, opts)
        self.ready: list[pulumi.Resource] = []
        child = pulumi.ResourceOptions(parent=self)
        registries = pulumi.Output.all(*(args.settings.registries or (args.registry,)))
        # which policies there are does not hang on the registry, which may not be known yet
        for noun, shape in checks(args.settings, ()).items():
            policy = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicy(
                f"{name}-{noun}",
                metadata={"name": f"falaj-{noun}"},
                spec=registries.apply(functools.partial(_spec, args.settings, noun)),
                opts=child,
            )
            binding: Any = {
                "policyName": policy.metadata.name.apply(str),
                "validationActions": ["Deny", "Audit"],
                "matchResources": {
                    "namespaceSelector": _where(
                        sorted(
                            {
                                *args.settings.exempt_namespaces,
                                *(args.privileged if shape.of_privilege else ()),
                            }
                        ),
                        in_teams=shape.in_teams,
                    )
                },
            }
            self.ready.append(
                kubernetes.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
                    f"{name}-{noun}-binding",
                    metadata={"name": f"falaj-{noun}"},
                    spec=binding,
                    opts=child,
                )
            )
        self.register_outputs({})


def checks(settings: AdmissionSettings, registries: Sequence[str]) -> dict[str, Check]:
    """Every policy by its name."""
    return dict(_checks(settings, [f"{registry.rstrip('/')}/" for registry in registries]))


def _checks(settings: AdmissionSettings, registries: list[str]) -> Iterator[tuple[str, Check]]:
    known = f"{json.dumps(registries)}.exists(registry, c.image.startsWith(registry))"
    yield (
        "images",
        _of_containers(
            known,
            "'the image ' + c.image + ' is not from the registry in the country: copy it there "
            "(falaj images plan) and name it "
            + " or ".join(f"{registry}…" for registry in registries)
            + "'",
        ),
    )
    if settings.digests:
        yield (
            "digests",
            _of_containers(
                "c.image.matches('@sha256:[a-f0-9]{64}$')",
                "'the image ' + c.image + ' is named by a tag, which can be moved to another: "
                "add its digest, as falaj images lock writes it'",
            ),
        )
    yield (
        "limits",
        _of_containers(
            "has(c.resources) && has(c.resources.requests) && 'cpu' in c.resources.requests"
            " && 'memory' in c.resources.requests"
            " && has(c.resources.limits) && 'memory' in c.resources.limits",
            "'the container ' + c.name + ' lacks requests of cpu and memory or a limit of memory: "
            "say under resources what it needs'",
            among="own",
        ),
    )
    yield (
        "no-privilege",
        Check(
            holds=(
                "variables.containers.all(c, !(has(c.securityContext)"
                " && has(c.securityContext.privileged) && c.securityContext.privileged))"
                " && !(has(variables.pod.spec.hostNetwork) && variables.pod.spec.hostNetwork)"
                " && !(has(variables.pod.spec.hostPID) && variables.pod.spec.hostPID)"
                " && !(has(variables.pod.spec.hostIPC) && variables.pod.spec.hostIPC)"
                " && !(has(variables.pod.spec.volumes)"
                " && variables.pod.spec.volumes.exists(v, has(v.hostPath)))"
            ),
            message=(
                "'a privileged container, the network, processes or files of the host: a pod gets "
                "none of them; take securityContext.privileged, hostNetwork, hostPID, hostIPC and "
                "volumes of hostPath out'"
            ),
            of_privilege=True,
        ),
    )
    if settings.required_labels:
        wanted = json.dumps(settings.required_labels)
        yield (
            "labels",
            Check(
                holds=f"{wanted}.all(label, label in variables.labels)",
                message=(
                    f"'a pod needs the labels ' + {wanted}.filter(label, "
                    "!(label in variables.labels)).join(', ') + ': whose it is must be told'"
                ),
            ),
        )
    named = "has(variables.pod.spec.priorityClassName)"
    yield (
        "priority",
        Check(
            holds=(
                f"!{named} || variables.pod.spec.priorityClassName == ''"
                f" || variables.pod.spec.priorityClassName in {json.dumps(FOR_TEAMS)}"
            ),
            message=(
                "'the priority ' + variables.pod.spec.priorityClassName + ' is not for teams, who "
                f"have {', '.join(FOR_TEAMS)}'"
            ),
            in_teams=True,
        ),
    )
    tolerations = "has(variables.pod.spec.tolerations)"
    yield (
        "team-nodes",
        Check(
            # a toleration without a key bears every taint
            holds=(
                f"!{tolerations} || variables.pod.spec.tolerations.all(t, has(t.key)"
                f" && t.key != '' && (t.key != '{TEAM}'"
                " || (has(t.value) && t.value == namespaceObject.metadata.name)))"
            ),
            message=(
                f"'a toleration that bears the taint {TEAM} of another team, or every taint: name "
                f"the key of each taint, and of {TEAM} the value ' + namespaceObject.metadata.name"
            ),
            in_teams=True,
        ),
    )
    yield "accounts", _of_accounts()


def _of_accounts() -> Check:
    """Whoever may start pods would else have the rights of every account of the namespace, a
    release's among them."""
    taken = (
        f"a in {json.dumps(ACCOUNTS_OF_ALL)} || a in variables.earlier || {_CONTROLLERS}"
        " || authorizer.group('').resource('serviceaccounts').namespace(request.namespace).name(a)"
        ".check('impersonate').allowed()"
    )
    return Check(
        holds=f"variables.accounts.all(a, {taken})",
        message=(
            "'the account ' + variables.accounts.filter(a, "
            f"!(a in {json.dumps(ACCOUNTS_OF_ALL)} || a in variables.earlier))[0]"
            " + ' has rights of its own, which whoever starts a pod as it would get: take "
            f"{ACCOUNTS_OF_ALL[-1]}, or leave serviceAccountName out'"
        ),
        in_teams=True,
        also=_RAY,
        variables={
            "accounts": _accounts("object"),
            "earlier": f"request.operation == 'UPDATE' ? {_accounts('oldObject')} : []",
        },
    )


def _accounts(thing: str) -> str:
    """CEL expression: the accounts that the pods of `thing` name, Ray's kinds by both fields."""

    def of_cluster(spec: str) -> str:
        groups = f"has({spec}.workerGroupSpecs) ? {spec}.workerGroupSpecs.map(g, g.template) : []"
        return f"([{spec}.headGroupSpec.template] + ({groups}))"

    spec = f"{thing}.spec"
    of_job = (
        f"((has({spec}.rayClusterSpec) ? {of_cluster(f'{spec}.rayClusterSpec')} : [])"
        f" + (has({spec}.submitterPodTemplate) ? [{spec}.submitterPodTemplate] : []))"
    )
    templates = (
        f"({thing}.kind == 'RayCluster' ? {of_cluster(spec)}"
        f" : ({thing}.kind == 'RayJob' ? {of_job} : [{_TEMPLATE.replace('object', thing)}]))"
    )
    named = " + ".join(
        f"{templates}.filter(t, has(t.spec.{name})).map(t, t.spec.{name})"
        for name in ("serviceAccountName", "serviceAccount")
    )
    return f"({named})"


def _of_containers(holds: str, message: str, among: str = "containers") -> Check:
    """What must hold of each container `c`; the message is about the first of which it does not."""
    return Check(
        holds=f"variables.{among}.all(c, {holds})",
        message=f"variables.{among}.filter(c, !({holds})).map(c, {message})[0]",
    )


def _spec(settings: AdmissionSettings, noun: str, registries: Sequence[str]) -> Any:
    check = checks(settings, registries)[noun]
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [group],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": list(resources),
                }
                for group, resources in _JUDGED
            ]
            + [
                {
                    "apiGroups": [group],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": list(resources),
                }
                for group, resources in check.also
            ]
        },
        # what came in before may still get a label, lose a finalizer and go
        "matchConditions": [
            {
                "name": "content-changes",
                "expression": "request.operation == 'CREATE' || object.spec != oldObject.spec",
            }
        ],
        "variables": [
            {"name": name, "expression": expression}
            for name, expression in (*_VARIABLES.items(), *check.variables.items())
        ],
        "validations": [
            {
                "expression": check.holds,
                "messageExpression": check.message,
                "reason": "Forbidden",
            }
        ],
    }


def _where(exempt: Sequence[str], *, in_teams: bool) -> Any:
    chosen: dict[str, Any] = {}
    if exempt:
        chosen["matchExpressions"] = [
            {"key": NAMESPACE, "operator": "NotIn", "values": list(exempt)}
        ]
    if in_teams:
        chosen["matchLabels"] = {TENANCY: "team"}
    return chosen
