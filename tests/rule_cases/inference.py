"""Cases of `policies/residency/inference.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import Cases, resource
from rule_cases.values import nested

PROFILE, AGENT = (
    "aws:bedrock/inferenceProfile:InferenceProfile",
    "aws:bedrock/agentAgent:AgentAgent",
)
GUARDRAIL = "aws:bedrock/guardrail:Guardrail"
KNOWLEDGE = "aws:bedrock/agentKnowledgeBase:AgentKnowledgeBase"
VECTORS = "knowledgeBaseConfiguration.vectorKnowledgeBaseConfiguration.embeddingModelArn"
INGESTION = "vectorIngestionConfiguration"
MODEL = "arn:aws:bedrock:{}::foundation-model/anthropic.claude-v2"
SPREAD = "arn:aws:bedrock:me-central-1:1:inference-profile/us.anthropic.claude-v2"
BY_ID = (
    (AGENT, "foundationModel"),
    (
        "aws:bedrock/agentFlow:AgentFlow",
        "definition.nodes*.configuration.prompt.sourceConfiguration.inline.modelId",
    ),
    ("aws:bedrock/agentPrompt:AgentPrompt", "variants*.modelId"),
    (
        "aws:bedrock/agentcoreMemoryStrategy:AgentcoreMemoryStrategy",
        "configuration.extraction.modelId",
    ),
    ("aws:bedrockmodel/invocationJob:InvocationJob", "modelId"),
)
BY_ARN = (
    (PROFILE, "modelSource.copyFrom"),
    (
        "aws:bedrock/agentDataSource:AgentDataSource",
        f"{INGESTION}.parsingConfiguration.bedrockFoundationModelConfiguration.modelArn",
    ),
    (KNOWLEDGE, VECTORS),
    ("aws:bedrock/provisionedModelThroughput:ProvisionedModelThroughput", "modelArn"),
)


def one(kind: str, path: str, value: Any) -> list[Resource]:
    return [resource(kind, "one", nested(path, value))]


CASES = (
    Cases(
        rule="bedrock-inference-stays-in-region",
        baseline=one(AGENT, "foundationModel", "anthropic.claude-v2"),
        fails={
            **{kind: one(kind, path, "us.anthropic.claude-v2") for kind, path in BY_ID},
            **{kind: one(kind, path, MODEL.format("us-east-1")) for kind, path in BY_ARN},
            "a profile of all the world": one(AGENT, "foundationModel", "global.amazon.nova"),
            "a profile of a profile": one(PROFILE, "modelSource.copyFrom", SPREAD),
            "in a list": one(PROFILE, "modelSource*.copyFrom", SPREAD),
            "a guardrail": one(GUARDRAIL, "crossRegionConfig.guardrailProfileIdentifier", "us.1"),
        },
        passes={
            **{f"{kind} here": one(kind, path, "amazon.nova-v1:0") for kind, path in BY_ID},
            **{
                f"{kind} here": one(kind, path, MODEL.format("me-central-1"))
                for kind, path in BY_ARN
            },
            "a guardrail in the region": one(GUARDRAIL, "name", "one"),
            "a profile of one's own": one(
                AGENT,
                "foundationModel",
                "arn:aws:bedrock:me-central-1:1:application-inference-profile/a",
            ),
        },
        pending={
            "which model": one(AGENT, "foundationModel", UNKNOWN),
            "which prompts": one("aws:bedrock/agentPrompt:AgentPrompt", "variants", UNKNOWN),
            "which source": one(PROFILE, "modelSource", UNKNOWN),
            "which embedding": one(KNOWLEDGE, "knowledgeBaseConfiguration", UNKNOWN),
            "whether a guardrail": one(GUARDRAIL, "crossRegionConfig", UNKNOWN),
        },
    ),
)
