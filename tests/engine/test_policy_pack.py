"""The packs, served to the real engine: on previews, on an exported state, by themselves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from policies.common.exceptions import today
from stacks.environment import ROOT
from stacks.offline import Offline, OfflineError, offline
from stacks.plan import held_to, look_at

if TYPE_CHECKING:
    from conftest import Deployed

EACH = [
    part
    for pack in ("residency", "encryption", "hardening")
    for part in ("--policy-pack", str(ROOT / "policies" / pack))
]
ONE = EACH[:2]
"""A configuration is of one pack: its rules alone may stand in it."""
ALL = held_to("prod")
Project = Callable[[str], Offline]
Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]

PINNED = """\
import json
import pulumi
import pulumi_aws as aws
home = aws.Provider("home", region="me-central-1", allowed_account_ids=["123456789012"],
    default_tags={"tags": {"owner": "bank", "environment": "test",
                           "data-classification": "internal", "residency": "in-country"}})
here = pulumi.ResourceOptions(provider=home)
kept = pulumi.ResourceOptions(provider=home, protect=True)
account = "arn:aws:iam::123456789012:"
key = aws.kms.Key("key", enable_key_rotation=True, policy=json.dumps({"Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": account + "role/administrator"}, "Resource": "*",
         "Action": ["kms:Describe*", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"]},
        {"Effect": "Allow", "Principal": {"AWS": account + "role/reader"}, "Resource": "*",
         "Action": ["kms:Decrypt", "kms:GenerateDataKey*"]},
        {"Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*",
         "Condition": {"StringNotEquals": {"aws:RequestedRegion": "me-central-1"}}}]}),
    tags={"data-domain": "artifacts"}, opts=kept)
def store(name, **tags):
    bucket = aws.s3.Bucket(name, bucket=name + "-1", tags={"backup": "none", **tags}, opts=kept)
    aws.s3.BucketPublicAccessBlock(name + "-block", bucket=bucket.id, block_public_acls=True,
        block_public_policy=True, ignore_public_acls=True, restrict_public_buckets=True, opts=here)
    arn = f"arn:aws:s3:::{name}-1"
    aws.s3.BucketPolicy(name + "-policy", bucket=bucket.id, policy=json.dumps({
        "Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, arn + "/*"],
             "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}), opts=here)
    aws.s3.BucketVersioning(name + "-versions", bucket=bucket.id,
        versioning_configuration={"status": "Enabled"}, opts=here)
    return bucket
logs = store("logs", purpose="logs")
aws.s3.BucketServerSideEncryptionConfiguration("logs-encryption", bucket=logs.id, rules=[{
    "apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}], opts=here)
bucket = store("bucket")
aws.s3.BucketLogging("logging", bucket=bucket.id, target_bucket=logs.id, target_prefix="bucket/",
    opts=here)
"""
ENCRYPTED = """
aws.s3.BucketServerSideEncryptionConfiguration("encryption", bucket=bucket.id, rules=[{
    "apply_server_side_encryption_by_default": {
        "sse_algorithm": "aws:kms", "kms_master_key_id": key.arn},
    "bucket_key_enabled": True}], opts=here)
"""


def test_a_program_of_somebody_else_that_keeps_the_rules_passes(project: Project) -> None:
    preview = project(PINNED + ENCRYPTED).pulumi("preview", *EACH)

    assert preview.returncode == 0, preview.stdout + preview.stderr
    assert "pending" not in preview.stdout


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (PINNED, "names no key of the owner, and no BucketServerSideEncryptionConfiguration"),
        (
            PINNED.replace('"me-central-1"', '"eu-west-1"') + ENCRYPTED,
            "region is eu-west-1; allowed: me-central-1",
        ),
        (
            PINNED
            + ENCRYPTED
            + '\naws.sqs.Queue("far", region="eu-west-1", kms_master_key_id=key.arn, opts=here)\n',
            "aws:sqs/queue:Queue 'far': region is eu-west-1",
        ),
        (
            PINNED + ENCRYPTED + '\naws.sqs.Queue("adrift")\n',
            "is not set, so the environment would decide it",
        ),
    ],
    ids=["no customer key", "provider abroad", "resource abroad", "default provider"],
)
def test_a_broken_program_fails_its_preview_with_a_message_that_helps(
    project: Project, program: str, expected: str
) -> None:
    preview = project(program).pulumi("preview", *ALL)

    assert preview.returncode != 0
    assert expected in preview.stdout
    assert "To mend: " in preview.stdout


def test_what_is_not_known_yet_is_pending_at_the_preview_and_decided_by_up(
    project: Project, tmp_path: Path
) -> None:
    program = (
        PINNED
        + ENCRYPTED
        + '\naws.sqs.Queue("late", region=key.arn, kms_master_key_id=key.arn, opts=here)\n'
    )
    stack, flags = project(program), configured(tmp_path, {})
    preview = stack.pulumi("preview", *flags)
    up = stack.pulumi("up", "--yes", "--skip-preview", *flags)

    assert preview.returncode == 0, preview.stdout + preview.stderr
    assert "pending: aws:sqs/queue:Queue 'late': region is not known yet" in preview.stdout
    assert up.returncode != 0
    assert "aws:sqs/queue:Queue 'late': region is arn:aws:kms:" in up.stdout


def test_a_program_without_aws_passes(project: Project) -> None:
    preview = project("import pulumi\npulumi.export('nothing', 1)\n").pulumi("preview", *ALL)

    assert preview.returncode == 0, preview.stdout + preview.stderr


def test_the_local_environment_passes(succeed: Succeed) -> None:
    with offline("local") as stack:
        preview = succeed(stack.pulumi("preview", *held_to("local")))

    assert "falaj" in preview.stdout
    assert "aws:" not in preview.stdout


def test_parameters_of_a_rule_come_from_the_packs_configuration(
    project: Project, tmp_path: Path
) -> None:
    abroad = PINNED.replace('"me-central-1"', '"eu-west-1"') + ENCRYPTED
    regions = {"allowedRegions": ["eu-west-1"]}
    file = tmp_path / "rules.json"
    file.write_text(
        json.dumps(
            {
                "aws-provider-region-is-allowed": regions,
                "aws-resource-region-is-allowed": regions,
                "kms-key-policy-pins-region": regions,
            }
        )
    )
    preview = project(abroad).pulumi("preview", *ONE, "--policy-pack-config", str(file))

    assert preview.returncode == 0, preview.stdout + preview.stderr


def configured(path: Path, changes: dict[str, Any]) -> list[str]:
    """The flags of all rules, set as in `prod` but for `changes`; the account has a trail."""
    file = path / "rules.json"
    trail = {"cloudtrail-is-complete": "mandatory"}
    file.write_text(json.dumps(json.loads(Path(ALL[3]).read_text()) | trail | changes))
    return [*ALL[:3], str(file)]


FAR = (
    PINNED
    + ENCRYPTED
    + '\naws.sqs.Queue("far", region="eu-west-1", kms_master_key_id=key.arn, opts=here)\n'
)


@pytest.mark.parametrize(
    ("program", "status", "told"),
    [
        (FAR, 0, ["excepted until", "moves home with the next release"]),
        (PINNED + ENCRYPTED, 1, ["exception 'aws:sqs/queue:Queue::far': it matches nothing"]),
    ],
    ids=["needed", "needless"],
)
def test_an_exception_excuses_one_resource_and_is_told(
    project: Project, tmp_path: Path, program: str, status: int, told: list[str]
) -> None:
    exception = {
        "resource": "aws:sqs/queue:Queue::far",
        "reason": "moves home with the next release",
        "approver": "CISO",
        "expires": str(today()),
    }
    rule = "aws-resource-region-is-allowed"
    flags = configured(tmp_path, {rule: {"exceptions": [exception]}})
    preview = project(program).pulumi("preview", *flags)

    assert preview.returncode == status, preview.stdout + preview.stderr
    for line in told:
        assert line in preview.stdout


def test_a_level_of_the_configuration_decides_whether_a_violation_stops(
    project: Project, tmp_path: Path
) -> None:
    flags = configured(tmp_path, {"aws-resource-region-is-allowed": "advisory"})
    preview = project(FAR).pulumi("preview", *flags)

    assert preview.returncode == 0, preview.stdout + preview.stderr
    assert "region is eu-west-1; allowed: me-central-1" in preview.stdout


def test_a_plan_that_a_policy_stops_says_which_and_leaves_out_what_is_pending(
    project: Project,
) -> None:
    pending = '\naws.sqs.Queue("late", region=key.arn, kms_master_key_id=key.arn, opts=here)\n'
    with pytest.raises(OfflineError, match="'far': region is eu-west-1") as caught:
        look_at(project(FAR + pending))

    assert "[mandatory]" in str(caught.value)
    assert "pending" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kms-key-rotates": {"maxRotationDay": 3}}, "maxRotationDay"),
        ({"kms-key-rotates": {"exceptions": [{"resource": "a::b"}]}}, "exceptions"),
    ],
    ids=["unknown parameter", "half an exception"],
)
def test_a_wrong_configuration_stops_the_preview_and_names_what_is_wrong(
    project: Project, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    preview = project(PINNED).pulumi("preview", *configured(tmp_path, change))

    assert preview.returncode != 0
    assert named in preview.stdout + preview.stderr


def test_the_exported_state_of_dev_passes_under_the_engine(dev: Deployed, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text(dev.state)
    analysis = _analyze(dev, state, held_to("dev"))

    assert analysis.returncode == 0, analysis.stdout + analysis.stderr


def test_an_exported_state_without_its_encryption_fails_under_the_engine(
    dev: Deployed, tmp_path: Path
) -> None:
    exported = json.loads(dev.state)
    resources = exported["deployment"]["resources"]
    exported["deployment"]["resources"] = [
        one for one in resources if "ServerSideEncryptionConfiguration" not in one["type"]
    ]
    state = tmp_path / "state.json"
    state.write_text(json.dumps(exported))
    analysis = _analyze(dev, state, ALL)

    assert analysis.returncode != 0
    assert "names no key of the owner" in analysis.stdout


def _analyze(dev: Deployed, state: Path, flags: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["pulumi", "policy", "analyze", "--file", str(state), *flags],
        cwd=dev.stack.directory,
        env=dev.stack.variables,
        capture_output=True,
        text=True,
        check=False,
    )
