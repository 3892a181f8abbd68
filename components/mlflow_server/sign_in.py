"""How MLflow's server signs in to a PostgreSQL of AWS: by a token of its own identity.

A token stands for a password for fifteen minutes, and a connection outlives it: so every new
connection gets one of its own, and no password is anywhere. Tokens are signed here, without a call.
Source: Amazon RDS user guide, "IAM database authentication".
"""

from __future__ import annotations

from typing import Any

import boto3
from sqlalchemy import event
from sqlalchemy.engine import Engine


def sign_in_by_iam(region: str) -> None:
    """Has all engines of this process, made and to be made, sign in to PostgreSQL by IAM."""
    client = boto3.client("rds", region_name=region)

    @event.listens_for(Engine, "do_connect")
    def _with_token(
        dialect: Any, record: Any, arguments: list[Any], parameters: dict[str, Any]
    ) -> None:
        if dialect.name == "postgresql":
            parameters["password"] = client.generate_db_auth_token(
                DBHostname=parameters["host"],
                Port=int(parameters["port"]),
                DBUsername=parameters["user"],
            )
