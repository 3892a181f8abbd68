"""What every pod must be before the cluster takes it, judged by the API server itself.

Owns the policies and their bindings, and what is asked of teams alone. What is asked of every pod,
and the shape of a policy, are `policies.guards`', which the packs' rules stand on too. Leaves
signatures of images to Kyverno and the shape of a namespace to `tenancy`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes.flows import TENANCY
from components.kubernetes.pools import TEAM
from components.kubernetes.priorities import FOR_TEAMS
from components.kubernetes.settings import AdmissionSettings
from policies.guards import admission, pods
from policies.guards.admission import TEMPLATE, Check, Level
from policies.guards.pods import NOUNS, Noun, PodRules

ACCOUNTS_OF_ALL = ("", "default", "workload")
"""As whom anybody who may start pods of a team may start them; the last is the team's own account
(`tenancy.SERVICE_ACCOUNT`), the first leaves the account out."""

_RAY = (("ray.io", ("rayclusters", "rayjobs")),)
_CONTROLLERS = (
    "request.userInfo.username.startsWith('system:serviceaccount:kube-system:')"
    " || request.userInfo.username == 'system:kube-controller-manager'"
)
"""CEL: whether Kubernetes itself asks, for whoever made what it goes by."""

_TEAMS = {TENANCY: "team"}
"""By what teams' namespaces are told from others."""


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
        for noun, check in checks(args, ("registry",)).items():
            policy = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicy(
                f"{name}-{noun}",
                metadata={"name": f"falaj-{noun}"},
                spec=registries.apply(functools.partial(_spec, args, noun)),
                opts=child,
            )
            binding: Any = admission.binding(check, policy.metadata.name.apply(str))
            self.ready.append(
                kubernetes.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
                    f"{name}-{noun}-binding",
                    metadata={"name": f"falaj-{noun}"},
                    spec=binding,
                    opts=child,
                )
            )
        self.register_outputs({})


def checks(args: AdmissionArgs, registries: Sequence[str]) -> dict[str, Check]:
    """Every policy by its name: what is asked of pods everywhere, and of teams besides."""
    settings = args.settings
    levels: dict[Noun, Level] = dict.fromkeys(NOUNS, "deny")
    if not settings.digests:
        del levels["digests"]
    everywhere = pods.checks(
        PodRules(
            registries=registries,
            levels=levels,
            required_labels=settings.required_labels,
            exempt_namespaces=tuple(settings.exempt_namespaces),
            exempt={"no-privilege": tuple(args.privileged)},
        )
    )
    of_teams = {
        "priority": _of_priority(),
        "team-nodes": _of_nodes(),
        "accounts": _of_accounts(),
    }
    exempt = sorted(settings.exempt_namespaces)
    return everywhere | {
        noun: replace(check, within=_TEAMS, exempt=exempt) for noun, check in of_teams.items()
    }


def _of_priority() -> Check:
    named = "has(variables.pod.spec.priorityClassName)"
    return Check(
        holds=(
            f"!{named} || variables.pod.spec.priorityClassName == ''"
            f" || variables.pod.spec.priorityClassName in {json.dumps(FOR_TEAMS)}"
        ),
        message=(
            "'the priority ' + variables.pod.spec.priorityClassName + ' is not for teams, who "
            f"have {', '.join(FOR_TEAMS)}'"
        ),
    )


def _of_nodes() -> Check:
    tolerations = "has(variables.pod.spec.tolerations)"
    return Check(
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
    )


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
        f" : ({thing}.kind == 'RayJob' ? {of_job} : [{TEMPLATE.replace('object', thing)}]))"
    )
    named = " + ".join(
        f"{templates}.filter(t, has(t.spec.{name})).map(t, t.spec.{name})"
        for name in ("serviceAccountName", "serviceAccount")
    )
    return f"({named})"


def _spec(args: AdmissionArgs, noun: str, registries: Sequence[str]) -> Any:
    return admission.policy(checks(args, registries)[noun])
