"""`docs/outputs.md`: what a platform promises to the teams on it, and who fills what by now."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from components.contract import (
    CAPABILITY_FIELDS,
    CONTRACT_VERSION,
    SECRET_FIELDS,
    PlatformOutputs,
)
from tools.documents.docstrings import cell, of_class, of_fields, table

EXAMPLE = """import pulumi

from components.contract import PlatformOutputs

platform = pulumi.StackReference("platform", stack_name="organization/falaj/dev")


def store(outputs: dict[str, object]) -> str | None:
    contract = PlatformOutputs.parse(outputs)
    contract.require("artifacts", "tenancy")
    return contract.artifact_uri


pulumi.export("store", platform.outputs.apply(store))
"""
"""A program of a team; a test runs it."""

_YES = "yes"


def document(filled: Mapping[str, Collection[str]]) -> str:
    """The text of `docs/outputs.md`; `filled` holds the outputs of each environment."""
    of_capability = [name for names in CAPABILITY_FIELDS.values() for name in names]
    others = [name for name in PlatformOutputs.model_fields if name not in of_capability]
    parts = [_HEAD.format(version=CONTRACT_VERSION), "## In every environment\n"]
    parts.append(_table(others, filled))
    parts.append("## What its capabilities promise\n")
    parts.append(_table(sorted(of_capability, key=_capability), filled, of_capability=True))
    for model in _models(PlatformOutputs):
        parts += [f"## {model.__name__}\n", f"{cell(of_class(model))}\n", _of_part(model)]
    parts.append(_CONSUME.format(example=EXAMPLE))
    return "\n".join(parts)


def _capability(field: str) -> str:
    """The capability that promises `field`."""
    return next(name for name, fields in CAPABILITY_FIELDS.items() if field in fields)


def _table(
    names: list[str], filled: Mapping[str, Collection[str]], *, of_capability: bool = False
) -> str:
    said = of_fields(PlatformOutputs)
    rows = [
        (
            *((f"`{_capability(name)}`",) if of_capability else ()),
            f"`{name}`",
            type_of(PlatformOutputs.model_fields[name].annotation),
            cell(said.get(name, "")),
            _YES if name in SECRET_FIELDS else "",
            *(_YES if name in outputs else "" for outputs in filled.values()),
        )
        for name in names
    ]
    first = ("capability",) if of_capability else ()
    return table((*first, "output", "type", "meaning", "secret", *filled), rows)


def _of_part(model: type[BaseModel]) -> str:
    said = of_fields(model)
    return table(
        ("field", "type", "meaning"),
        [
            (f"`{name}`", type_of(field.annotation), cell(said.get(name, "")))
            for name, field in model.model_fields.items()
        ],
    )


def type_of(annotation: Any) -> str:
    """A type in words; that a value may be missing is in the columns of the environments."""
    inner = [one for one in typing.get_args(annotation) if one not in (types.NoneType, ...)]
    match typing.get_origin(annotation):
        case types.UnionType | typing.Union:
            return " or ".join(type_of(one) for one in inner)
        case _ if typing.get_origin(annotation) is Literal:
            return " or ".join(f"`{one}`" for one in inner)
        case _ if typing.get_origin(annotation) is tuple:
            return f"list of {type_of(inner[0])}"
        case _ if typing.get_origin(annotation) is dict:
            return f"name → {type_of(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}[annotation]


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The models that the fields of `model` hold, and theirs, each once."""
    found: dict[type[BaseModel], None] = {}
    ahead: list[Any] = [field.annotation for field in model.model_fields.values()]
    while ahead:
        one = ahead.pop(0)
        if isinstance(one, type) and issubclass(one, BaseModel) and one not in found:
            found[one] = None
            ahead += [field.annotation for field in one.model_fields.values()]
        ahead += typing.get_args(one) if typing.get_origin(one) is not Literal else ()
    yield from found


_HEAD = """# Outputs

<!-- Written by `make documents` from components/contract.py; change that, not this page. -->

What the platform of an environment exports, as stack outputs: version {version} of the contract
with the teams on it. A new field raises the minor version, anything that would break a consumer
the major one. The outputs of a capability are all there exactly if `capabilities` names it.

The last columns say which environments fill a field by now: `local` on this machine, `dev` and
`prod` as planned offline. `dev` joins a cluster that exists, so it fills `teams` and `kubeconfig`
once the secret `falaj:kubeconfig` is set, as it is here. A secret is encrypted in the state, and
whatever a program makes of it is a secret too.
"""

_CONSUME = """## How to read them

A program of a team, on the same backend:

```python
{example}```

`parse` refuses outputs of another major version, `require` a platform that lacks something, naming
what it offers. Outputs hold secrets, so what comes of them is one as well; where a value is none,
`pulumi.Output.unsecret` says so. `workloads/__main__.py` reads the contract in the same way. From
outside of Pulumi: `pulumi stack output --json -s dev`.
"""
