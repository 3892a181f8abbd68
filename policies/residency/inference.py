"""Rules on models of Bedrock: a request is answered in the region that it is made in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.common.arns import arn_of
from policies.common.places import found, leaves, property_of, shown
from policies.common.resources import UNKNOWN, Resource
from policies.common.rule import Finding, Rule, pending
from policies.residency.regions import Regions, judged

_PROFILE = "aws:bedrock/inferenceProfile:InferenceProfile"
_GUARDRAIL = "aws:bedrock/guardrail:Guardrail"
_AGENT = "aws:bedrock/agentAgent:AgentAgent"
_MODELS = {
    _AGENT: ("foundationModel",),
    _GUARDRAIL: (),
    _PROFILE: ("copyFrom",),
    "aws:bedrock/agentDataSource:AgentDataSource": ("modelArn",),
    "aws:bedrock/agentFlow:AgentFlow": ("modelId",),
    "aws:bedrock/agentKnowledgeBase:AgentKnowledgeBase": ("embeddingModelArn",),
    "aws:bedrock/agentPrompt:AgentPrompt": ("modelId",),
    "aws:bedrock/agentcoreMemoryStrategy:AgentcoreMemoryStrategy": ("modelId",),
    "aws:bedrock/provisionedModelThroughput:ProvisionedModelThroughput": ("modelArn",),
    "aws:bedrockmodel/invocationJob:InvocationJob": ("modelId",),
}
"""Under which name a type names a model, at whatever depth."""
_BLOCKS = frozenset(
    {
        *("configuration", "definition", "knowledgeBaseConfiguration", "modelSource"),
        *("variants", "vectorIngestionConfiguration"),
    }
)
"""Where a model is: while they are not known, nor is it."""


class Models(Regions):
    """Which models may be asked."""

    modelProviders: tuple[str, ...] = (  # noqa: N815
        *("amazon", "anthropic", "meta", "mistral", "cohere", "ai21", "stability", "qwen"),
        *("openai", "deepseek"),
    )
    """First part of a model's id. That of a profile over regions is ``us``, ``global``, …"""


def inference(resource: Resource, parameters: Models) -> Iterator[Finding]:
    """A profile that AWS defines spreads requests over regions; its id looks like a model's."""
    names = _MODELS[resource.type]
    for place, model in leaves(resource.properties):
        if property_of(place) in names or (model is UNKNOWN and property_of(place) in _BLOCKS):
            yield from _judge_model(resource, shown(place), model, parameters)
    if resource.type == _GUARDRAIL:
        for place, profile in found(resource.properties, "crossRegionConfig"):
            if profile is UNKNOWN:
                yield pending(resource, shown(place))
            else:
                what = "sends what it looks at to other regions"
                yield Finding(resource=resource, where=shown(place), what=what)


def _judge_model(
    resource: Resource, where: str, model: Any, parameters: Models
) -> Iterator[Finding]:
    arn = arn_of(model)
    if model is UNKNOWN:
        yield pending(resource, where)
    elif arn is not None:
        yield from judged(resource, f"region of {where}", arn.region, parameters)
        if arn.resource.startswith("inference-profile/"):
            what = "is a profile that spreads requests over regions"
            yield Finding(resource=resource, where=where, what=what)
    elif model and str(model).partition(".")[0] not in parameters.modelProviders:
        what = f"is {model}, which is no model of {', '.join(parameters.modelProviders)}"
        yield Finding(resource=resource, where=where, what=what)


RULES = (
    Rule(
        name="bedrock-inference-stays-in-region",
        description="No model of Bedrock is asked through a profile that spans regions.",
        mend="name the in-region foundation model directly.",
        applies_to=lambda resource: resource.type in _MODELS,
        parameters=Models,
        each=inference,
    ),
)
