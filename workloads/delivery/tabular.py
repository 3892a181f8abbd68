"""The pipeline that every tabular workload shares: raw columns in, a fitted estimator's features.

Owns types, missing values, scaling and encoding. The workload adds its own features before them and
its estimator behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from workloads.delivery.spec import WorkloadSpec

if TYPE_CHECKING:
    import pandas as pd

MISSING = "missing"
"""The category of a value that is not there."""


def pipeline(
    spec: WorkloadSpec, *, derive: Callable[[pd.DataFrame], pd.DataFrame], estimator: Any
) -> Any:
    """An unfitted scikit-learn Pipeline whose `predict_proba` takes the raw feature columns.

    `derive` adds numeric columns to a frame of typed features.
    """
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    features = spec.features()
    numbers = [name for name, column in features.items() if column.kind == "number"]
    categories = {
        name: [*(column.categories or ()), MISSING]
        for name, column in features.items()
        if column.kind == "category"
    }
    encode = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(
                    SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
                ),
                make_column_selector(dtype_include="number"),
            ),
            (
                "categories",
                OneHotEncoder(
                    categories=list(categories.values()),
                    handle_unknown="ignore",
                    sparse_output=False,
                ),
                list(categories),
            ),
        ]
    )
    typing = FunctionTransformer(
        typed, kw_args={"numbers": numbers, "categories": list(categories)}
    )
    return Pipeline(
        [
            ("types", typing),
            ("features", FunctionTransformer(derive)),
            ("encode", encode),
            ("model", estimator),
        ]
    )


def typed(
    frame: pd.DataFrame, *, numbers: Sequence[str], categories: Sequence[str]
) -> pd.DataFrame:
    """The named columns alone: numbers as float64 with NaN, categories as text, `MISSING` for none.

    Raises `KeyError` when a column is not there, `ValueError` when a number is none.
    """
    columns = {name: frame[name].astype(float) for name in numbers}
    texts = {name: frame[name].astype(object).fillna(MISSING).astype(str) for name in categories}
    return frame[[*numbers, *categories]].assign(**columns, **texts)
