"""The packs behind the engine's protocol, asked as the engine asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pulumi.runtime.proto import analyzer_pb2 as proto

from policies.common.analyzer import Analyzer
from policies.common.configuration import ConfigurationError
from policies.common.resources import Resource
from policies.common.rule import Finding, Parameters, Path, Rule
from policies.common.stack import Stack

TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SECRET = {
    "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"
}  # pragma: allowlist secret


def tagged(resource: Resource, _: Parameters) -> Iterator[Finding]:
    if resource.at("tags", "owner") in ("", None) or not isinstance(resource.at("tags"), Mapping):
        yield Finding(resource=resource, where="tags.owner", what="is not said")


def paired(stack: Stack, _: Parameters) -> Iterator[Finding]:
    if len(stack.of({"a:b:C"})) == 1:
        yield Finding(resource=stack[0], where="it", what="is alone")


def owner(_: Resource, __: Parameters) -> Mapping[Path, Any]:
    return {("tags", "owner"): "platform"}


RULES = (
    # the names are of rules that have controls
    Rule(
        name="kms-key-rotates",
        description="Says its owner.",
        mend="say it.",
        applies_to=lambda one: one.type == "a:b:C",
        each=tagged,
        remedy=owner,
    ),
    Rule(
        name="kms-key-is-single-region",
        description="Comes in pairs.",
        mend="add another.",
        applies_to=lambda one: one.type == "a:b:C",
        together=paired,
    ),
)


@pytest.fixture
def analyzer() -> Analyzer:
    return Analyzer("mine", "1.2.3", RULES)


def configure(analyzer: Analyzer, level: Any, name: str = "kms-key-rotates", **values: Any) -> None:
    request = proto.ConfigureAnalyzerRequest()
    request.policyConfig[name].enforcementLevel = level
    request.policyConfig[name].properties.update(values)
    analyzer.Configure(request, None)


def asked(kind: str = "a:b:C", name: str = "c", **properties: Any) -> proto.AnalyzeRequest:
    request = proto.AnalyzeRequest(type=kind, urn=f"urn::{kind}::{name}", name=name)
    request.properties.update(properties)
    return request


def stack(*names: str) -> proto.AnalyzeStackRequest:
    return proto.AnalyzeStackRequest(
        resources=[
            proto.AnalyzerResource(type="a:b:C", urn=f"urn::a:b:C::{name}", name=name)
            for name in names
        ]
    )


def test_it_tells_its_rules_with_level_kind_and_what_may_be_set(analyzer: Analyzer) -> None:
    info = analyzer.GetAnalyzerInfo(None, None)

    assert (info.name, info.version, info.supportsConfig) == ("mine", "1.2.3", True)
    each, together = info.policies
    assert each.policy_type == proto.POLICY_TYPE_RESOURCE
    assert together.policy_type == proto.POLICY_TYPE_STACK
    assert each.enforcementLevel == proto.MANDATORY
    assert "exceptions" in each.configSchema.properties
    assert each.remediation_steps == "say it."


def test_a_violation_has_resource_level_reason_and_way_out(analyzer: Analyzer) -> None:
    (said,) = analyzer.Analyze(asked(tags={"owner": ""}), None).diagnostics

    assert (said.policyName, said.urn) == ("kms-key-rotates", "urn::a:b:C::c")
    assert said.enforcementLevel == proto.MANDATORY
    assert said.message.splitlines()[0] == "Says its owner."
    assert said.message.splitlines()[1] == "a:b:C 'c': tags.owner is not said."
    assert "To mend: say it." in said.message.splitlines()[2]
    assert len(said.message.splitlines()) == 3


def test_a_resource_that_a_rule_is_not_about_is_not_applicable(analyzer: Analyzer) -> None:
    response = analyzer.Analyze(asked("x:y:Z"), None)

    assert [one.policy_name for one in response.not_applicable] == ["kms-key-rotates"]
    assert not response.diagnostics


def test_a_rule_is_asked_once_whether_it_is_about_a_resource() -> None:
    heard: list[str] = []

    def about(resource: Resource) -> bool:
        heard.append(resource.name)
        return resource.name == "c"

    once = Analyzer("mine", "1.2.3", [dataclasses.replace(RULES[0], applies_to=about)])

    assert once.Analyze(asked(), None).diagnostics
    assert once.Analyze(asked(name="d"), None).not_applicable
    assert not once.Remediate(asked(), None).remediations
    assert heard == ["c", "d"]


def test_a_rule_that_cannot_tell_what_it_is_about_is_told_as_broken() -> None:
    def about(_: Resource) -> bool:
        raise KeyError("kind")

    each, together = (dataclasses.replace(rule, applies_to=about) for rule in RULES)
    broken = Analyzer("mine", "1.2.3", [each, together])

    (said,) = broken.Analyze(asked(), None).diagnostics
    assert "the rule is broken: KeyError: 'kind'" in said.message
    # the other judges all the same, and is about all of which nobody can say that it is not
    assert not broken.AnalyzeStack(stack("c"), None).not_applicable


def test_a_stack_is_judged_as_a_whole(analyzer: Analyzer) -> None:
    assert len(analyzer.AnalyzeStack(stack("c"), None).diagnostics) == 1
    assert not analyzer.AnalyzeStack(stack("c", "d"), None).diagnostics
    empty = analyzer.AnalyzeStack(stack(), None)
    assert [one.policy_name for one in empty.not_applicable] == ["kms-key-is-single-region"]


@pytest.mark.parametrize(
    ("level", "told"), [(proto.ADVISORY, [proto.ADVISORY]), (proto.DISABLED, [])]
)
def test_the_run_says_the_level(analyzer: Analyzer, level: Any, told: list[Any]) -> None:
    configure(analyzer, level)
    response = analyzer.Analyze(asked(), None)

    assert [one.enforcementLevel for one in response.diagnostics] == told


def test_a_rule_that_breaks_stops_the_run_at_every_level() -> None:
    breaks = dataclasses.replace(RULES[0], each=lambda *_: iter([1 / 0]))
    analyzer = Analyzer("mine", "1.2.3", [breaks])
    configure(analyzer, proto.ADVISORY)
    (said,) = analyzer.Analyze(asked(), None).diagnostics

    assert said.enforcementLevel == proto.MANDATORY
    assert "rule kms-key-rotates cannot be judged" in said.message


def test_a_wrong_parameter_stops_the_run(analyzer: Analyzer) -> None:
    with pytest.raises(ConfigurationError, match="maximum"):
        configure(analyzer, proto.MANDATORY, maximum=3)


EXCEPTION = {
    "resource": "a:b:C::c",
    "reason": "is taken down next month",
    "approver": "CISO",
    "expires": "2026-01-01",
}


def test_an_exception_of_a_rule_on_one_resource_is_known_when_the_stack_ends(
    analyzer: Analyzer,
) -> None:
    configure(analyzer, proto.MANDATORY, exceptions=[EXCEPTION])

    (needless, _) = analyzer.AnalyzeStack(stack("c"), None).diagnostics[::-1]
    assert "matches nothing" in needless.message
    analyzer.Analyze(asked(), None)
    assert len(analyzer.AnalyzeStack(stack("c"), None).diagnostics) == 1
    # another run begins
    analyzer.ConfigureStack(proto.AnalyzerStackConfigureRequest(), None)
    assert len(analyzer.AnalyzeStack(stack("c"), None).diagnostics) == 2


def test_a_remedy_is_set_only_where_the_run_asks_and_leaves_the_rest(analyzer: Analyzer) -> None:
    request = asked(key=TEXT, password={**SECRET, "value": "hidden"})

    assert not analyzer.Remediate(request, None).remediations
    configure(analyzer, proto.REMEDIATE)
    (remedied,) = analyzer.Remediate(request, None).remediations
    assert remedied.policyName == "kms-key-rotates"
    assert remedied.properties["tags"]["owner"] == "platform"
    assert remedied.properties["key"] == TEXT
    assert remedied.properties["password"]["4dabf18193072939515e22adb298388d"]
    assert not analyzer.Remediate(asked("x:y:Z"), None).remediations
    # what a remedy could not mend stops the run
    (said,) = analyzer.Analyze(asked(), None).diagnostics
    assert said.enforcementLevel == proto.MANDATORY
