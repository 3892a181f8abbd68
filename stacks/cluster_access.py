"""Whether the cluster that a kubeconfig names may be deployed to, asked before anything is applied.

A deployment to a cluster that cannot be reached, that is the wrong one or too old would fail in the
middle, one object after the other. So it is stopped before, with what to do.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx

from components.contract import ContractError, PlatformOutputs
from components.kubernetes import owner
from components.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, public
from components.kubernetes.layer_settings import needs_of
from components.kubernetes.served_kinds import (
    ClusterProblem,
    problems_of_cluster,
    read_cluster,
    wanted_kinds,
)
from stacks.runner import is_offline
from stacks.settings import Settings

OLDEST, NEWEST = 31, 36
"""Minor versions of Kubernetes 1.x that the objects of the layer are written for: since 1.30
admission policies are judged by the server itself, and 1.36 is what the tests run against."""

_CONNECT_SECONDS = 10.0


class ClusterAccessError(Exception):
    """The cluster may not, or cannot, be deployed to; the message says why and what to do."""


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(one[4][0]) for one in found})


def require(
    settings: Settings,
    environ: Mapping[str, str] = os.environ,
    resolve: Callable[[str, int], Sequence[str]] = _addresses,
) -> None:
    """Raises `ClusterAccessError` unless the cluster of `settings` answers and suits them.

    Nothing is asked for a plan that reaches nothing, nor where the cluster is made here.
    """
    if is_offline(environ) or (settings.kubeconfig is None and settings.kubernetes is None):
        return
    with _named(settings.environment):
        if settings.kubeconfig is None:
            raise KubeconfigError("the kubeconfig is missing")
        access = Kubeconfig.of(settings.kubeconfig.get_secret_value())
        try:
            addresses = resolve(access.host, access.port)
        except OSError as error:
            raise KubeconfigError(
                f"{access.host}, the cluster's server, has no address here: {error}"
            ) from error
        if not settings.public_cluster and (reached := public(list(addresses))):
            raise KubeconfigError(
                f"{access.server} answers at {', '.join(reached)}, an address of the public "
                "internet, and this environment wants a private cluster: name another kubeconfig, "
                "close the endpoint, or say falaj:public_cluster: true where that is decided"
            )
        _require_version(access.server, version(access))
        _require_kinds(settings)
        _require_alone(settings.kubeconfig.get_secret_value(), access.server)


def require_workload(
    workload: str,
    platform: PlatformOutputs,
    deployment: Mapping[str, Any] | None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Raises `ContractError` where another stack deployed `workload` for the same team already.

    What else may be wrong with `deployment` is told by `components.workload.deploy`.
    """
    team = str((deployment or {}).get("team", ""))
    if is_offline(environ) or platform.kubeconfig is None or team not in (platform.teams or {}):
        return
    try:
        there = owner.of_workload(platform.kubeconfig, team, workload)
    except (ClusterProblem, KubeconfigError) as error:
        raise ContractError(f"{workload} for {platform.environment}: {error}") from None
    if there is not None and there != owner.mine():
        raise ContractError(
            f"{workload} of the team {team} in {platform.environment} is deployed by the stack "
            f"{there}, and {owner.mine()} would take it over: its servers would be changed by "
            "both and destroyed by either\n"
            f"  to go on with this stack alone:  pulumi destroy -s {there}, then this again\n"
            "  to keep both:                    give this workload another name, or another team\n"
            f"  where that stack is no more:     kubectl -n {team} annotate serviceaccount "
            f"{owner.marker(workload)} {owner.ANNOTATION}-"
        )


@contextlib.contextmanager
def _named(environment: str) -> Iterator[None]:
    try:
        yield
    except KubeconfigError as error:
        raise ClusterAccessError(
            f"{environment}: {error}\n"
            f"  to name a cluster: pulumi config set --secret -s {environment} falaj:kubeconfig "
            "< kubeconfig.yaml\n"
            f"  to look at the environment without one: falaj plan --offline -s {environment}"
        ) from None


def version(access: Kubeconfig) -> str:
    """The version that the server tells, such as ``v1.36.3``; empty where it tells nobody.

    Raises `KubeconfigError` where it does not answer, or is another than the kubeconfig says.
    """
    context = ssl.create_default_context(cadata=access.authority or None)
    try:
        with httpx.Client(verify=context, timeout=_CONNECT_SECONDS) as client:
            answer = client.get(f"{access.server}/version")
    except httpx.ConnectError as error:
        what = "shows another certificate" if "CERTIFICATE" in str(error) else "does not answer"
        raise KubeconfigError(f"the cluster at {access.server} {what}: {error}") from error
    except httpx.HTTPError as error:
        raise KubeconfigError(
            f"the cluster at {access.server} does not answer: {error or type(error).__name__}"
        ) from error
    # without a login some tell nothing, which says that they are there
    return str(answer.json().get("gitVersion", "")) if answer.is_success else ""


def _require_kinds(settings: Settings) -> None:
    """That the cluster serves the kinds of operators that somebody else brings."""
    operators = settings.staged.operators
    if operators is None or settings.kubeconfig is None:
        return
    pools = settings.kubernetes.pools_for_pods() if settings.kubernetes is not None else {}
    needed = wanted_kinds(operators, settings.environment, needs_of(settings, pools))
    try:
        cluster = read_cluster(settings.kubeconfig.get_secret_value())
    except ClusterProblem as error:
        raise KubeconfigError(str(error)) from error
    if problems := list(problems_of_cluster(cluster, list(needed))):
        raise KubeconfigError("\n  ".join(problems))


def _require_alone(kubeconfig: str, server: str) -> None:
    """That no other stack has its platform on the cluster: priorities and admission policies are of
    the whole cluster, so that two cannot stand on one, whatever their teams are called.
    """
    try:
        found = owner.of_namespaces(kubeconfig)
    except ClusterProblem as error:
        raise KubeconfigError(str(error)) from error
    found.pop(owner.mine(), None)
    for other, names in found.items():
        raise KubeconfigError(
            f"the cluster at {server} has the platform of the stack {other} (namespaces "
            f"{', '.join(sorted(names))}), and {owner.mine()} would take it over: its objects "
            "would be changed by both and destroyed by either; name another cluster, or first run: "
            f"pulumi destroy -s {other}; where that stack is no more: kubectl annotate namespace "
            f"{' '.join(sorted(names))} {owner.ANNOTATION}-"
        )


def _require_version(server: str, told: str) -> None:
    minor = re.match(r"v1\.(\d+)", told)
    if minor is not None and not OLDEST <= int(minor[1]) <= NEWEST:
        raise KubeconfigError(
            f"the cluster at {server} is Kubernetes {told}; the platform is for 1.{OLDEST} to "
            f"1.{NEWEST}"
        )
