"""Generates the values of secrets inside the account: the code of a Lambda function.

Called by Secrets Manager for each step of a rotation, and by the deployment once for each new
secret, with ``{"SecretId": …}`` alone; with ``"replace": true`` a secret that has a value gets
another. A value is never returned, logged or printed. Nothing but
`boto3`, which the runtime brings, is imported.
"""

from __future__ import annotations

import json
import os
import uuid
from typing import Any

import boto3

LENGTH = 48
"""Characters of a value: letters and digits, which no URL, shell or template reads as more."""


def handler(event: dict[str, Any], _context: object) -> dict[str, str]:
    """Does one step of a rotation, or gives a new secret its first value."""
    secrets = boto3.client("secretsmanager", region_name=os.environ["AWS_REGION"])
    secret = event["SecretId"]
    token, step = str(event.get("ClientRequestToken")), event.get("Step")
    if step is None:
        return {"secret": secret, "done": _given(secrets, secret, event.get("replace") is True)}
    if step == "createSecret":
        _pending_value(secrets, secret, token)
    elif step == "finishSecret":
        _make_current(secrets, secret, token)
    elif step not in ("setSecret", "testSecret"):
        # those two are for values that something else must learn; ours are read by their users
        raise ValueError(f"unknown step {step}")
    return {"secret": secret, "done": step}


def _given(secrets: Any, secret: str, replace: bool) -> str:
    there = "AWSCURRENT" in _stages(secrets, secret)
    if there and not replace:
        return "nothing: it has a value"
    secrets.put_secret_value(
        SecretId=secret, ClientRequestToken=str(uuid.uuid4()), SecretString=_value(secrets)
    )
    return "another value" if there else "first value"


def _pending_value(secrets: Any, secret: str, token: str) -> None:
    # a step may be called twice
    if token not in _stages(secrets, secret).get("AWSPENDING", ()) or not _has_value(
        secrets, secret, token
    ):
        secrets.put_secret_value(
            SecretId=secret,
            ClientRequestToken=token,
            SecretString=_value(secrets),
            VersionStages=["AWSPENDING"],
        )


def _has_value(secrets: Any, secret: str, token: str) -> bool:
    try:
        secrets.get_secret_value(SecretId=secret, VersionId=token, VersionStage="AWSPENDING")
    except secrets.exceptions.ResourceNotFoundException:
        return False
    return True


def _make_current(secrets: Any, secret: str, token: str) -> None:
    (current,) = _stages(secrets, secret).get("AWSCURRENT") or (None,)
    if current == token:
        return
    move = {"RemoveFromVersionId": current} if current else {}
    secrets.update_secret_version_stage(
        SecretId=secret, VersionStage="AWSCURRENT", MoveToVersionId=token, **move
    )


def _stages(secrets: Any, secret: str) -> dict[str, list[str]]:
    """Stage → ids of the versions that bear it."""
    found: dict[str, list[str]] = {}
    versions = secrets.describe_secret(SecretId=secret).get("VersionIdsToStages", {})
    for version, stages in versions.items():
        for stage in stages:
            found.setdefault(stage, []).append(version)
    return found


def _value(secrets: Any) -> str:
    answer = secrets.get_random_password(
        PasswordLength=LENGTH, ExcludePunctuation=True, RequireEachIncludedType=True
    )
    return json.dumps({"value": answer["RandomPassword"]})
