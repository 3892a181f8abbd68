"""Who may do what in MLflow: what belongs to a team bears its name, and its groups may use it.

The name of a team's experiment or model begins with the team's, then a dot: no name of a team holds
one, so that the names of no two teams begin alike (`credit.` and `credit-risk.`). What has no such
name can be made by nobody but an administrator. Imports neither MLflow nor Pulumi.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Permission = Literal["READ", "EDIT"]
"""As the plugin calls them. `EDIT` makes, changes and gives aliases; neither deletes nor grants."""

ALL = ".*"


@dataclass(frozen=True, kw_only=True, order=True)
class Grant:
    """Members of `group` may do `permission` to experiments and models named like `pattern`."""

    group: str
    pattern: str
    permission: Permission


def pods_of(namespace: str) -> str:
    """The group that service accounts of `namespace` belong to. Source: mlflow-oidc-auth 11."""
    return f"k8s:{namespace}"


def pattern_of(team: str) -> str:
    """The names of a team's experiments and models, as a regular expression."""
    return rf"^{re.escape(team)}\."


def name_of(team: str, workload: str) -> str:
    """What the experiment and the model of a team's workload are called; `pattern_of` fits it."""
    return f"{team}.{workload}"


def grants(
    teams: Mapping[str, Mapping[str, Iterable[str]]],
    *,
    readers: Iterable[str] = (),
) -> list[Grant]:
    """All grants: team → role → groups of people; `readers` are namespaces of the platform whose
    pods may read what every team has.

    A group that has several roles in a team has the most that one of them allows.
    """
    found: dict[tuple[str, str], Permission] = {}

    def add(group: str, pattern: str, permission: Permission) -> None:
        if found.get((group, pattern)) != "EDIT":
            found[group, pattern] = permission

    for team, roles in teams.items():
        add(pods_of(team), pattern_of(team), "EDIT")
        for role, groups in roles.items():
            for group in groups:
                add(group, pattern_of(team), "EDIT" if role in _WRITING else "READ")
    for namespace in readers:
        add(pods_of(namespace), ALL, "READ")
    return sorted(
        Grant(group=group, pattern=pattern, permission=permission)
        for (group, pattern), permission in found.items()
    )


_WRITING = ("developer", "operator")


def written(all_grants: Sequence[Grant]) -> str:
    """`all_grants` as text, for `read`."""
    return json.dumps([asdict(grant) for grant in all_grants], sort_keys=True)


def read(text: str) -> list[Grant]:
    """What `written` made. Raises `ValueError` or `TypeError` for anything else."""
    return [Grant(**one) for one in json.loads(text)]
