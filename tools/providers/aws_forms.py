"""The forms of what AWS answers: ids, ARNs and addresses of the right account and region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from standin import Compute, Kind, Resource

NO_ACCOUNT = "000000000000"
"""Stands in ARNs where the provider names no account."""
_ID_DIGITS = 17


def account(resource: Resource) -> str:
    """The account that the provider is pinned to."""
    allowed = resource.config.get("allowedAccountIds")
    return str(allowed[0]) if isinstance(allowed, list) and allowed else NO_ACCOUNT


def region(resource: Resource) -> str:
    """The resource's own region, else its provider's."""
    return str(resource.inputs.get("region") or resource.config.get("region") or "unset")


def given(name: str) -> Callable[[Resource], Any]:
    """The input `name`."""
    return lambda resource: resource.inputs.get(name)


def always(value: Any) -> Compute:
    """The same for every resource."""
    return lambda _: value


def arn(service: str, path: str, *, regional: bool = True) -> Callable[[Resource], str]:
    """An ARN; `path` may name inputs, ``{unique}`` and ``{uuid}`` in braces."""

    def compute(resource: Resource) -> str:
        place = f"{region(resource) if regional else ''}:{account(resource)}"
        return f"arn:aws:{service}:{place}:{filled(path)(resource)}"

    return compute


def filled(form: str) -> Callable[[Resource], str]:
    """A text in which inputs, ``{account}``, ``{region}``, ``{unique}`` and ``{uuid}`` stand."""

    def compute(resource: Resource) -> str:
        own = {
            "account": account(resource),
            "region": region(resource),
            "unique": resource.unique,
            "uuid": uuid_of(resource),
        }
        return form.format_map({**resource.inputs, **own})

    return compute


def uuid_of(resource: Resource) -> str:
    """A UUID of the resource's own."""
    text = resource.unique
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def id_of(prefix: str, salt: str = "") -> Compute:
    """An id such as ``vpc-0a1b…``: `prefix` and 17 digits; `salt` tells two of a resource apart."""

    def compute(resource: Resource) -> str:
        digits = resource.unique if not salt else _mixed(resource.unique, salt)
        return f"{prefix}-0{digits[: _ID_DIGITS - 1]}"

    return compute


def _mixed(digits: str, salt: str) -> str:
    shift = sum(salt.encode()) % 31 + 1
    return digits[shift:] + digits[:shift]


def of_bucket(**outputs: Compute) -> Kind:
    """A setting of a bucket, in a resource of its own."""
    return Kind(
        identifier=given("bucket"),
        outputs=outputs,
        replaced_by=frozenset({"bucket", "region"}),
        overwrites=True,
    )


def thing(
    prefix: str,
    path: str | None = None,
    *,
    service: str = "ec2",
    replaced_by: frozenset[str] = frozenset(),
    **outputs: Compute,
) -> Kind:
    """Something that the service names itself, as `prefix` and digits; `path` in its ARN."""
    arns: dict[str, Compute] = {}
    if path is not None:
        identifier = id_of(prefix)
        arns["arn"] = lambda resource: (
            f"arn:aws:{service}:{region(resource)}:{account(resource)}:{path}/{identifier(resource)}"
        )
    return Kind(
        identifier=id_of(prefix),
        outputs=arns | outputs,
        replaced_by=replaced_by | {"region"},
    )


def named(
    name: str,
    service: str,
    path: str,
    *,
    identifier: Compute | None = None,
    regional: bool = True,
    replaced_by: frozenset[str] = frozenset(),
    **outputs: Compute,
) -> Kind:
    """Something known by the input `name`, with an ARN; its id is the name unless told."""
    return Kind(
        identifier=identifier or given(name),
        outputs={"arn": arn(service, path, regional=regional)} | outputs,
        name=name,
        replaced_by=replaced_by | {"region"},
    )


def part(form: str, *inputs: str, overwrites: bool = False, **outputs: Compute) -> Kind:
    """Something known by what it belongs to: an id of the form `form`, replaced by `inputs`."""
    return Kind(
        identifier=filled(form),
        outputs=outputs,
        replaced_by=frozenset(inputs) | {"region"},
        overwrites=overwrites,
    )
