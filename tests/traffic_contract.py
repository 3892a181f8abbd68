"""What every `TrafficSplit` promises: one suite of tests, run against each implementation.

A further implementation subclasses `TrafficSplitContract` beside a fixture `place`.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import httpx
import pytest

from workloads.delivery.traffic import TrafficSplit

ENTITIES = [f"customer-{number}" for number in range(500)]
TOLERANCE_PERCENT = 7


class Place(Protocol):
    """Where a split is tried: two slots that answer, behind whatever splits."""

    @property
    def split(self) -> TrafficSplit:
        """What is tried."""

    def slot_of(self, client: httpx.Client, entity: str) -> str:
        """The slot that answers a request of `entity`."""

    def kill_and_restart(self) -> None:
        """Ends the splitting process without warning and brings it back."""


def met(place: Place, client: httpx.Client) -> dict[str, str]:
    return {entity: place.slot_of(client, entity) for entity in ENTITIES}


class TrafficSplitContract:
    """Needs the fixtures `place` and `client`."""

    def test_shares_of_entities_follow_the_weights(
        self, place: Place, client: httpx.Client
    ) -> None:
        for share in (10, 50):
            place.split.set_weights({"a": 100 - share, "b": share})
            assert place.split.weights() == {"a": 100 - share, "b": share}
            found = Counter(met(place, client).values())["b"] * 100 / len(ENTITIES)
            assert abs(found - share) < TOLERANCE_PERCENT

    def test_an_entity_meets_the_same_slot_as_long_as_the_split_is_the_same(
        self, place: Place, client: httpx.Client
    ) -> None:
        place.split.set_weights({"a": 70, "b": 30})
        assert met(place, client) == met(place, client)

    def test_raising_a_slot_takes_no_entity_away_from_it(
        self, place: Place, client: httpx.Client
    ) -> None:
        there: set[str] = set()
        for share in (0, 10, 50, 100):
            place.split.set_weights({"a": 100 - share, "b": share})
            now = {entity for entity, slot in met(place, client).items() if slot == "b"}
            assert there <= now
            there = now
        assert there == set(ENTITIES)

    def test_a_split_and_its_entities_outlive_a_killed_gateway(
        self, place: Place, client: httpx.Client
    ) -> None:
        place.split.set_weights({"a": 60, "b": 40})
        before = met(place, client)
        place.kill_and_restart()
        client.close()
        with httpx.Client(timeout=30) as again:
            assert place.split.weights() == {"a": 60, "b": 40}
            assert met(place, again) == before

    def test_a_slot_that_is_not_named_gets_nothing(
        self, place: Place, client: httpx.Client
    ) -> None:
        place.split.set_weights({"b": 100})
        assert place.split.weights() == {"a": 0, "b": 100}
        assert set(met(place, client).values()) == {"b"}

    @pytest.mark.parametrize(
        "wrong", [{"a": 50}, {"a": 110, "b": -10}, {"a": 50, "c": 50}, {"a": 99.5, "b": 0.5}, {}]
    )
    def test_a_wrong_split_is_refused_and_nothing_changes(
        self, place: Place, wrong: dict[str, int]
    ) -> None:
        place.split.set_weights({"a": 80, "b": 20})
        with pytest.raises(ValueError, match=r"sum to|not whole percents|known are"):
            place.split.set_weights(wrong)
        assert place.split.weights() == {"a": 80, "b": 20}

    def test_slots_that_take_requests_are_ready(self, place: Place) -> None:
        assert place.split.ready() == {"a": True, "b": True}
