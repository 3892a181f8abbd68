"""Which documents are made from the program, and what each should say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stacks.environment import ROOT
from stacks.offline import offline
from stacks.plan import Plan, look_at
from stacks.settings import read_file
from tools.documents import compliance, environments, outputs
from tools.documents.application import application
from tools.documents.data import data
from tools.documents.flows import flows
from tools.documents.technology import relations, technology

REMEDY = "run `make documents`, look at what changed, and commit it"

ARCHITECTURE = "docs/architecture.md"
COMPLIANCE = "docs/compliance.md"
ENVIRONMENTS = "docs/environments.md"
OUTPUTS = "docs/outputs.md"

LOOKED_AT = ("local", "dev", "prod")
"""The environments that the pictures and the page of outputs are made of."""

_KUBECONFIG = "apiVersion: v1\n"
"""Nobody's: it lets a plan hold what is deployed to a cluster that exists."""

_MARKED = re.compile(r"(<!-- drawn: ([\w ]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


@dataclass(frozen=True)
class Look:
    """An environment as planned offline."""

    plan: Plan
    outputs: frozenset[str]
    """The names of its stack outputs."""


def looks() -> dict[str, Look]:
    """Every environment of `LOOKED_AT`. Takes a preview each; raises `OfflineError`."""
    return {name: look_at_environment(name) for name in LOOKED_AT}


def look_at_environment(name: str) -> Look:
    """The environment `name`. Raises `OfflineError`."""
    with offline(name) as stack:
        if name != "local" and (aws := read_file(name).aws) and aws.existing_cluster is not None:
            stack.pulumi(
                "config", "set", "--secret", "falaj:kubeconfig", standard_input=_KUBECONFIG
            )
        saved = stack.directory / "saved.json"
        plan = look_at(stack, None, "--save-plan", str(saved))
        resources = json.loads(saved.read_text(encoding="utf-8"))["resourcePlans"]
    (stack_outputs,) = (
        one["goal"]["outputDiff"].get("adds", {})
        for urn, one in resources.items()
        if "::pulumi:pulumi:Stack::" in urn
    )
    return Look(plan=plan, outputs=frozenset(stack_outputs))


def written(found: Mapping[str, Look] | None = None) -> dict[str, str]:
    """Path → text of each document. Raises `OfflineError`, `SettingsError`."""
    looked = looks() if found is None else found
    return {
        COMPLIANCE: compliance.document(),
        ENVIRONMENTS: environments.document(),
        OUTPUTS: outputs.document({name: one.outputs for name, one in looked.items()}),
        ARCHITECTURE: with_pictures(
            (ROOT / ARCHITECTURE).read_text(encoding="utf-8"),
            {name: one.plan for name, one in looked.items()},
        ),
    }


def with_pictures(text: str, plans: Mapping[str, Plan]) -> str:
    """`text` with the pictures of `plans` between their marks.

    Raises `KeyError` when a mark names no picture, or a picture has no mark.
    """
    prod, settings = plans["prod"], read_file("prod")
    drawn = {
        "parts of prod": relations(prod),
        "parts of dev": relations(plans["dev"]),
        "network of prod": technology(prod),
        "data of prod": data(prod, settings),
        "identities of prod": application(prod, settings),
        "flows of the cluster": flows(),
    }
    marked = {match[2] for match in _MARKED.finditer(text)}
    if marked != drawn.keys():
        raise KeyError(f"marks: {sorted(marked)}; pictures: {sorted(drawn)}")
    return _MARKED.sub(lambda match: f"{match[1]}\n{drawn[match[2]]}\n{match[3]}", text)
