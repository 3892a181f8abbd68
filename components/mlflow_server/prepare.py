"""Brings MLflow's databases to what its version expects, and writes who may do what.

    python -m components.mlflow_server.prepare

before a server of that version starts, as often as one likes. Two servers that started on an empty
database would both make its tables. Reads the variables of the server, `FALAJ_GRANTS`, and
`FALAJ_DATABASE_COPIES`, where a copy goes before a schema is changed: MLflow has no other way back.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy

from components.mlflow_server.copies import Database, copy_before_upgrade
from components.mlflow_server.environment import COPIES, DATABASE, GRANTS, SIGN_IN, USERS
from components.mlflow_server.grants import Grant, read
from components.mlflow_server.sign_in import sign_in_by_iam


def databases() -> list[Database]:
    """Those that the variables name; imports MLflow."""
    from mlflow.store.db import utils
    from mlflow_oidc_auth.db import utils as users

    if region := os.environ.get(SIGN_IN):
        sign_in_by_iam(region)
    return [
        Database(
            name=name,
            engine=sqlalchemy.create_engine(os.environ[variable]),
            migrations=migrations(os.environ[variable]),
        )
        # neither of the two says in public where its migrations are
        for name, variable, migrations in (
            ("runs", DATABASE, utils._get_alembic_config),  # noqa: SLF001
            ("users", USERS, users._get_alembic_config),  # noqa: SLF001
        )
    ]


def require(databases: Sequence[Database]) -> None:
    """Ends the program with what to do where a database is not there, or lets its role not in."""
    for one in databases:
        try:
            one.engine.connect().close()
        except sqlalchemy.exc.OperationalError as error:
            url = one.engine.url
            raise SystemExit(
                f"the database {url.database} does not let {url.username or 'anybody'} in: "
                f"{str(error.orig).strip()}. Where it or its role is not made yet: `falaj database "
                "-s <environment>` prints the script that makes both (docs/operations.md)"
            ) from error


def main() -> None:
    """The command line described in the module's docstring."""
    there = databases()
    require(there)
    if folder := os.environ.get(COPIES):
        for database in there:
            if made := copy_before_upgrade(database, folder):
                logging.getLogger(__name__).warning("copied to %s/%s", folder, made)
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
