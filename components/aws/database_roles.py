"""The SQL that gives each consumer a role and databases of its own; AWS has no API for that.

A script for `psql`, run by a job inside the network as the administrator, as often as one likes.
RDS lets roles in by IAM, without a password, but for those that cannot (`by_password`). What the
administrator needs is kept from it as far
as may be: it owns the databases and is made a member of no consumer's role, because RDS refuses
the password of whoever is a member of `rds_iam`, even through another role.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")


class IdentifierError(ValueError):
    """A name is no plain identifier of PostgreSQL."""


def quoted(identifier: str) -> str:
    """`identifier` in double quotes. Raises `IdentifierError` unless it would need none."""
    if not _IDENTIFIER.fullmatch(identifier):
        raise IdentifierError(f"{identifier!r} is no plain identifier of PostgreSQL")
    return f'"{identifier}"'


def provisioning_sql(
    consumers: Mapping[str, Sequence[str]],
    *,
    by_iam: bool = True,
    by_password: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The script for `consumers`, role → databases. Raises `IdentifierError`.

    `by_iam` lets the roles in by IAM, which must come last: from PostgreSQL 16 on, whoever made a
    role counts as its member, and the script connects anew for each database. Roles `by_password`
    have theirs from the environment, where `variable_of` names one; without, they keep what they
    have. It is the verifier and no password, since what the script says is logged.
    """
    return "\n".join(_lines(consumers, by_password or {}, by_iam=by_iam)) + "\n"


def variable_of(role: str) -> str:
    """The variable of the environment with a role's verifier (`functions.secret_values`)."""
    return f"{role.upper()}_VERIFIER"


def _lines(
    consumers: Mapping[str, Sequence[str]],
    by_password: Mapping[str, Sequence[str]],
    *,
    by_iam: bool,
) -> Iterator[str]:
    yield r"\set ON_ERROR_STOP on"
    for consumer, databases in {**consumers, **by_password}.items():
        role = quoted(consumer)
        yield _unless_there("ROLE", f"{role} LOGIN", "pg_roles WHERE rolname", consumer)
        for database in databases:
            name = quoted(database)
            yield _unless_there("DATABASE", name, "pg_database WHERE datname", database)
            yield f"REVOKE ALL ON DATABASE {name} FROM PUBLIC;"
            yield f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {role};"
            yield f"\\connect {name}"
            yield "REVOKE ALL ON SCHEMA public FROM PUBLIC;"
            yield f"GRANT USAGE, CREATE ON SCHEMA public TO {role};"
    for consumer in by_password:
        yield f"\\getenv verifier {variable_of(consumer)}"
        yield r"\if :{?verifier}"
        yield f"ALTER ROLE {quoted(consumer)} PASSWORD :'verifier';"
        yield r"\unset verifier"
        yield r"\endif"
    if by_iam:
        yield from (f"GRANT rds_iam TO {quoted(consumer)};" for consumer in consumers)


def _unless_there(kind: str, what: str, where: str, name: str) -> str:
    """Makes it where the catalogue lacks it; neither statement knows ``IF NOT EXISTS``."""
    made = f"SELECT 'CREATE {kind} {what}'"
    # every name in it went through `quoted`
    return f"{made} WHERE NOT EXISTS (SELECT FROM pg_catalog.{where} = '{name}') \\gexec"
