"""Which rows a model may learn from and which judge it.

A row's own content decides, so a row stays on its side when the data grow, are reordered or hold it
twice, and no later model is judged on rows that an earlier one learnt from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.delivery.errors import DataError
from workloads.delivery.spec import WorkloadSpec

if TYPE_CHECKING:
    import pandas as pd

_STEPS = 2**32


@dataclass(frozen=True)
class Split:
    """Two parts of a table, raw columns as they were, each with both labels."""

    train: pd.DataFrame
    holdout: pd.DataFrame


def split(frame: pd.DataFrame, spec: WorkloadSpec) -> Split:
    """Splits raw rows by `training.holdout_fraction` and `training.seed`.

    Raises `DataError` when a part would lack one of the two labels.
    """
    import pandas as pd

    key = f"{spec.training.seed:016d}"
    columns = list(spec.data.columns)
    hashes = pd.util.hash_pandas_object(frame[columns], index=False, hash_key=key)
    held = (hashes % _STEPS) < int(spec.training.holdout_fraction * _STEPS)
    parts = Split(
        train=frame[~held].reset_index(drop=True), holdout=frame[held].reset_index(drop=True)
    )
    target = spec.data.target.column
    for name, part, needed in (
        ("training", parts.train, spec.training.folds),
        ("hold-out", parts.holdout, 1),
    ):
        for label in spec.data.columns[target].categories or ():
            count = int((part[target] == label).sum())
            if count < needed:
                raise DataError(
                    f"column {target}: the {name} set of {len(part)} rows has the label {label!r} "
                    f"{count} times, needs {needed}: more data, or another "
                    f"training.holdout_fraction"
                )
    return parts


def target_of(frame: pd.DataFrame, spec: WorkloadSpec) -> pd.Series[int]:
    """1 where the row has the positive label, else 0."""
    target = spec.data.target
    return (frame[target.column] == target.positive).astype(int)
