"""Generates the values of secrets inside the account: the code of a Lambda function.

Called by Secrets Manager for each step of a rotation, and by the deployment once for each new
secret, with ``{"SecretId": …}`` alone; with ``"replace": true`` a secret that has a value gets
another. A value is never returned, logged or printed. Nothing but
`boto3`, which the runtime brings, is imported.

Two kinds of values are known elsewhere too. ElastiCache is told the password of a user of the cache
(`CACHE_USERS`) before the secret has it; the one before stays good beside it, so that pods that run
go on. A database is told by whoever administers it: with ``"verifier": true`` the answer is what
PostgreSQL keeps of a password (RFC 5803), by which nobody can sign in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
import uuid
from typing import Any

import boto3

LENGTH = 48
"""Characters of a value: letters and digits, which no URL, shell or template reads as more."""
ITERATIONS = 4096
"""PostgreSQL's own; a value that is random needs no more."""
TRIES, PAUSE_SECONDS = 40, 5
"""How often, and how far apart, a user of the cache is changed until it can be."""


def handler(event: dict[str, Any], _context: object) -> dict[str, str]:
    """Does one step of a rotation, or gives a new secret its first value."""
    secrets = boto3.client("secretsmanager", region_name=os.environ["AWS_REGION"])
    secret = event["SecretId"]
    token, step = str(event.get("ClientRequestToken")), event.get("Step")
    if event.get("verifier") is True:
        return {"secret": secret, "verifier": verifier(_current(secrets, secret), os.urandom(16))}
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


def verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL keeps of `password`, as ``ALTER ROLE … PASSWORD`` takes it."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(ITERATIONS, *text)


def _given(secrets: Any, secret: str, replace: bool) -> str:
    there = "AWSCURRENT" in _stages(secrets, secret)
    if there and not replace:
        return "nothing: it has a value"
    value = _value(secrets)
    user = _user_of_cache(secrets, secret)
    if user is not None:
        # before the secret has it: a call that fails between the two is made again
        _tell_cache(user, [value, *([_current(secrets, secret)] if there else [])])
    secrets.put_secret_value(
        SecretId=secret, ClientRequestToken=str(uuid.uuid4()), SecretString=value
    )
    return "another value" if there else "first value"


def _user_of_cache(secrets: Any, secret: str) -> str | None:
    users: dict[str, str] = json.loads(os.environ.get("CACHE_USERS", "{}"))
    return users.get(secrets.describe_secret(SecretId=secret)["Name"]) if users else None


def _tell_cache(user: str, passwords: list[str]) -> None:
    cache = boto3.client("elasticache", region_name=os.environ["AWS_REGION"])
    for tried in range(1, TRIES + 1):
        try:
            cache.modify_user(
                UserId=user, AuthenticationMode={"Type": "password", "Passwords": passwords}
            )
            return
        except cache.exceptions.InvalidUserStateFault:
            # it is being changed, with the group that it joins
            if tried == TRIES:
                raise
            time.sleep(PAUSE_SECONDS)


def _current(secrets: Any, secret: str) -> str:
    return str(secrets.get_secret_value(SecretId=secret)["SecretString"])


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
    # as it is: External Secrets hands on the whole text, which JSON around it would be part of
    return str(answer["RandomPassword"])
