"""Brings MLflow's databases to what its version expects, and writes who may do what.

    python -m components.mlflow_server.prepare

before a server of that version starts, as often as one likes. Two servers that started on an empty
database would both make its tables. Reads the variables of the server, and `FALAJ_GRANTS`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from components.mlflow_server.cluster import SIGN_IN
from components.mlflow_server.environment import DATABASE
from components.mlflow_server.grants import Grant, read
from components.mlflow_server.sign_in import sign_in_by_iam

GRANTS = "FALAJ_GRANTS"


def main() -> None:
    """The command line described in the module's docstring."""
    if region := os.environ.get(SIGN_IN):
        sign_in_by_iam(region)
    from mlflow.db import upgrade
    from mlflow_oidc_auth.store import store

    upgrade.main([os.environ[DATABASE]], standalone_mode=False)
    # the store brings its own database up to date as it opens it
    write_grants(store, read(os.environ.get(GRANTS, "[]")))


def write_grants(store: Any, wanted: Sequence[Grant]) -> None:
    """Makes the grants of groups by name those of `wanted`, and takes all others away."""
    store.populate_groups(sorted({grant.group for grant in wanted} - set(store.get_groups())))
    for kind in ("experiment", "registered_model"):
        for group in store.get_groups():
            mine = {grant.pattern: grant.permission for grant in wanted if grant.group == group}
            _write(store, f"group_{kind}_regex_permission", group, mine)


def _write(store: Any, what: str, group: str, wanted: Mapping[str, str]) -> None:
    there = {one.regex: one for one in getattr(store, f"list_{what}s")(group)}
    for pattern, one in there.items():
        if pattern not in wanted:
            getattr(store, f"delete_{what}")(group_name=group, id=one.id)
    for pattern, permission in wanted.items():
        said = {"regex": pattern, "priority": 1, "permission": permission}
        if pattern not in there:
            getattr(store, f"create_{what}")(group_name=group, **said)
        elif there[pattern].permission != permission:
            getattr(store, f"update_{what}")(group_name=group, id=there[pattern].id, **said)


if __name__ == "__main__":
    main()
