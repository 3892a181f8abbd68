"""The compiled form of a pipeline gives the pipeline's probabilities, or is not used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workloads
from workloads.credit_risk import model as credit_risk
from workloads.delivery import compiled, tabular, tuning
from workloads.delivery.request import Field, Record, Schema
from workloads.delivery.spec import Workload
from workloads.delivery.split import split, target_of

PARAMETERS = {
    "xgboost": {"n_estimators": 40, "max_depth": 4, "learning_rate": 0.2},
    "logistic": {"C": 0.5},
}


@pytest.fixture(scope="module")
def schema(shipped: Workload) -> Schema:
    return Schema.from_metadata(tuning.request_schema(shipped.spec))


@pytest.fixture(scope="module", params=list(PARAMETERS))
def fitted(request: pytest.FixtureRequest, shipped: Workload, applications: pd.DataFrame) -> Any:
    """A pipeline of each family as it comes back from the registry."""
    rows = split(applications, shipped.spec).train
    pipeline = credit_risk.build(request.param, PARAMETERS[request.param], shipped.spec, 1)
    pipeline.fit(rows[list(shipped.spec.features())], target_of(rows, shipped.spec))
    cloudpickle.register_pickle_by_value(workloads)
    try:
        return cloudpickle.loads(cloudpickle.dumps(pipeline))
    finally:
        cloudpickle.unregister_pickle_by_value(workloads)


@pytest.fixture
def unfit(shipped: Workload, applications: pd.DataFrame) -> Callable[..., Any]:
    """Fits a logistic pipeline with another function or estimator."""

    def fit(derive: Any = lambda rows: rows, estimator: Any = None) -> Any:
        from sklearn.linear_model import LogisticRegression

        rows = split(applications, shipped.spec).train
        pipeline = tabular.pipeline(
            shipped.spec, derive=derive, estimator=estimator or LogisticRegression(max_iter=1000)
        )
        return pipeline.fit(rows[list(shipped.spec.features())], target_of(rows, shipped.spec))

    return fit


def _values(field: Field) -> st.SearchStrategy[Any]:
    known: st.SearchStrategy[Any]
    if field.kind == "category":
        known = st.sampled_from(field.categories) | st.text(max_size=5)
    else:
        known = st.floats(field.minimum, field.maximum, allow_nan=False, width=64)
    # what the model was never shown is asked too: a missing value in a column that had none
    return known | st.none()


def test_every_row_of_the_hold_out_set_gets_the_probability_of_the_pipeline(
    fitted: Any, schema: Schema, shipped: Workload, applications: pd.DataFrame
) -> None:
    rows = split(applications, shipped.spec).holdout
    records = compiled.records_of(rows, schema.names)
    assert len(records) == len(rows) > 1000
    assert any(value is None for record in records for value in record.values())
    served = compiled.scorer(fitted, schema)
    assert served.is_compiled
    assert compiled.difference(fitted, served.score, records) <= compiled.TOLERANCE


def test_any_record_with_missing_values_and_unseen_categories_does_too(
    fitted: Any, schema: Schema
) -> None:
    score = compiled.compile_pipeline(fitted)
    record = st.fixed_dictionaries({field.name: _values(field) for field in schema.fields})

    @settings(max_examples=60)
    @given(st.lists(record, min_size=1, max_size=4))
    def same(records: list[Record]) -> None:
        assert compiled.difference(fitted, score, records) <= compiled.TOLERANCE

    same()


def test_samples_pass_the_checks_of_a_request_and_are_the_same_every_time(schema: Schema) -> None:
    samples = compiled.sample(schema, 100)
    assert schema.check(samples) == samples == compiled.sample(schema, 100)
    assert any(value is None for record in samples for value in record.values())


def test_an_infinite_feature_is_refused_as_the_pipeline_does(fitted: Any, schema: Schema) -> None:
    score = compiled.compile_pipeline(fitted)
    with pytest.raises(ValueError, match="infinite"):
        score([{**schema.typical(), "Time": 0.0}])


def test_a_function_that_needs_more_of_pandas_is_served_by_the_pipeline_and_said(
    unfit: Callable[..., Any], schema: Schema, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = unfit(lambda rows: rows.assign(rank=rows["Price"].rolling(1).mean()))
    served = compiled.scorer(pipeline, schema)
    assert not served.is_compiled
    assert "rolling" in str(served.refusal)
    assert "scoring with the training pipeline" in caplog.text
    assert served.score([schema.typical()]) == pytest.approx(
        compiled.pipeline_scorer(pipeline, schema.names)([schema.typical()])
    )


def test_a_compiled_form_that_differs_is_not_used(
    unfit: Callable[..., Any], schema: Schema
) -> None:
    # what is the mean over a frame in the pipeline is that of one record when it is asked alone
    pipeline = unfit(lambda rows: rows.assign(relative=rows["Price"] - rows["Price"].mean()))
    served = compiled.scorer(pipeline, schema)
    assert "differ by" in str(served.refusal)


def test_an_estimator_without_a_compiled_form_is_refused(unfit: Callable[..., Any]) -> None:
    from sklearn.tree import DecisionTreeClassifier

    with pytest.raises(compiled.NotCompilableError, match="DecisionTreeClassifier"):
        compiled.compile_pipeline(unfit(estimator=DecisionTreeClassifier(max_depth=2)))
