"""What of a record may be written down, by classification; nothing else ever is."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.delivery import tuning
from workloads.delivery.capture import Capture, Seen
from workloads.delivery.masking import BINS, Masks, keyed, reference
from workloads.delivery.request import Field, Record, Schema
from workloads.delivery.spec import Capture as Settings
from workloads.delivery.spec import Column, SpecError, Workload, WorkloadSpec

KEY = b"a key of thirty-two random bytes"


def masked(record: Record, *fields: Field, key: bytes = KEY) -> dict[str, dict[str, Any]]:
    return dict(Masks(Schema(fields, 0.5, "bad")).of(record, key))


def number(classification: str, **more: Any) -> Field:
    return Field("Income", "number", nullable=True, classification=classification, **more)


def category(classification: str, **more: Any) -> Field:
    return Field("Job", "category", nullable=True, classification=classification, **more)


NOTHING: dict[str, Any] = {"values": {}, "bins": {}, "hashes": {}}
EDGES = (100.0, 200.0)


@pytest.mark.parametrize(
    ("field", "value", "written"),
    [
        (number("public"), 150.5, {"values": {"Income": 150.5}}),
        (number("internal"), 150.5, {"values": {"Income": 150.5}}),
        (number("personal", edges=EDGES), 99.9, {"bins": {"Income": 0}}),
        (number("personal", edges=EDGES), 100.0, {"bins": {"Income": 1}}),
        (number("personal", edges=EDGES), 1e9, {"bins": {"Income": 2}}),
        (number("personal", edges=EDGES), None, {"bins": {"Income": None}}),
        (number("personal", edges=()), 150.5, {"bins": {"Income": 0}}),
        (number("personal"), 150.5, {}),
        (number("sensitive", edges=EDGES), 150.5, {}),
        (number("secret", edges=EDGES), 150.5, {}),
        (Field("Income", "number"), 150.5, {}),
        (category("public"), "fixed", {"values": {"Job": "fixed"}}),
        (category("internal"), "fixed", {"values": {"Job": "fixed"}}),
        (category("personal", groups=("fixed",)), "fixed", {"values": {"Job": "fixed"}}),
        (
            category("personal", groups=("fixed",)),
            "diver",
            {"hashes": {"Job": keyed(KEY, "Job\0diver")}},
        ),
        (category("personal"), "fixed", {"hashes": {"Job": keyed(KEY, "Job\0fixed")}}),
        (category("personal"), None, {"values": {"Job": None}}),
        (category("sensitive", groups=("fixed",)), "fixed", {}),
        (Field("Job", "category"), "fixed", {}),
    ],
)
def test_a_feature_is_written_as_its_classification_says(
    field: Field, value: Any, written: dict[str, Any]
) -> None:
    assert masked({field.name: value}, field) == NOTHING | written


def test_a_hash_is_of_its_key_and_feature_and_does_not_hold_them() -> None:
    field = category("personal")
    found = masked({"Job": "diver"}, field)["hashes"]["Job"]
    assert found == masked({"Job": "diver"}, field)["hashes"]["Job"]
    assert found != masked({"Job": "diver"}, field, key=KEY[::-1])["hashes"]["Job"]
    home = Field("Home", "category", classification="personal")
    assert found != masked({"Home": "diver"}, home)["hashes"]["Home"]
    assert len(bytes.fromhex(found)) == 16
    assert masked({"Job": "\ud800"}, field)["hashes"]["Job"] != found


CLASSES = st.sampled_from(("public", "internal", "personal", "sensitive", "unheard of"))
# telling: no number or text of a record stands in its name, its bin or another's hash by chance
NUMBERS = st.integers(10**12, 10**13).map(lambda whole: whole + 0.25)
TEXTS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=8, max_size=12)


@st.composite
def asked(draw: st.DrawFn) -> tuple[tuple[Field, ...], Record]:
    """Fields of every classification, and a record of them."""
    fields: list[Field] = []
    record: Record = {}
    for place in range(draw(st.integers(1, 6))):
        name, classification = f"f{place}", draw(CLASSES)
        if draw(st.booleans()):
            record[name] = draw(NUMBERS)
            edges = draw(st.none() | st.lists(NUMBERS, max_size=3).map(sorted).map(tuple))
            fields.append(Field(name, "number", classification=classification, edges=edges))
        else:
            record[name] = text = draw(TEXTS)
            groups = draw(st.sampled_from(((), (text,), (text[::-1] + "X",))))
            fields.append(Field(name, "category", classification=classification, groups=groups))
    return tuple(fields), record


class Memory:
    """Takes files into a list."""

    def __init__(self) -> None:
        self.files: list[bytes] = []

    def put(self, name: str, content: bytes) -> None:
        self.files += [name.encode(), gzip.decompress(content)]

    def prune(self, first: date) -> None:
        pass


def written(fields: tuple[Field, ...], record: Record, request: str) -> str:
    """All bytes that a server would leave of a prediction."""
    store = Memory()
    made = Capture(Settings(enabled=True, share=1), "w", "a", store, Path("no key"))
    made._key = KEY
    schema = Schema(fields, 0.5, "bad")
    made.offer(Seen("1", schema, request, [record], [0.5], [True]))
    assert made._flush()
    return b"".join(store.files).decode()


@settings(max_examples=200, deadline=None)
@given(asked(), TEXTS)
def test_what_may_not_be_read_stands_nowhere_in_what_is_written(
    given_: tuple[tuple[Field, ...], Record], request: str
) -> None:
    fields, record = given_
    text = written(fields, record, request)
    assert request not in text or request in record.values()
    assert KEY.decode() not in text
    for field in fields:
        value = record[field.name]
        stands = json.dumps(value) in text
        is_open = field.classification in ("public", "internal")
        is_large = field.classification == "personal" and value in field.groups
        others = [name for name, other in record.items() if other == value and name != field.name]
        assert stands == (is_open or is_large) or others
        if field.classification not in ("public", "internal", "personal"):
            assert f'"{field.name}"' not in text


# --- what training leaves for it ------------------------------------------------------------------


def column(kind: str, classification: str = "personal") -> Column:
    more = {"categories": ("a", "b", "c")} if kind == "category" else {}
    return Column.model_validate({"kind": kind, "classification": classification} | more)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 20) | st.floats(0, 1e6), max_size=200), st.integers(10, 40))
def test_each_bin_has_as_many_rows_as_a_group_must(values: list[float], minimum: int) -> None:
    made = reference(column("number"), pd.Series(values, dtype=float), minimum)
    field = number("personal", edges=tuple(made["edges"]))
    bins = [masked({"Income": float(value)}, field)["bins"]["Income"] for value in values]
    counts = [bins.count(place) for place in range(len(made["edges"]) + 1)]
    assert sum(counts) == len(values)
    assert len(counts) <= BINS
    assert len(counts) == 1 or min(counts) >= minimum
    if values:
        assert made["shares"] == [round(count / len(values), 4) for count in counts]


def test_many_different_numbers_are_ten_equal_bins() -> None:
    made = reference(column("number"), pd.Series([float(n) for n in range(1000)]), 50)
    assert made["shares"] == [0.1] * 10


def test_few_rows_are_one_bin_and_missing_ones_are_none() -> None:
    made = reference(column("number"), pd.Series([1.0, math.nan, 2.0]), 10)
    assert made == {"edges": [], "shares": [1.0]}
    assert reference(column("number"), pd.Series([math.nan]), 10) == {"edges": [], "shares": []}


def test_a_category_is_a_group_from_the_minimum_on() -> None:
    rows = pd.Series(["a"] * 10 + ["b"] * 9 + [None])
    assert reference(column("category"), rows, 10) == {"groups": ["a"], "shares": [0.5263]}


@pytest.mark.parametrize("kind", ["number", "category"])
def test_training_leaves_nothing_of_a_sensitive_column(kind: str) -> None:
    assert reference(column(kind, "sensitive"), pd.Series([1.0] * 100), 10) == {}


def test_bins_and_groups_travel_in_the_metadata_of_the_model(
    shipped: Workload, applications: pd.DataFrame
) -> None:
    metadata = json.loads(json.dumps(tuning.request_schema(shipped.spec, applications)))
    fields = {field.name: field for field in Schema.from_metadata(metadata).fields}
    assert fields["Records"] == Field(
        "Records", "category", categories=("no", "yes"), classification="sensitive"
    )
    incomes = fields["Income"].edges
    assert incomes
    assert list(incomes) == sorted(set(incomes))
    assert "rent" in fields["Home"].groups
    (record,) = [{name: field.typical() for name, field in fields.items()}]
    written = Masks(Schema.from_metadata(metadata)).of(record, KEY)
    assert "Records" not in json.dumps(written)
    assert written["values"].keys() == {"Time", "Home", "Job"}
    assert written["bins"].keys() == {
        *("Seniority", "Expenses", "Income", "Assets", "Debt", "Amount", "Price")
    }


def test_a_model_from_before_has_nothing_of_its_features_written(shipped: Workload) -> None:
    metadata = tuning.request_schema(shipped.spec)
    for feature in metadata["features"]:
        del feature["classification"], feature["reference"]
    schema = Schema.from_metadata(metadata)
    assert Masks(schema).of(schema.typical(), KEY) == NOTHING


# --- workload.yaml --------------------------------------------------------------------------------

Parse = Callable[[dict[str, Any]], WorkloadSpec]


def test_a_column_that_nobody_classified_is_sensitive(
    content: dict[str, Any], parsed: Parse
) -> None:
    del content["data"]["columns"]["Time"]["classification"]
    assert parsed(content).data.columns["Time"].classification == "sensitive"


def test_capture_without_a_feature_that_could_be_written_is_refused(
    content: dict[str, Any], parsed: Parse
) -> None:
    for one in content["data"]["columns"].values():
        one.pop("classification")
    with pytest.raises(SpecError, match=r"capture.enabled: is true.*data.columns.<name>.classif"):
        parsed(content)
    content["capture"]["enabled"] = False
    assert not parsed(content).capture.enabled
    del content["capture"]
    assert not parsed(content).capture.enabled


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("capture", "share", 0, "capture.share: Input should be greater than 0 .is 0."),
        ("capture", "share", 1.5, "capture.share: Input should be less than or equal to 1"),
        ("capture", "keep_day", 3, "did you mean keep_days?"),
        ("capture", "batch_rows", 0, "capture.batch_rows: Input should be greater"),
        ("data", "minimum_group_size", 1, "data.minimum_group_size: Input should be greater"),
    ],
)
def test_a_wrong_value_of_capture_is_named(
    *, content: dict[str, Any], parsed: Parse, section: str, key: str, value: Any, said: str
) -> None:
    content[section][key] = value
    with pytest.raises(SpecError, match=said):
        parsed(content)


def test_an_unknown_classification_is_told_with_those_that_there_are(
    content: dict[str, Any], parsed: Parse
) -> None:
    content["data"]["columns"]["Age"]["classification"] = "secret"
    with pytest.raises(SpecError, match=r"Age.classification: .*'public', 'internal', 'personal'"):
        parsed(content)


def test_capture_trains_nothing_anew_and_a_classification_does(
    content: dict[str, Any], parsed: Parse, shipped: Workload
) -> None:
    content["capture"]["share"] = 1
    assert parsed(content).digest() == shipped.spec.digest()
    content["data"]["columns"]["Home"]["classification"] = "sensitive"
    assert parsed(content).digest() != shipped.spec.digest()
