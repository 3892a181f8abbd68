"""The auditor pack: complete, of the day it was made, and told from an altered one."""

from __future__ import annotations

import csv
import hashlib
import json
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner, Result

from policies.cli import InputError
from policies.cli_evidence import app
from policies.common.exceptions import today
from policies.common.rule import OUTCOMES
from policies.evidence.record import code
from policies.evidence.seal import SealError
from policies.evidence.signing_keys import SigningKeyError
from policies.packs import RULES

RUNNER = CliRunner()
Make = Callable[..., Result]


def state(region: str) -> dict[str, Any]:
    provider = "urn:pulumi:prod::bank::pulumi:providers:aws::home"
    return {
        "version": 3,
        "deployment": {
            "resources": [
                {
                    "urn": provider,
                    "type": "pulumi:providers:aws",
                    "inputs": {"region": "me-central-1"},
                },
                {
                    "urn": "urn:pulumi:prod::bank::aws:sqs/queue:Queue::<b>queue</b>",
                    "type": "aws:sqs/queue:Queue",
                    "inputs": {"region": region},
                    "provider": f"{provider}::id",
                },
            ]
        },
    }


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "evidence.key"
    assert RUNNER.invoke(app, ["key", str(file)]).exit_code == 0
    return file


@pytest.fixture
def make(tmp_path: Path, key: Path) -> Make:
    """Makes a pack in the folder named, of a queue in the region named."""

    def made(
        folder: str, region: str = "me-central-1", *more: str, kind: str = "mainland-bank"
    ) -> Result:
        file = tmp_path / "state.json"
        file.write_text(json.dumps(state(region)))
        told = ["--state", str(file), "-e", "prod", "--jurisdiction", kind, "--key", str(key)]
        return RUNNER.invoke(app, ["create", *told, "--out", str(tmp_path / folder), *more])

    return made


def evidence(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "evidence.json").read_text()))


def test_it_says_of_each_rule_how_it_came_out_and_of_what_it_was_made(
    make: Make, tmp_path: Path
) -> None:
    assert make("one", "eu-west-1").exit_code == 0
    found = evidence(tmp_path / "one")

    assert found["stack"] == "bank/prod"
    assert [rule["name"] for rule in found["rules"]] == [rule.name for rule in RULES]
    assert list(found["summary"]) == list(OUTCOMES)
    assert sum(found["summary"].values()) == len(RULES)
    (far,) = [one for one in found["rules"] if one["name"] == "aws-resource-region-is-allowed"]
    assert (far["outcome"], far["resources"]) == ("failed", 1)
    assert far["findings"][0]["what"] == "is eu-west-1; allowed: me-central-1"
    assert found["packs"]["sha256"] == code()
    read = (tmp_path / "state.json").read_bytes()
    assert found["read"]["state"] == hashlib.sha256(read).hexdigest()


def test_a_control_is_as_good_as_its_worst_rule_and_bound_to_the_organisation(
    make: Make, tmp_path: Path
) -> None:
    make("one", "eu-west-1")
    controls = {one["control"]: one for one in evidence(tmp_path / "one")["controls"]}

    assert controls["CBUAE CPS 6.1.6.3"]["outcome"] == "failed"
    assert "aws-resource-region-is-allowed" in controls["CBUAE CPS 6.1.6.3"]["rules"]
    assert not any(name.startswith("UAE-PDPL") for name in controls)
    with (tmp_path / "one" / "controls.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["control"]: row["outcome"] for row in rows} == {
        name: one["outcome"] for name, one in controls.items()
    }
    page = (tmp_path / "one" / "report.html").read_text()
    assert "Art. 2 leaves out government data" in page


def test_what_changed_since_the_last_one_is_said(make: Make, tmp_path: Path) -> None:
    make("one", "eu-west-1")
    make("two", "me-central-1", "--since", str(tmp_path / "one"))
    trend = evidence(tmp_path / "two")["trend"]

    assert trend["since"] == evidence(tmp_path / "one")["made_at"]
    assert {"rule": "aws-resource-region-is-allowed", "before": "failed", "now": "passed"} in (
        trend["changed"]
    )


def test_exceptions_stand_in_it_with_their_state(make: Make, tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    exception = {
        "resource": "aws:sqs/queue:Queue::<b>queue</b>",
        "reason": "moves home with the next release",
        "approver": "CISO",
        "expires": str(today() + timedelta(days=3)),
    }
    needless = exception | {"resource": "aws:sqs/queue:Queue::other"}
    name = "aws-resource-region-is-allowed"
    rules.write_text(json.dumps({name: {"exceptions": [exception, needless]}}))
    make("one", "eu-west-1", "--config", str(rules))
    found = evidence(tmp_path / "one")["exceptions"]

    assert [(one["rule"], one["state"]) for one in found] == [
        (name, "in force"),
        (name, "matches nothing"),
    ]


def test_the_page_escapes_what_resources_are_called_and_asks_for_nothing_outside(
    make: Make, tmp_path: Path
) -> None:
    make("one", "eu-west-1")
    page = (tmp_path / "one" / "report.html").read_text()

    assert "&lt;b&gt;queue&lt;/b&gt;" in page
    assert "<b>queue" not in page
    assert "default-src 'none'" in page
    assert "http:" not in page
    assert "https:" not in page


def test_what_was_signed_is_verified_by_the_public_key(
    make: Make, tmp_path: Path, key: Path
) -> None:
    make("one")
    done = RUNNER.invoke(
        app, ["verify", str(tmp_path / "one"), "--key", str(key.with_suffix(".pub"))]
    )

    assert done.exit_code == 0
    assert "as signed; bank/prod" in done.stdout


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda one: (one / "evidence.json").write_text("{}"), "evidence.json was altered"),
        (lambda one: (one / "controls.csv").unlink(), "controls.csv is missing"),
        (lambda one: (one / "more.txt").write_text(""), "more.txt is too much"),
        (lambda one: (one / "manifest.json").write_text('{"files": {}}'), "was not signed with"),
        (lambda one: (one / "manifest.sig").unlink(), "cannot be verified"),
    ],
    ids=["altered", "missing", "added", "manifest", "signature"],
)
def test_what_is_not_as_it_was_signed_is_refused(
    make: Make, tmp_path: Path, key: Path, tamper: Callable[[Path], Any], message: str
) -> None:
    make("one")
    tamper(tmp_path / "one")
    done = RUNNER.invoke(
        app, ["verify", str(tmp_path / "one"), "--key", str(key.with_suffix(".pub"))]
    )

    assert isinstance(done.exception, SealError)
    assert message in str(done.exception)


def test_another_key_does_not_verify_it(make: Make, tmp_path: Path) -> None:
    make("one")
    RUNNER.invoke(app, ["key", str(tmp_path / "other.key")])
    done = RUNNER.invoke(
        app, ["verify", str(tmp_path / "one"), "--key", str(tmp_path / "other.pub")]
    )

    assert "was not signed with the key" in str(done.exception)


def test_a_key_is_its_owners_alone_and_not_written_over(key: Path, make: Make) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    again = RUNNER.invoke(app, ["key", str(key)])
    assert "a key is not written over" in str(again.exception)
    key.chmod(0o644)
    assert "may be read by others" in str(make("one").exception)


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Makes a key of KMS and answers how it is named to sign with."""
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with mock_aws():
        client = boto3.client("kms", region_name="me-central-1")

        def made(spec: str) -> str:
            kept = client.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")
            return f"awskms:///{kept['KeyMetadata']['Arn']}"

        yield made


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384"])
def test_a_key_of_kms_signs_and_its_public_half_verifies_without_aws(
    make: Make, kms: Callable[[str], str], tmp_path: Path, spec: str
) -> None:
    name, other = kms(spec), kms(spec)
    assert make("one", "me-central-1", "--key", name).exit_code == 0
    public, wrong = tmp_path / "kms.pub", tmp_path / "other.pub"
    public.write_text(RUNNER.invoke(app, ["public-key", name]).stdout)
    wrong.write_text(RUNNER.invoke(app, ["public-key", other]).stdout)

    def verified(file: Path) -> Result:
        return RUNNER.invoke(app, ["verify", str(tmp_path / "one"), "--key", str(file)])

    assert (tmp_path / "one" / "evidence.pub").read_bytes() == public.read_bytes()
    assert verified(public).exit_code == 0
    assert "was not signed with the key" in str(verified(wrong).exception)
    (tmp_path / "one" / "controls.csv").write_text("")
    assert "controls.csv was altered" in str(verified(public).exception)


def test_a_key_of_kms_that_cannot_sign_is_told_by_its_name(
    make: Make, kms: Callable[[str], str], tmp_path: Path
) -> None:
    for name, message in (
        ("awskms:///alias/evidence", "names no key: awskms:///arn:aws:kms:me-central-1"),
        ("awskms:///arn:aws:s3:::bucket", "names no key"),
        (kms("RSA_2048"), "is no key on the curve P-256 or P-384; make one of ECC_NIST"),
        ("awskms:///arn:aws:kms:me-central-1:123456789012:key/none", "cannot be used"),
    ):
        failed = make("one", "me-central-1", "--key", name).exception
        assert isinstance(failed, SigningKeyError)
        assert message in str(failed)
    assert not (tmp_path / "one").exists()


def test_evidence_is_not_written_over_and_wrong_input_is_named(make: Make, tmp_path: Path) -> None:
    make("one")
    assert "evidence is not written over" in str(make("one").exception)
    wrong = make("two", kind="bank")
    assert isinstance(wrong.exception, InputError)
    assert "mainland-bank" in str(wrong.exception)
    assert not (tmp_path / "two").exists()
    assert not list(tmp_path.glob(".one-*"))
