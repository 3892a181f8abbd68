"""Whether a cluster serves the kinds that the platform's objects are of, asked before any is made.

Owns the judgement over what a cluster says of itself (`discovery`), and a thin reader of that. A
kind counts if the cluster serves it in the version that our objects name, or if a chart of the same
update brings it. Kubernetes' own kinds are asked after too: a cluster that is too old for admission
by policies would take the rest and guard nothing.

On a cluster: ``kubectl get --raw /apis`` shows what is read here.
"""

from __future__ import annotations

import base64
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
import yaml

from components.kubernetes.operator_table import OPERATORS, ServedKind
from components.kubernetes.operators_settings import (
    Needs,
    OperatorsSettings,
    made_here,
    wanted,
)

OLDEST = (1, 30)
"""Of Kubernetes: its policies of admission are stable from there on."""

BUILT_IN: tuple[ServedKind, ...] = (
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
)
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_SECONDS = 20.0
_TOKEN_SECONDS = 60.0


class ClusterProblem(Exception):  # noqa: N818
    """What keeps a cluster from taking the platform; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What a cluster says of itself."""

    version: str
    """Such as ``v1.36.3``."""
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
    problems = []
    numbers = cluster.version.removeprefix("v").split(".")[:2]
    found = tuple(int("".join(filter(str.isdigit, one)) or 0) for one in numbers)
    if found < OLDEST:
        problems.append(
            f"the cluster is Kubernetes {cluster.version}, and the platform needs "
            f"{'.'.join(map(str, OLDEST))} or later: its policies of admission are not stable "
            "before; upgrade the cluster"
        )
    else:
        problems += [
            f"{api_version} {kind} is one of Kubernetes' own kinds, and the cluster does not serve "
            "it: the API is switched off; let the API server serve it"
            for api_version, kind in BUILT_IN
            if _is_missing(cluster, api_version, kind)
        ]
    for one in needed:
        for api_version, kind in one.kinds if one.installed else ():
            if _is_missing(cluster, api_version, kind):
                problems.append(_told(cluster, one, api_version, kind))
    return problems


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


def cluster_of(version: str, discovery: Sequence[Mapping[str, Any]]) -> Cluster:
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
    return Cluster(version=version, kinds={kind: frozenset(them) for kind, them in kinds.items()})


# --- the reader -----------------------------------------------------------------------------------


def read_cluster(kubeconfig: str) -> Cluster:
    """Asks the cluster of the current context, read-only. Raises `ClusterProblem`."""
    server, user, verify = _way_in(kubeconfig)
    with (
        _client_certificate(user) as certificate,
        contextlib.ExitStack() as open_things,
    ):
        if certificate:
            verify.load_cert_chain(certificate)
        token = user.get("token") or _token_of(user)
        client = open_things.enter_context(
            httpx.Client(
                base_url=server,
                verify=verify,
                timeout=_SECONDS,
                headers={"Authorization": f"Bearer {token}"} if token else {},
            )
        )
        try:
            version = client.get("/version").raise_for_status().json()["gitVersion"]
            documents = [
                client.get(root, headers={"Accept": _DISCOVERY}).raise_for_status().json()
                for root in ("/api", "/apis")
            ]
        except httpx.HTTPStatusError as error:
            raise ClusterProblem(
                f"the cluster at {server} answers {error.response.status_code}: whoever the "
                "kubeconfig names may not read its API; check its token or certificate"
            ) from error
        except httpx.HTTPError as error:
            raise ClusterProblem(
                f"the cluster at {server} does not answer ({error}): run where it can be reached, "
                "and check the kubeconfig"
            ) from error
    return cluster_of(version, documents)


def _way_in(kubeconfig: str) -> tuple[str, Mapping[str, Any], ssl.SSLContext]:
    """Server, user and trust of the current context."""
    try:
        content = yaml.safe_load(kubeconfig)
        context = _named(content["contexts"], content["current-context"])["context"]
        cluster = _named(content["clusters"], context["cluster"])["cluster"]
        user = _named(content["users"], context["user"])["user"]
        authority = cluster.get("certificate-authority-data")
        verify = ssl.create_default_context(
            cadata=base64.b64decode(authority).decode() if authority else None
        )
        return str(cluster["server"]), user, verify
    except (KeyError, TypeError, ValueError, yaml.YAMLError, ssl.SSLError) as error:
        raise ClusterProblem(
            f"the kubeconfig cannot be used ({error!r}): it must hold one current context with "
            "its cluster, user and certificate authority; kubectl config view --raw --minify"
            " --flatten prints such a one"
        ) from error


def _named(entries: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise KeyError(name)


@contextlib.contextmanager
def _client_certificate(user: Mapping[str, Any]) -> Iterator[Path | None]:
    if "client-certificate-data" not in user:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="falaj-") as folder:  # OpenSSL reads files alone
        path = Path(folder) / "client.pem"
        path.touch(mode=0o600)
        parts = (user["client-certificate-data"], user["client-key-data"])
        path.write_bytes(b"".join(base64.b64decode(part) for part in parts))
        yield path


def _token_of(user: Mapping[str, Any]) -> str:
    """The token that the kubeconfig's command prints (ExecCredential), empty without a command."""
    if "exec" not in user:
        return ""
    asked = user["exec"]
    given = {one["name"]: one["value"] for one in asked.get("env") or ()}
    about = {"apiVersion": asked["apiVersion"], "kind": "ExecCredential", "spec": {}}
    command = [asked["command"], *(asked.get("args") or ())]
    try:
        printed = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=_TOKEN_SECONDS,
            env={**os.environ, **given, "KUBERNETES_EXEC_INFO": json.dumps(about)},
        ).stdout
        return str(json.loads(printed)["status"]["token"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        said = getattr(error, "stderr", "") or repr(error)
        raise ClusterProblem(
            f"the kubeconfig's command `{command[0]}` gives no token: {str(said).strip()[:300]}"
        ) from error
