"""Bad data are refused with file, column and rows; good data become one version of a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workloads.delivery import ingest, registry, validate
from workloads.delivery.connection import Connection
from workloads.delivery.errors import DataError
from workloads.delivery.pipeline import run
from workloads.delivery.spec import Workload
from workloads.delivery.split import split
from workloads.delivery.validate import REPORT

WithSource = Callable[[str], Workload]
NAME = "rows.csv"


@pytest.fixture
def lines(shipped: Workload) -> list[str]:
    """The shipped CSV's first 400 rows, below its header."""
    path = shipped.folder / shipped.spec.data.source
    return path.read_text().splitlines(keepends=True)[:401]


def _field(lines: list[str], row: int, column: str, value: str) -> None:
    index = lines[0].rstrip("\n").split(",").index(column)
    fields = lines[row].rstrip("\n").split(",")
    fields[index] = value
    lines[row] = ",".join(fields) + "\n"


def _drop(lines: list[str], column: str) -> list[str]:
    index = lines[0].rstrip("\n").split(",").index(column)
    cut = [line.rstrip("\n").split(",") for line in lines]
    return [",".join(fields[:index] + fields[index + 1 :]) + "\n" for fields in cut]


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(lines))


def _missing(path: Path, lines: list[str]) -> None:
    assert not path.exists()


def _empty(path: Path, lines: list[str]) -> None:
    path.touch()


def _header_alone(path: Path, lines: list[str]) -> None:
    _write(path, lines[:1])


def _missing_column(path: Path, lines: list[str]) -> None:
    _write(path, _drop(lines, "Income"))


def _misspelt_column(path: Path, lines: list[str]) -> None:
    _write(path, [lines[0].replace("Income", "Incme"), *lines[1:]])


def _column_twice(path: Path, lines: list[str]) -> None:
    _write(path, [lines[0].replace("Price", "Amount"), *lines[1:]])


def _wrong_type(path: Path, lines: list[str]) -> None:
    _field(lines, 7, "Amount", "plenty")
    _field(lines, 9, "Amount", "inf")
    _write(path, lines)


def _wide_row(path: Path, lines: list[str]) -> None:
    lines[12] = lines[12].rstrip("\n") + ",1,2\n"
    _write(path, lines)


def _latin(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(lines).replace("owner", "propriétaire").encode("latin-1"))


def _impossible_value(path: Path, lines: list[str]) -> None:
    _field(lines, 3, "Age", "-4")
    _field(lines, 5, "Age", "300")
    _write(path, lines)


def _unknown_category(path: Path, lines: list[str]) -> None:
    _field(lines, 2, "Home", "castle")
    _write(path, lines)


def _nothing_where_needed(path: Path, lines: list[str]) -> None:
    _field(lines, 4, "Records", "")
    _write(path, lines)


def _label_once(path: Path, lines: list[str]) -> None:
    good = [line for line in lines[1:] if line.startswith("good")]
    bad = next(line for line in lines if line.startswith("bad"))
    _write(path, [lines[0], *good, bad])


CASES: list[tuple[Callable[[Path, list[str]], None], list[str]]] = [
    (_missing, ["there is no such file"]),
    (_empty, ["the file is empty"]),
    (_header_alone, ["no rows"]),
    (_missing_column, ["column Income is missing", "expected: Status, Seniority"]),
    (_misspelt_column, ["column Income is missing", "column Incme is not in the workload's spec"]),
    (_column_twice, ["column Price is missing"]),
    (_wrong_type, ["column Amount, rows 7, 9: 'plenty' is not a number"]),
    (_wide_row, ["line 13"]),
    (_latin, ["is not UTF-8 text"]),
    (_impossible_value, ["column Age, row 3: -4.0; must be at least 18", "row 5: 300.0"]),
    (_unknown_category, ["column Home, row 2: castle; must be one of owner, rent"]),
    (_nothing_where_needed, ["column Records, row 4: nothing; must be given"]),
    (_label_once, ["column Status, row", "label of at least 6 rows, is that of 1"]),
]


@pytest.mark.parametrize(
    ("spoil", "said"), CASES, ids=[spoil.__name__.strip("_") for spoil, _ in CASES]
)
def test_bad_data_are_refused_and_nothing_is_registered(
    *,
    spoil: Callable[[Path, list[str]], None],
    said: list[str],
    lines: list[str],
    with_source: WithSource,
    connection: Connection,
    tmp_path: Path,
) -> None:
    spoil(tmp_path / NAME, lines)
    with pytest.raises(DataError) as caught:
        run(connection, with_source(NAME))
    message = str(caught.value)
    assert NAME in message
    for part in said:
        assert part in message
    assert registry.versions(connection) == []
    assert registry.trainings(connection, 10) == []


def test_a_champion_is_untouched_by_bad_data(
    lines: list[str], with_source: WithSource, connection: Connection, tmp_path: Path
) -> None:
    client = registry.client(connection)
    client.create_registered_model(connection.workload)
    client.create_model_version(connection.workload, str(tmp_path / "model"))
    client.set_registered_model_alias(connection.workload, registry.CHAMPION, "1")
    _impossible_value(tmp_path / NAME, lines)
    with pytest.raises(DataError):
        run(connection, with_source(NAME))
    champion = registry.version_at(connection, registry.CHAMPION)
    assert champion is not None
    assert champion.version == 1
    assert len(registry.versions(connection)) == 1


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_parquet_is_refused(
    keep: float,
    applications: pd.DataFrame,
    with_source: WithSource,
    connection: Connection,
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.parquet"
    applications.to_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(DataError, match=r"rows\.parquet: is not a whole Parquet file"):
        ingest.ingest(connection, with_source("rows.parquet"))


def test_a_damaged_parquet_is_refused_with_column_and_rows(
    applications: pd.DataFrame, with_source: WithSource, connection: Connection, tmp_path: Path
) -> None:
    path = tmp_path / "rows.parquet"
    applications.to_parquet(path)
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.parquet: .*column Status, rows 1 to 4454"):
        ingest.ingest(connection, with_source("rows.parquet"))


def test_text_in_a_number_of_a_parquet_is_refused(
    applications: pd.DataFrame, with_source: WithSource, connection: Connection, tmp_path: Path
) -> None:
    applications.assign(Amount=applications["Amount"].astype(str)).to_parquet(
        tmp_path / "rows.parquet"
    )
    with pytest.raises(DataError, match=r"column Amount, rows 1, 2, .* and 4444 more: '800.0'"):
        ingest.ingest(connection, with_source("rows.parquet"))


def test_the_same_rows_come_from_csv_and_parquet(
    applications: pd.DataFrame, with_source: WithSource, connection: Connection, tmp_path: Path
) -> None:
    applications.to_parquet(tmp_path / "rows.parquet")
    made = ingest.ingest(connection, with_source("rows.parquet"))
    assert ingest.read(connection, made.version).equals(applications)


def test_the_same_content_makes_one_version(
    shipped: Workload,
    with_source: WithSource,
    lines: list[str],
    connection: Connection,
    tmp_path: Path,
) -> None:
    first = ingest.ingest(connection, shipped)
    again = ingest.ingest(connection, shipped)
    assert (first.reused, again.reused) == (False, True)
    assert (first.version, first.rows) == (again.version, 4454)
    _write(tmp_path / NAME, lines)
    other = ingest.ingest(connection, with_source(NAME))
    assert other.version == first.version + 1
    assert ingest.ingest(connection, shipped).version == first.version
    assert len(ingest.read(connection, first.version)) == 4454
    assert len(ingest.read(connection, other.version)) == 400


def test_a_version_that_does_not_exist_is_refused(
    shipped: Workload, connection: Connection
) -> None:
    ingest.ingest(connection, shipped)
    with pytest.raises(DataError, match="version 7: cannot be read"):
        ingest.read(connection, 7)


def test_the_report_lists_the_failing_rows(
    shipped: Workload, applications: pd.DataFrame, connection: Connection
) -> None:
    import json

    spoilt = applications.copy()
    spoilt.loc[[10, 20], "Time"] = 0.0
    with pytest.raises(DataError, match="full report"):
        validate.validate(connection, shipped, 3, spoilt)
    report = json.loads((connection.state / REPORT).read_text())
    assert report["passed"] is False
    assert report["version"] == 3
    assert report["problems"] == [
        {
            "column": "Time",
            "check": "at least 1",
            "count": 2,
            "rows": [11, 21],
            "values": [0.0, 0.0],
        }
    ]


def test_the_shipped_data_fit_their_spec(shipped: Workload, applications: pd.DataFrame) -> None:
    assert list(validate.check(applications, shipped.spec)) == []


def test_the_shipped_data_are_those_that_their_readme_describes(shipped: Workload) -> None:
    from workloads.delivery import source

    path = shipped.folder / shipped.spec.data.source
    assert source.digest(path) in (path.parent / "README.md").read_text()


def test_a_row_keeps_its_side_of_the_split(shipped: Workload, applications: pd.DataFrame) -> None:
    def held(frame: pd.DataFrame) -> set[Any]:
        return {tuple(row) for row in split(frame, shipped.spec).holdout.fillna("-").to_numpy()}

    once = held(applications)
    assert held(applications) == once
    assert held(applications.sample(frac=1, random_state=1)) == once
    assert held(pd.concat([applications, applications])) == once
    part = applications.head(2000)
    assert held(part) <= once
    assert 0.2 < len(split(applications, shipped.spec).holdout) / len(applications) < 0.3


def test_no_row_is_on_both_sides(shipped: Workload, applications: pd.DataFrame) -> None:
    parts = split(pd.concat([applications, applications]), shipped.spec)
    train = {tuple(row) for row in parts.train.fillna("-").to_numpy()}
    holdout = {tuple(row) for row in parts.holdout.fillna("-").to_numpy()}
    assert not train & holdout
    assert len(parts.train) + len(parts.holdout) == 2 * len(applications)


def test_a_part_without_both_labels_is_refused(
    shipped: Workload, applications: pd.DataFrame
) -> None:
    with pytest.raises(
        DataError, match=r"column Status: the .* set .* has the label 'bad' 0 times"
    ):
        split(applications[applications["Status"] == "good"], shipped.spec)
