"""`falaj plan check` on previews of the real engine: something renamed, something dropped."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Callable

from stacks.offline import Offline
from stacks.plan_check import judge, losses, read_plan

Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]
TODAY = datetime.date(2026, 5, 4)
ALIAS = "urn:pulumi:test::someone::aws:secretsmanager/secret:Secret::login"

PROGRAM = """
import pulumi, pulumi_aws as aws
provider = aws.Provider("pinned", region="me-central-1", allowed_account_ids=["123456789012"])
here = pulumi.ResourceOptions(provider=provider)
"""
BUCKET = """
aws.s3.Bucket("data", bucket="data-1", opts=here)
"""
PROTECTED = """
aws.s3.Bucket("data", bucket="data-1",
              opts=pulumi.ResourceOptions(provider=provider, protect=True))
"""
KEY = """
aws.kms.Key("key", opts=pulumi.ResourceOptions(provider=provider, retain_on_delete=True))
"""
SECRET = """
aws.secretsmanager.Secret("login", name="login", opts=here)
"""


def previewed(stack: Offline, program: str) -> str:
    (stack.directory / "__main__.py").write_text(PROGRAM + program)
    return stack.pulumi("preview", "--json").stdout


def test_losses_are_found_in_what_the_engine_prints(
    project: Callable[[str], Offline], succeed: Succeed
) -> None:
    stack = project(PROGRAM + BUCKET + KEY + SECRET)
    first = read_plan(stack.pulumi("preview", "--json").stdout)
    assert not judge(first, (), TODAY).stopped
    succeed(stack.pulumi("up", "--yes", "--skip-preview"))

    renamed = SECRET.replace('"login", name', '"access", name')
    found = losses(read_plan(previewed(stack, BUCKET.replace("data-1", "data-2") + renamed)))
    by_name = {one.name: one for one in found}

    assert {one.name: one.action for one in found} == {
        "data": "replace",
        "key": "delete",
        "login": "delete",
    }
    assert by_name["data"].because == (
        'bucket changes from "data-1" to "data-2", which cannot be done in place.',
    )
    assert by_name["key"].retained
    assert by_name["login"].because[1].endswith(f"give that the alias {ALIAS}")

    alias = renamed.replace(
        "opts=here",
        f'opts=pulumi.ResourceOptions(provider=provider, aliases=["{ALIAS}"])',
    )
    assert not judge(read_plan(previewed(stack, BUCKET + KEY + alias)), (), TODAY).stopped


def test_a_preview_that_protection_fails_is_stopped_with_the_reason(
    project: Callable[[str], Offline], succeed: Succeed
) -> None:
    stack = project(PROGRAM + PROTECTED)
    succeed(stack.pulumi("up", "--yes", "--skip-preview"))
    verdict = judge(read_plan(previewed(stack, PROTECTED.replace("data-1", "data-2"))), (), TODAY)

    assert [(one.name, one.action) for one in verdict.stops] == [("data", "replace")]
    assert "marked for protection" in verdict.problems[0]
