"""A policy pack as the engine runs it: the rules behind the protocol of Pulumi's analyzers.

It takes the place of `pulumi_policy.PolicyPack`, which reads every resource anew for each rule, so
that a run of n rules costs n times the reading, and which cannot say of a resource that a rule is
not decided yet. Here a resource is read once, the stack is joined once, what is pending is told of
its resource, and rules know their exceptions at the end (ADR 0029). Protocol: pulumi/pulumi,
proto/pulumi/analyzer.proto; its messages are those of the SDK.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent import futures
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import analyzer_pb2 as proto
from pulumi.runtime.proto import plugin_pb2
from pulumi.runtime.proto.analyzer_pb2_grpc import (
    AnalyzerServicer,
    add_AnalyzerServicer_to_server,
)

from policies import VERSION
from policies.common.configuration import LEVEL, Configured, configured, judged, schema_of
from policies.common.resources import of_request, of_stack
from policies.common.rule import Finding, Level, Path, Rule, unmatched
from policies.common.stack import Stack

_LARGEST = 400 * 1024 * 1024
"""Bytes of a message: the engine's own limit. A stack comes in one."""
_LEVELS: Mapping[Level, proto.EnforcementLevel.ValueType] = {
    "advisory": proto.ADVISORY,
    "mandatory": proto.MANDATORY,
    "disabled": proto.DISABLED,
    "remediate": proto.REMEDIATE,
}
_NAMES = {number: level for level, number in _LEVELS.items()}


class Analyzer(AnalyzerServicer):
    """Answers the engine for one run."""

    def __init__(self, name: str, version: str, rules: Sequence[Rule]) -> None:
        self._name, self._version = name, version
        self._rules = {rule.name: rule for rule in rules}
        # most rules are not about most resources
        self._not_applicable = {
            name: proto.PolicyNotApplicable(policy_name=name) for name in self._rules
        }
        self._configure()
        self._lock = threading.Lock()
        self._seen: dict[str, list[Finding]] = {name: [] for name in self._rules}
        """What rules about one resource found of those with exceptions."""

    def GetPluginInfo(self, request: Any, context: Any) -> plugin_pb2.PluginInfo:  # noqa: N802
        """Its version."""
        return plugin_pb2.PluginInfo(version=self._version)

    def GetAnalyzerInfo(self, request: Any, context: Any) -> proto.AnalyzerInfo:  # noqa: N802
        """Its rules, and what may be set of them."""
        return proto.AnalyzerInfo(
            name=self._name,
            version=self._version,
            supportsConfig=True,
            policies=[_described(rule) for rule in self._rules.values()],
        )

    def Configure(self, request: proto.ConfigureAnalyzerRequest, context: Any) -> Empty:  # noqa: N802
        """Takes what the run's configuration file says of the rules."""
        said = {
            name: {
                **MessageToDict(one.properties),
                LEVEL: _NAMES[one.enforcementLevel],
            }
            for name, one in request.policyConfig.items()
            if name in self._rules
        }
        self._configure(said)
        return Empty()

    def _configure(self, said: Mapping[str, Any] | None = None) -> None:
        in_force = [
            one for one in configured(self._rules.values(), said) if one.level != "disabled"
        ]
        self._each = [one for one in in_force if one.rule.sees == "inputs"]
        self._together = [one for one in in_force if one.rule.sees == "outputs"]
        self._remedies = [
            (one, one.rule.remedy)
            for one in self._each
            if one.level == "remediate" and one.rule.remedy is not None
        ]

    def ConfigureStack(  # noqa: N802
        self, request: proto.AnalyzerStackConfigureRequest, context: Any
    ) -> proto.AnalyzerStackConfigureResponse:
        """Begins a run: what was found of another stack is forgotten."""
        with self._lock:
            self._seen = {name: [] for name in self._rules}
        return proto.AnalyzerStackConfigureResponse()

    def Analyze(self, request: proto.AnalyzeRequest, context: Any) -> proto.AnalyzeResponse:  # noqa: N802
        """Judges the inputs of one resource."""
        response, resource = proto.AnalyzeResponse(), of_request(request)
        others = []
        for one in self._each:
            findings = one.rule.judge_one(resource, one.parameters)
            if findings is None:
                others.append(self._not_applicable[one.rule.name])
                continue
            if one.parameters.exceptions:
                with self._lock:
                    self._seen[one.rule.name] += findings
            self._tell(response, one, findings)
        response.not_applicable.extend(others)
        return response

    def AnalyzeStack(  # noqa: N802
        self, request: proto.AnalyzeStackRequest, context: Any
    ) -> proto.AnalyzeResponse:
        """Judges the outputs of the whole stack, and whether each exception was needed."""
        response, stack = proto.AnalyzeResponse(), Stack(of_stack(request.resources))
        for one in self._together:
            result = judged(one, stack)
            if not result.applicable:
                response.not_applicable.append(self._not_applicable[one.rule.name])
            self._tell(response, one, result.findings)
        for one in self._each:
            self._tell(
                response, one, unmatched(one.parameters.exceptions, self._seen[one.rule.name])
            )
        return response

    def Remediate(self, request: proto.AnalyzeRequest, context: Any) -> proto.RemediateResponse:  # noqa: N802
        """Sets what a rule at the level `remediate` would have set; secrets stay what they are."""
        response = proto.RemediateResponse()
        if not self._remedies:  # the engine asks of every resource all the same
            return response
        properties = Struct()
        properties.CopyFrom(request.properties)
        resource = of_request(request)
        for one, remedy in self._remedies:
            if not one.rule.is_about(resource):
                continue
            changes = remedy(resource, one.parameters)
            for path, value in changes.items():
                _set(properties, path, value)
            if changes:
                response.remediations.add(
                    policyName=one.rule.name,
                    policyPackName=self._name,
                    policyPackVersion=self._version,
                    description=one.rule.description,
                    properties=properties,
                )
        return response

    def _tell(
        self, response: proto.AnalyzeResponse, one: Configured, findings: Iterable[Finding]
    ) -> None:
        for finding in findings:
            violation = finding.verdict == "violation"
            told = one.level in ("advisory", "disabled") and not finding.broken
            level = _LEVELS[one.level if told else "mandatory"]
            said = f"{finding.sentence}."
            if finding.verdict == "pending":
                said = f"pending: {finding.sentence}; it is checked again at up."
            elif violation:
                said = f"{finding.sentence}.\n{one.rule.advice}"
            response.diagnostics.add(
                policyName=one.rule.name,
                policyPackName=self._name,
                policyPackVersion=self._version,
                description=one.rule.description,
                message=f"{one.rule.description}\n{said}",
                urn=finding.resource.urn,
                enforcementLevel=level if violation else proto.ADVISORY,
            )


def serve(name: str, rules: Sequence[Rule]) -> None:
    """Serves `rules` to the engine as the policy pack `name`, until it is stopped."""
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=4),
        options=[("grpc.max_receive_message_length", _LARGEST)],
    )
    add_AnalyzerServicer_to_server(Analyzer(name, VERSION, rules), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    # the engine waits for it
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    server.wait_for_termination()


def _described(rule: Rule) -> proto.PolicyInfo:
    info = proto.PolicyInfo(
        name=rule.name,
        description=rule.description,
        enforcementLevel=_LEVELS[rule.level],
        policy_type=(
            proto.POLICY_TYPE_RESOURCE if rule.sees == "inputs" else proto.POLICY_TYPE_STACK
        ),
        remediation_steps=rule.mend,
    )
    info.configSchema.properties.update(schema_of(rule))
    return info


def _set(properties: Struct, path: Path, value: Any) -> None:
    """Sets one property; what is on the way and not there is made."""
    inner: Any = properties
    for step in path[:-1]:
        if isinstance(step, str) and step not in inner.fields:
            inner[step] = {}
        inner = inner[step]
    inner[path[-1]] = value
