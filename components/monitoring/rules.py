"""Rules of Prometheus as values: what is recorded, and what raises an alert.

Pure. `alerts` and `objectives` say which rules there are; a file of rules of a Prometheus on one
machine and the `spec` of a PrometheusRule in a cluster are one and the same content, `rendered`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["critical", "warning", "none"]
"""`critical` is an incident that somebody is called for, `warning` can wait for the morning, `none`
tells no person anything."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A series that is reckoned once and kept."""

    name: str
    """`level:metric:operations`, as Prometheus' own practices for recording rules have it."""
    expression: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def rendered(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        labels = {"labels": dict(self.labels)} if self.labels else {}
        return {"record": self.name, "expr": self.expression, **labels}


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Something that is wrong while `expression` gives anything."""

    name: str
    expression: str
    lasts: str
    """For how long before it is told, such as ``5m``."""
    severity: Severity
    summary: str
    """What a person reads; ``{{ $labels.x }}`` is put in by Prometheus."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def rendered(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.lasts,
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {"summary": self.summary},
        }


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rules that are evaluated one after the other."""

    name: str
    rules: tuple[Record | Alert, ...]
    interval: str | None = None
    """Between two evaluations; the server's own without it."""

    def rendered(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        interval = {"interval": self.interval} if self.interval else {}
        return {"name": self.name, **interval, "rules": [rule.rendered() for rule in self.rules]}


def rendered(groups: Iterable[Group]) -> dict[str, Any]:
    """The content of a file of rules, and the `spec` of a PrometheusRule."""
    return {"groups": [group.rendered() for group in groups]}


def alerts(groups: Iterable[Group]) -> list[Alert]:
    """Every alert in `groups`."""
    return [rule for group in groups for rule in group.rules if isinstance(rule, Alert)]
