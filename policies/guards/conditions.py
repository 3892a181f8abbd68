"""Conditions of policies that several documents share, as IAM writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Conditions = Mapping[str, Mapping[str, str | Sequence[str]]]
"""Operator → condition key → value or values."""

REGION = "aws:RequestedRegion"
"""The key of where a request is made."""
WITHOUT_TLS: Conditions = {"Bool": {"aws:SecureTransport": "false"}}
"""Holds of every request that does not come over TLS."""


def outside(regions: Iterable[str]) -> Conditions:
    """Holds of every request that is made in none of `regions`."""
    return {"StringNotEquals": {REGION: list(regions)}}


def of_strangers(home: Mapping[str, str | Sequence[str]]) -> Conditions:
    """Holds of everybody but services and whom all of `home` (condition key → values) names.

    A service has no organisation; where one is let in, `aws:SourceAccount` pins it.
    """
    return {
        "StringNotEqualsIfExists": home,
        "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
    }
