"""Validate: are these data what the spec says they are?

Owns the schema made from a spec and the report of the rows that break it. Nothing later runs on
data that fail here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workloads.delivery import ingest
from workloads.delivery.connection import Connection
from workloads.delivery.errors import DataError
from workloads.delivery.files import write_json
from workloads.delivery.source import rows
from workloads.delivery.spec import Column, Workload, WorkloadSpec

if TYPE_CHECKING:
    import pandas as pd

REPORT = "validation.json"
_LISTED = 100


@dataclass(frozen=True)
class Problem:
    """One check that rows of one column failed."""

    column: str
    check: str
    count: int
    rows: tuple[int, ...]
    """From 1, the first hundred."""
    values: tuple[str | float | None, ...]
    """What stands in those rows."""

    def __str__(self) -> str:
        distinct = list(dict.fromkeys("nothing" if v is None else f"{v}" for v in self.values))
        shown = ", ".join(distinct[:5]) + (", …" if len(distinct) > 5 else "")
        shown_rows = rows([*self.rows, *[0] * (self.count - len(self.rows))])
        return f"column {self.column}, {shown_rows}: {shown}; must be {self.check}"


@dataclass(frozen=True)
class Validated:
    """The report on one version of the raw table."""

    version: int
    rows: int
    problems: tuple[Problem, ...]

    @property
    def passed(self) -> bool:
        return not self.problems


def validate(
    connection: Connection, workload: Workload, version: int, frame: pd.DataFrame | None = None
) -> Validated:
    """Checks `version` of the raw table and saves the report in the state folder.

    `frame` is that version's content where the caller has it. Raises `DataError` naming table,
    columns and rows when a check fails.
    """
    if frame is None:
        frame = ingest.read(connection, version)
    report = Validated(version, len(frame), tuple(check(frame, workload.spec)))
    path = connection.state / REPORT
    write_json(path, {"passed": report.passed, **asdict(report)})
    if not report.passed:
        listed = "\n".join(f"  {problem}" for problem in report.problems)
        raise DataError(
            f"{workload.spec.data.source} (version {version} of the table {ingest.TABLE}) does not "
            f"fit the workload's spec:\n{listed}\n  full report: {path}"
        )
    return report


def check(frame: pd.DataFrame, spec: WorkloadSpec) -> Iterator[Problem]:
    """Every problem of the raw rows in `frame`."""
    import pandas as pd
    from pandera.errors import SchemaErrors

    try:
        schema(spec).validate(frame.reset_index(drop=True), lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        for (column, text), found in cases.groupby(["column", "check"], sort=False):
            group = found.sort_values("index", key=pd.to_numeric)
            yield Problem(
                column=str(column),
                check="given" if text == "not_nullable" else str(text),
                count=len(group),
                rows=tuple(int(index) + 1 for index in group["index"][:_LISTED]),
                values=tuple(_plain(value) for value in group["failure_case"][:_LISTED]),
            )
    yield from _rare_labels(frame, spec)


def schema(spec: WorkloadSpec) -> Any:
    """The pandera schema of the raw table; a check's text completes "must be …"."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            name: pa.Column(
                float if column.kind == "number" else object,
                checks=list(_checks(column)),
                nullable=column.nullable,
            )
            for name, column in spec.data.columns.items()
        },
        strict=True,
    )


def _checks(column: Column) -> Iterator[Any]:
    import pandera.pandas as pa

    if column.categories is not None:
        allowed = ", ".join(column.categories)
        yield pa.Check.isin(column.categories, error=f"one of {allowed}")
    if column.minimum is not None:
        yield pa.Check.ge(column.minimum, error=f"at least {column.minimum:g}")
    if column.maximum is not None:
        yield pa.Check.le(column.maximum, error=f"at most {column.maximum:g}")


def _rare_labels(frame: pd.DataFrame, spec: WorkloadSpec) -> Iterator[Problem]:
    """A label needs a row in every fold, and one to be judged on."""
    column, needed = spec.data.target.column, spec.training.folds + 1
    for label in spec.data.columns[column].categories or ():
        found = [int(index) + 1 for index in (frame[column] == label).to_numpy().nonzero()[0]]
        if len(found) < needed:
            yield Problem(
                column=column,
                check=f"the label of at least {needed} rows, is that of {len(found)}",
                count=len(found),
                rows=tuple(found),
                values=(label,),
            )


def _plain(value: Any) -> str | float | None:
    if value is None or value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return None
    return float(value) if isinstance(value, int | float) else str(value)
