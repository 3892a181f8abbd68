"""`falaj database`: the script that makes an environment's roles and databases in PostgreSQL.

No API of AWS makes them, and only pods reach the database, so somebody runs the script there as the
administrator: docs/operations.md says how.
"""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()


class DatabaseError(Exception):
    """An environment's database is not ours to fill."""


@app.command()
def database(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The environment.")],
    authorities: Annotated[
        bool, typer.Option("--authorities", help="Print whom to know the database by, as PEM.")
    ] = False,
) -> None:
    """Print the script for psql that makes roles and databases; it may run as often as one likes.

    Examples: falaj database -s prod > roles.sql, falaj database -s prod --authorities > rds.pem

    Raises `DatabaseError` for an environment that is not on AWS, or whose database nobody knows.
    """
    # most commands need none of this
    from components.aws.access import ORCHESTRATION
    from components.aws.database_roles import provisioning_sql
    from stacks.settings import read_file

    settings = read_file(stack)
    if settings.aws is None:
        raise DatabaseError(
            f"{stack} is not on AWS: whoever keeps its databases makes those that "
            "falaj:kubernetes names"
        )
    if authorities:
        if (known := settings.aws.database_authorities) is None:
            raise DatabaseError(
                f"{stack}: nobody says who signs the database's certificate: name it in "
                "falaj:aws.database.authorities, as PEM"
            )
        typer.echo(known, nl=False)
        return
    asked = settings.aws.database.with_teams(ORCHESTRATION, settings.orchestrated)
    by_iam = asked.existing is None or asked.existing.resource_id is not None
    typer.echo(provisioning_sql(asked.consumers, by_iam=by_iam), nl=False)
