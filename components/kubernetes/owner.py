"""Which stack made what lies in a cluster, so that no second one takes it over.

An object that is there already is taken over by whoever applies it next, without a word, and goes
with the first of both stacks that is destroyed. So what two stacks could both make says who made
it: a namespace of the platform, and of a workload all that serves it. `stacks.cluster_access` looks
before anything is applied. Two stacks of one name, with their state in different places, are one
to it.

What was made before there was the annotation has no owner until the next update, and is refused to
nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from components.kubernetes.served_kinds import reader

ANNOTATION = "falaj/owner"
"""Its value is the full name of a stack, ``organisation/project/stack``."""


def mine() -> str:
    """This stack."""
    return f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"


def annotation() -> dict[str, str]:
    """Of what this stack makes."""
    return {ANNOTATION: mine()}


def marker(workload: str) -> str:
    """The service account by which a workload is found, since every one has it."""
    return f"{workload}-release"


def of_namespaces(kubeconfig: str) -> dict[str, list[str]]:
    """Stack → the namespaces that it made, whose owner is known.

    Raises `ClusterProblem` where the cluster does not say.
    """
    with reader(kubeconfig) as client:
        answer = client.get("/api/v1/namespaces").raise_for_status().json()
    found: dict[str, list[str]] = {}
    for one in answer["items"]:
        if stack := _stack(one):
            found.setdefault(stack, []).append(one["metadata"]["name"])
    return found


def of_workload(kubeconfig: str, team: str, workload: str) -> str | None:
    """The stack that deployed `workload` for `team`; `None` where none is known.

    Raises `ClusterProblem` where the cluster does not say.
    """
    with reader(kubeconfig) as client:
        answer = client.get(f"/api/v1/namespaces/{team}/serviceaccounts/{marker(workload)}")
        if answer.status_code == _NOT_FOUND:
            return None
        return _stack(answer.raise_for_status().json())


_NOT_FOUND = 404


def _stack(thing: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str | None:
    return (thing["metadata"].get("annotations") or {}).get(ANNOTATION)
