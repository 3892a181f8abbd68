"""Which accounts something may be shared with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from policies.common.arns import arn_of
from policies.common.places import document
from policies.common.resources import Resource
from policies.common.rule import Parameters

_NUMBER = re.compile(r"\d{12}")


class Sharing(Parameters):
    """With whom data and machines may be shared."""

    allowedAccounts: tuple[str, ...] = ()  # noqa: N815
    """Beside those that the provider is held to by its `allowedAccountIds`."""


def accounts_of(resource: Resource, allowed: Iterable[str] = ()) -> frozenset[str]:
    """`allowed`, and those that the provider of `resource` is held to."""
    # on a provider a list is a text in JSON
    held = document(resource.provider.at("allowedAccountIds")) if resource.provider else None
    return frozenset(allowed).union(held if isinstance(held, list) else ())


def account_in(name: Any) -> str | None:
    """The account that `name`, a number or an ARN, is in; nothing where it says none."""
    arn = arn_of(name)
    account = arn.account if arn else name
    return account if isinstance(account, str) and _NUMBER.fullmatch(account) else None
