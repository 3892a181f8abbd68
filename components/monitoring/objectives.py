"""What users may expect of the platform, and alerts on how fast that expectation is used up.

An objective says which share of what is asked goes well over a window of 30 days; the rest is a
budget of errors. An alert is raised when the budget is spent too fast: over a long time span, so
that a single failure calls nobody, and over a short one at once, so that it ends soon after the
cause. Source: Google, The Site Reliability Workbook, chapter 5, "Alerting on SLOs", approach 6
(multiwindow, multi-burn-rate) with the shares and spans of its table 5-8.

With a few requests in an hour one failure is a large share: the chapter's "low-traffic services"
holds of such a workload too. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from components.monitoring.rules import Alert, Group, Record, Severity

LATENCY_BOUNDS_MS = (10, 15, 25, 50, 100, 250, 500, 1000, 2500, 5000)
"""At which a model server counts how many answers were faster: bounds of `falaj_request_seconds`
(`workloads/delivery/component.py`), in ms."""

_HOURS = {"5m": 1 / 12, "30m": 0.5, "1h": 1.0, "6h": 6.0, "3d": 72.0}
"""The spans that are recorded."""


@dataclass(frozen=True, kw_only=True)
class _Burn:
    """Raised when `budget_percent` of the window's budget went within `long`."""

    budget_percent: float
    long: str
    short: str


_FAST = (
    _Burn(budget_percent=2, long="1h", short="5m"),
    _Burn(budget_percent=5, long="6h", short="30m"),
)
_SLOW = (_Burn(budget_percent=10, long="3d", short="6h"),)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What goes well, and how often."""

    name: str
    """Such as ``availability``: the label `slo` of its series."""
    percent: float
    """Of what is asked, at least."""
    errors: Callable[[str], str]
    """Span, such as ``5m`` → PromQL of the share that failed in it, from 0 to 1."""
    about: str
    """Whose objective it is, in an alert's summary: what it says and its labels."""
    window_days: int = 30

    def __post_init__(self) -> None:
        """Raises `ValueError` for an objective whose alert could not be raised."""
        most = max(self.threshold(burn) for burn in _FAST + _SLOW)
        if not 0 < self.percent < 100 or most >= 1:
            raise ValueError(
                f"objective {self.name}: {self.percent} %; between 95 and 100, without either: "
                "of less so much may fail that its budget is not spent faster when all fails"
            )

    def threshold(self, burn: _Burn) -> float:
        """The share of failures that spends as much within its long span."""
        rate = burn.budget_percent / 100 * self.window_days * 24 / _HOURS[burn.long]
        return rate * (1 - self.percent / 100)


def errors_in(span: str) -> str:
    """The name of the series of failures over `span`, as a share."""
    return f"falaj:slo_errors:ratio_rate{span}"


TARGET = "falaj:slo_target:ratio"
"""The name of the series of what was promised, as a share."""


def objective_rules(objectives: Iterable[Objective]) -> tuple[Group, ...]:
    """What is recorded for each objective, and its two alerts."""
    return tuple(
        Group(
            name=f"objective-{objective.name}",
            # twice within the five minutes after which Prometheus forgets a sample
            interval="1m",
            rules=(
                *(
                    Record(
                        name=errors_in(span),
                        expression=objective.errors(span),
                        labels={"slo": objective.name},
                    )
                    for span in _HOURS
                ),
                Record(
                    name=TARGET,
                    expression=f"vector({objective.percent / 100:g})",
                    labels={"slo": objective.name},
                ),
                _alert(objective, _FAST, "Fast", "critical"),
                _alert(objective, _SLOW, "Slowly", "warning"),
            ),
        )
        for objective in objectives
    )


def _alert(objective: Objective, burns: tuple[_Burn, ...], pace: str, severity: Severity) -> Alert:
    def burning(burn: _Burn) -> str:
        sides = [
            f'{errors_in(span)}{{slo="{objective.name}"}} > {objective.threshold(burn):.6g}'
            for span in (burn.long, burn.short)
        ]
        return f"({' and '.join(sides)})"

    return Alert(
        name=f"{objective.name.title()}BudgetBurns{pace}",
        expression=" or ".join(burning(burn) for burn in burns),
        lasts="0s",
        severity=severity,
        summary=f"{objective.about}: failures spend the month's budget {pace.lower()}",
    )


# --- what is promised -----------------------------------------------------------------------------


def availability(percent: float) -> Objective:
    """Of a workload's predictions, those that are answered; what a client got wrong counts not."""

    def errors(span: str) -> str:
        asked = f'sum by (namespace, workload) (rate(falaj_requests_total{{code!~"4.."}}[{span}]))'
        failed = f'sum by (namespace, workload) (rate(falaj_requests_total{{code=~"5.."}}[{span}]))'
        # no series of failures is no failure, only where there are requests
        return f"({failed} or 0 * {asked}) / ({asked} > 0)"

    return Objective(
        name="availability",
        percent=percent,
        errors=errors,
        about="predictions of {{ $labels.workload }}",
    )


def latency(percent: float, milliseconds: int) -> Objective:
    """Of a workload's predictions, those that are answered within `milliseconds`.

    Raises `ValueError` for a bound that is not in `LATENCY_BOUNDS_MS`: nothing is counted at it.
    """
    if milliseconds not in LATENCY_BOUNDS_MS:
        raise ValueError(f"{milliseconds} ms is none of {LATENCY_BOUNDS_MS}, where is counted")
    bound = milliseconds / 1000

    def errors(span: str) -> str:
        fast = (
            "sum by (namespace, workload) "
            f'(rate(falaj_request_seconds_bucket{{le="{bound}"}}[{span}]))'
        )
        every = f"sum by (namespace, workload) (rate(falaj_request_seconds_count[{span}]))"
        return f"1 - {fast} / ({every} > 0)"

    return Objective(
        name="latency",
        percent=percent,
        errors=errors,
        about=f"predictions of {{{{ $labels.workload }}}} within {milliseconds} ms",
    )


def uptime(percent: float, jobs: Iterable[str]) -> Objective:
    """Of the looks at a part of the platform, those that it answered; `jobs` are Prometheus'."""
    of = "|".join(sorted(jobs))
    return Objective(
        name="uptime",
        percent=percent,
        errors=lambda span: f'1 - avg by (job) (avg_over_time(up{{job=~"{of}"}}[{span}]))',
        about="{{ $labels.job }} answers",
    )
