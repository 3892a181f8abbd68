"""Whether a cluster serves the kinds that the platform's objects are of, asked before any is made.

Owns the judgement over what a cluster says of itself (`discovery`), and a thin reader of that. A
kind counts if the cluster serves it in the version that our objects name, or if a chart of the same
update brings it. Leaves to `stacks/cluster_access.py` whether the cluster may be deployed to at
all, and which versions of Kubernetes have the kinds of its own.

On a cluster: ``kubectl get --raw /apis`` shows what is read here.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pulumi

from components.kubernetes.kubeconfig import Kubeconfig
from components.kubernetes.operator_table import OPERATORS, ServedKind
from components.kubernetes.operators_settings import (
    Needs,
    OperatorsSettings,
    made_here,
    wanted,
)

_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_SECONDS = 20.0
_TOKEN_SECONDS = 60.0


class ClusterProblem(Exception):  # noqa: N818
    """What keeps a cluster from taking the platform; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What a cluster says of itself."""

    kinds: Mapping[str, frozenset[str]]
    """Kind with its group, such as ``RayCluster.ray.io`` → the versions in which it is served."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Kinds that must be there, and who was to bring them."""

    kinds: Sequence[ServedKind]
    operator: str
    installed: str = ""
    """Who brings the operator, by the settings; empty where a chart of this update does."""


def wanted_kinds(settings: OperatorsSettings, environment: str, needs: Needs) -> Iterator[Wanted]:
    """What the platform's objects need of a cluster, operator by operator."""
    made = made_here(settings, environment, needs)
    for name in wanted(settings, environment, needs):
        if OPERATORS[name].kinds:
            yield Wanted(
                kinds=OPERATORS[name].kinds,
                operator=name,
                installed="" if name in made else settings.installed[name],
            )


def problems_of_cluster(cluster: Cluster, needed: Sequence[Wanted]) -> list[str]:
    """What `cluster` lacks of `needed`: each names kind, version and the setting to change.

    A kind that a chart of this update brings is not asked after, whatever is there now.
    """
    return [
        _told(cluster, one, api_version, kind)
        for one in needed
        if one.installed
        for api_version, kind in one.kinds
        if _is_missing(cluster, api_version, kind)
    ]


def _is_missing(cluster: Cluster, api_version: str, kind: str) -> bool:
    group, _, version = api_version.rpartition("/")
    return version not in cluster.kinds.get(f"{kind}.{group}", frozenset())


def _told(cluster: Cluster, wanted: Wanted, api_version: str, kind: str) -> str:
    group = api_version.rpartition("/")[0]
    others = sorted(cluster.kinds.get(f"{kind}.{group}", ()))
    there = (
        f"the cluster serves it as {', '.join(f'{group}/{one}' for one in others)} alone: let "
        f"{wanted.installed!r} bring a version of {wanted.operator} that serves {api_version}"
        if others
        else f"the cluster knows no such kind: let {wanted.installed!r} install {wanted.operator}"
    )
    return (
        f"operators.installed.{wanted.operator}: {kind} in {api_version} is needed, and {there}, "
        f"or take {wanted.operator} out of operators.installed, so that it is made here"
    )


def checked(
    kubeconfig: pulumi.Input[str],
    needed: Sequence[Wanted],
    read: Callable[[str], Cluster] | None = None,
) -> pulumi.Output[str]:
    """`kubeconfig`, once the cluster that it names was found to have what is needed.

    A provider made of it applies nothing before. `read` is `read_cluster`, or another for tests.
    """

    def look(text: str) -> str:
        problems = problems_of_cluster((read or read_cluster)(text), needed)
        if problems:
            raise ClusterProblem("\n".join(problems))
        return text

    return pulumi.Output.from_input(kubeconfig).apply(look)


def cluster_of(discovery: Sequence[Mapping[str, Any]]) -> Cluster:
    """What the documents of discovery (`APIGroupDiscoveryList`, v2) say, those of /api and /apis.

    A version whose server does not answer (`freshness: Stale`) does not count.
    """
    kinds: dict[str, set[str]] = {}
    for document in discovery:
        for group in document.get("items", ()):
            name = group.get("metadata", {}).get("name", "")
            for version_of_group in group.get("versions", ()):
                if version_of_group.get("freshness") == "Stale":
                    continue
                for resource in version_of_group.get("resources", ()):
                    if kind := resource.get("responseKind", {}).get("kind"):
                        kinds.setdefault(f"{kind}.{name}", set()).add(version_of_group["version"])
    return Cluster(kinds={kind: frozenset(them) for kind, them in kinds.items()})


# --- the reader -----------------------------------------------------------------------------------


def read_cluster(kubeconfig: str) -> Cluster:
    """Asks the cluster of the current context, read-only.

    Raises `KubeconfigError`, and `ClusterProblem` where it does not answer as it should.
    """
    with reader(kubeconfig) as client:
        documents = [
            client.get(root, headers={"Accept": _DISCOVERY}).raise_for_status().json()
            for root in ("/api", "/apis")
        ]
    return cluster_of(documents)


@contextlib.contextmanager
def reader(kubeconfig: str) -> Iterator[httpx.Client]:
    """The API of the cluster of the current context, for requests that only read.

    Raises `KubeconfigError`, and `ClusterProblem` for whatever `httpx` raises within.
    """
    access = Kubeconfig.of(kubeconfig)
    token = access.token or _token_of(access)
    try:
        with httpx.Client(
            base_url=access.server,
            verify=_trust(access),
            timeout=_SECONDS,
            headers={"Authorization": f"Bearer {token}"} if token else {},
        ) as client:
            yield client
    except httpx.HTTPStatusError as error:
        raise ClusterProblem(
            f"the cluster at {access.server} answers {error.response.status_code}: whoever the "
            "kubeconfig names may not read its API; check its token or certificate"
        ) from error
    except httpx.HTTPError as error:
        raise ClusterProblem(
            f"the cluster at {access.server} does not answer ({error}): run where it can be "
            "reached, and check the kubeconfig"
        ) from error


def _trust(access: Kubeconfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.authority or None)
    if access.certificate:
        with tempfile.TemporaryDirectory(prefix="falaj-") as folder:  # OpenSSL reads files alone
            path = Path(folder) / "client.pem"
            path.touch(mode=0o600)
            path.write_text(access.certificate)
            context.load_cert_chain(path)
    return context


def _token_of(access: Kubeconfig) -> str:
    """The token that the kubeconfig's command prints (ExecCredential), empty without a command."""
    if not access.command:
        return ""
    about = {"apiVersion": access.protocol, "kind": "ExecCredential", "spec": {}}
    try:
        printed = subprocess.run(
            [access.command, *access.arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=_TOKEN_SECONDS,
            env={**os.environ, **access.variables, "KUBERNETES_EXEC_INFO": json.dumps(about)},
        ).stdout
        return str(json.loads(printed)["status"]["token"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        said = getattr(error, "stderr", "") or repr(error)
        raise ClusterProblem(
            f"the kubeconfig's command `{access.command}` gives no token: {str(said).strip()[:300]}"
        ) from error
