"""Whether a version that has part of the traffic gets more of it, has to wait, or loses it.

Owns the figures of a version in a canary, which come from Prometheus, and what is concluded from
them. Moves no traffic itself. The queries name metrics and labels that every shell of the component
exports, so they are the same on one machine and in a cluster.

Only requests since a step began are judged: the range of each query ends now and is never longer
than the step. `increase` takes a server that started anew for what it is. A figure that is missing,
NaN or infinite is no figure, and without figures nothing is ever promoted.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from workloads.delivery.connection import Connection
from workloads.delivery.errors import NotUpError
from workloads.delivery.spec import Rollout

Decision = Literal["promote", "wait", "back"]

_TIMEOUT_SECONDS = 5.0
_UNKNOWN = math.nan


@dataclass(frozen=True)
class Seat:
    """A version in a slot."""

    slot: str
    version: int


@dataclass(frozen=True)
class Figures:
    """What one version did over a range of time; NaN where nobody knows.

    `requests` and `errors` are estimates, since Prometheus extrapolates to the ends of the range.
    """

    requests: float = _UNKNOWN
    """Those that are not the client's fault: all but 4xx."""
    errors: float = _UNKNOWN
    """Of them, 5xx."""
    latency_p95_ms: float = _UNKNOWN
    positive_share: float = _UNKNOWN
    """Of the predicted records, 0 to 1."""

    @property
    def error_rate(self) -> float:
        """0 to 1; NaN without requests."""
        return self.errors / self.requests if self.requests > 0 else _UNKNOWN

    def record(self) -> dict[str, float | None]:
        """For JSON, which knows no NaN."""
        named = asdict(self) | {"error_rate": self.error_rate}
        return {
            name: round(value, 4) if math.isfinite(value) else None for name, value in named.items()
        }

    def __str__(self) -> str:
        return (
            f"{self.requests:.0f} requests, {self.error_rate:.1%} errors, "
            f"p95 {self.latency_p95_ms:.0f} ms, {self.positive_share:.0%} positive"
        )


@dataclass(frozen=True)
class Verdict:
    """What is to be done, why, and the figures that say so."""

    decision: Decision
    reason: str
    candidate: Figures = Figures()
    champion: Figures = Figures()

    def record(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "decision": self.decision,
            "reason": self.reason,
            "candidate": self.candidate.record(),
            "champion": self.champion.record(),
        }


class Judge(Protocol):
    """Judges one version against the champion."""

    def prepared(self, percent: int) -> str | None:
        """What is missing before the version may get `percent` of the traffic, else `None`."""

    def verdict(self, percent: int, seconds: float) -> Verdict:
        """On the step at `percent`, which began `seconds` ago."""


class PrometheusJudge:
    """The judge of every environment."""

    def __init__(
        self, connection: Connection, rollout: Rollout, candidate: Seat, champion: Seat
    ) -> None:
        """`champion` is what `candidate` is compared with."""
        self._url = connection.metrics_url
        self._whose = connection.series
        self._rollout = rollout
        self._candidate, self._champion = candidate, champion

    def prepared(self, percent: int) -> str | None:
        """See `Judge`: the version's counters are scraped from before its first request on, and a
        champion that is about to lose all traffic has figures to be compared with.
        """
        try:
            # of every worker of the slot that answers
            seen = (
                f"count(count by (instance) (falaj_requests_total{{{self._who(self._candidate)}}}))"
            )
            place = f'{self._whose},slot="{self._candidate.slot}"'
            if not ask(self._url, f"{seen} >= (count(up{{{place}}} == 1) or vector(1))"):
                return f"the metrics of version {self._candidate.version} are not scraped yet"
            if percent < 100:
                return None
            champion = self._figures(self._champion, self._rollout.window_seconds)
        except NotUpError as error:
            return str(error)
        if champion.requests >= self._rollout.minimum_requests:
            return None
        return f"the champion has {_count(champion)} requests to be compared with"

    def verdict(self, percent: int, seconds: float) -> Verdict:
        """See `Judge`. A Prometheus that does not answer means to wait."""
        window = self._rollout.window_seconds
        over = min(int(seconds), window)
        if over < 1:
            return Verdict("wait", "the step has only begun")
        try:
            candidate = self._figures(self._candidate, over)
            # with all traffic taken away it has no figures now: those from before the step count
            before = math.ceil(seconds) if percent == 100 else 0
            champion = self._figures(self._champion, window if before else over, before)
        except NotUpError as error:
            return Verdict("wait", str(error))
        return judge(self._rollout, candidate, champion, seconds)

    def _who(self, seat: Seat) -> str:
        return selector(self._whose, seat)

    def _figures(self, seat: Seat, seconds: int, offset_seconds: int = 0) -> Figures:
        return figures(self._url, self._whose, seat, seconds, offset_seconds)


def judge(rollout: Rollout, candidate: Figures, champion: Figures, seconds: float) -> Verdict:
    """The verdict on a step that began `seconds` ago. A pure function of its arguments.

    A limit counts as passed as soon as there are enough requests, errors even before that if they
    would be too many among the minimum; a step is passed when its window is full.
    """
    limits, minimum = rollout.limits, rollout.minimum_requests

    def verdict(decision: Decision, reason: str) -> Verdict:
        return Verdict(decision, reason, candidate, champion)

    # comparisons with NaN are false: each line below asks for what must hold
    if candidate.errors / max(candidate.requests, minimum) > limits.error_rate.maximum:
        return verdict(
            "back",
            f"{candidate.errors:.0f} of {candidate.requests:.0f} requests failed, "
            f"at most {limits.error_rate.maximum:.1%} may",
        )
    for name, found in (("the version", candidate), ("the champion", champion)):
        if not found.requests >= minimum:
            return verdict("wait", f"{name} has {_count(found)} of {minimum} requests")
    unknown = _unknown(candidate, champion)
    if unknown:
        return verdict("wait", f"there is no figure for {unknown}")
    for reason in _passed(rollout, candidate, champion):
        return verdict("back", reason)
    if seconds < rollout.window_seconds:
        return verdict(
            "wait", f"{seconds:.0f} of {rollout.window_seconds} s of the window are over"
        )
    return verdict("promote", f"within every limit: {candidate}")


def _passed(rollout: Rollout, candidate: Figures, champion: Figures) -> list[str]:
    """The limits that are passed, in words."""
    limits = rollout.limits
    latency, slower = limits.latency_p95_ms, candidate.latency_p95_ms - champion.latency_p95_ms
    apart = abs(candidate.positive_share - champion.positive_share)
    found = []
    if latency.maximum is not None and candidate.latency_p95_ms > latency.maximum:
        found.append(
            f"p95 latency is {candidate.latency_p95_ms:.0f} ms, at most {latency.maximum:g} may be"
        )
    if latency.over_champion is not None and slower > latency.over_champion:
        found.append(
            f"p95 latency is {slower:.0f} ms over the champion's, at most "
            f"{latency.over_champion:g} may be"
        )
    if apart > limits.positive_share_difference.maximum:
        found.append(
            f"{candidate.positive_share:.0%} positive decisions, the champion has "
            f"{champion.positive_share:.0%}: apart by more than "
            f"{limits.positive_share_difference.maximum:.0%}"
        )
    return found


def _unknown(candidate: Figures, champion: Figures) -> str:
    """The figures that are none, in words; empty when all are known."""
    return ", ".join(
        f"the {whose}'s {name.replace('_', ' ')}"
        for whose, found in (("version", candidate), ("champion", champion))
        for name, value in asdict(found).items()
        if not math.isfinite(value)
    )


def _count(found: Figures) -> str:
    return f"{found.requests:.0f}" if math.isfinite(found.requests) else "no count"


def selector(whose: str, seat: Seat) -> str:
    """The labels of a version's metrics, as PromQL selects them; `whose` are the workload's."""
    return f'{whose},slot="{seat.slot}",version="{seat.version}"'


def figures(url: str, whose: str, seat: Seat, seconds: int, offset_seconds: int = 0) -> Figures:
    """What `seat` of the workload with the labels `whose` did in the `seconds` that ended
    `offset_seconds` ago.

    Raises `NotUpError` when the Prometheus at `url` does not answer.
    """
    over = f"[{seconds}s]" + (f" offset {offset_seconds}s" if offset_seconds else "")
    expression = " or ".join(
        f'label_replace({query}, "figure", "{name}", "", "")'
        for name, query in queries(selector(whose, seat), over).items()
    )
    found = ask(url, expression)
    known = {entry["metric"].get("figure"): float(entry["value"][1]) for entry in found}
    return Figures(**{name: value for name, value in known.items() if math.isfinite(value)})


def queries(who: str, over: str) -> dict[str, str]:
    """Figure → its PromQL for the version with the labels `who`, over the range `over`."""
    requests = f'sum(increase(falaj_requests_total{{{who},code!~"4.."}}{over}))'
    failed = f'sum(increase(falaj_requests_total{{{who},code=~"5.."}}{over}))'
    predicted = f"sum(increase(falaj_predictions_total{{{who}}}{over}))"
    positive = f'sum(increase(falaj_predictions_total{{{who},decision="positive"}}{over}))'
    seconds = f"sum by (le) (increase(falaj_request_seconds_bucket{{{who}}}{over}))"
    return {
        "requests": requests,
        # no series of failures is no failure only where there are requests
        "errors": f"({failed} or 0 * {requests})",
        "latency_p95_ms": f"(1000 * histogram_quantile(0.95, {seconds}))",
        "positive_share": f"({positive} / {predicted})",
    }


def ask(url: str, expression: str) -> list[dict[str, Any]]:
    """An instant query's vector. Raises `NotUpError` for every answer that is none."""
    import httpx

    try:
        answer = httpx.get(
            f"{url}/api/v1/query", params={"query": expression}, timeout=_TIMEOUT_SECONDS
        )
        content = answer.json()
        if answer.status_code != 200 or content.get("status") != "success":
            raise ValueError(f"{answer.status_code}, {content.get('error', 'no success')}")
        found: list[dict[str, Any]] = content["data"]["result"]
    except (httpx.HTTPError, json.JSONDecodeError, ValueError, KeyError, AttributeError) as error:
        raise NotUpError(
            f"monitoring at {url} gives no figures ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    return found
