"""Reads a source file of raw data, CSV or Parquet, into a typed frame.

Numbers become float64, categories text or None, nothing else. Every complaint names the file and,
where there are any, the column and the rows; rows count from 1, the header not included.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.delivery.errors import DataError
from workloads.delivery.spec import Column, Data

if TYPE_CHECKING:
    import pandas as pd

MISSING_VALUES = ("", "NA")
"""Texts of a CSV that mean that there is no value."""
_SHOWN = 10
_DOWNLOAD_TIMEOUT_SECONDS = 60


@contextlib.contextmanager
def located(data: Data, folder: Path) -> Iterator[Path]:
    """The source as a file on this machine; one behind a URL is fetched for the time of use.

    Raises `DataError` when it is not there.
    """
    if data.source.startswith(("http://", "https://")):
        with tempfile.TemporaryDirectory(prefix="falaj-source-") as temporary:
            yield _download(data.source, Path(temporary))
        return
    path = folder / data.source
    if not path.is_file():
        raise DataError(f"{path}: there is no such file (data.source of the workload's spec)")
    yield path


def digest(path: Path) -> str:
    """sha256 of the file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path, data: Data) -> pd.DataFrame:
    """The columns of `data` from the file, in their order, one row an entry.

    Raises `DataError` for a file that is empty, damaged or has other columns or types.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    parquet = path.suffix == ".parquet"
    frame = _read_parquet(path) if parquet else _read_csv(path)
    _check_columns(path, list(frame.columns), data)
    if frame.empty:
        raise DataError(f"{path}: the file has a header and no rows")
    return _typed(path, frame, data.columns, parquet=parquet)


def rows(numbers: Sequence[int]) -> str:
    """Row numbers for a person: the first few, and how many more."""
    shown = ", ".join(str(number) for number in numbers[:_SHOWN])
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return f"row{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _download(url: str, folder: Path) -> Path:
    import httpx

    name = Path(httpx.URL(url).path).name or "source.csv"
    path = folder / name
    try:
        with (
            httpx.stream("GET", url, timeout=_DOWNLOAD_TIMEOUT_SECONDS) as response,
            path.open("wb") as file,
        ):
            response.raise_for_status()
            for chunk in response.iter_bytes():
                file.write(chunk)
    except httpx.HTTPError as error:
        raise DataError(f"{url}: cannot be fetched: {error}") from error
    return path


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        with warnings.catch_warnings():
            # rows longer than the header would otherwise be cut without a word
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                dtype=str,
                keep_default_na=False,
                na_values=list(MISSING_VALUES),
                index_col=False,
                encoding="utf-8",
            )
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path}: the file is empty") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise DataError(f"{path}: is not a well-formed CSV: {reason}") from error


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import parquet

    damaged = f"{path}: is not a whole Parquet file (truncated or damaged)"
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{damaged}: {_first_line(error)}") from error
    columns = {}
    for name in names:
        try:
            columns[name] = file.read(columns=[name]).column(0)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{damaged}: column {name}, rows 1 to {file.metadata.num_rows} cannot be read: "
                f"{_first_line(error)}"
            ) from error
    frame: pd.DataFrame = pa.table(columns).to_pandas()
    return frame


def _check_columns(path: Path, found: list[str], data: Data) -> None:
    known = [*data.columns, *data.ignored]
    twice = sorted({name for name in found if found.count(name) > 1})
    missing = [name for name in data.columns if name not in found]
    unknown = [name for name in found if name not in known]
    problems = []
    if missing:
        problems.append(f"column {', '.join(missing)} is missing")
    if unknown:
        problems.append(f"column {', '.join(map(str, unknown))} is not in the workload's spec")
    if twice:
        problems.append(f"column {', '.join(twice)} stands there more than once")
    if problems:
        raise DataError(f"{path}: {'; '.join(problems)}; expected: {', '.join(known)}")


def _typed(
    path: Path, frame: pd.DataFrame, columns: Mapping[str, Column], *, parquet: bool
) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    typed: dict[str, Any] = {}
    nothing: Any = None
    problems = []
    for name, column in columns.items():
        given = frame[name]
        if column.kind == "category":
            text = given.map(lambda value: isinstance(value, str), na_action="ignore")
            wrong = given.notna() & (text != True)  # noqa: E712 - holds True, False and missing
            typed[name] = given.astype(object).where(given.notna(), nothing)
            expected = "text"
        else:
            numbers = pd.to_numeric(given.astype(object), errors="coerce").astype(float)
            if parquet and given.dtype in (object, bool):
                numbers[given.notna()] = np.nan  # text and truth values are not numbers
            wrong = given.notna() & ~np.isfinite(numbers)
            typed[name] = numbers
            expected = "a number"
        if wrong.any():
            where = [int(index) + 1 for index in np.flatnonzero(wrong)]
            example = given[wrong].iloc[0]
            problems.append(f"column {name}, {rows(where)}: {example!r} is not {expected}")
    if problems:
        raise DataError("\n".join(f"{path}: {problem}" for problem in problems))
    return pd.DataFrame(typed)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
