"""A fitted pipeline without pandas: the same probabilities in a small part of the time.

A data frame of one row costs a hundred times what the model does with it. `compile_pipeline` reads
the constants of the pipeline that `workloads.delivery.tabular` builds, and of its estimator, into
numpy arrays. It is derived from what was registered, whenever that is loaded: there is no second
file that could say something else. Whoever uses it first compares it with the pipeline
(`difference`); what it does not know it refuses, and the pipeline itself answers (`scorer`).

The workload's own function is run as it is, on columns that know `[name]`, arithmetic and
`assign`; one that asks for more of pandas is refused.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.delivery import tabular
from workloads.delivery.request import Field, Record, Schema, Value

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    type FloatArray = NDArray[np.float64]
    type Block = Callable[[Columns, int], FloatArray]
    type Model = Callable[[FloatArray], FloatArray]

log = logging.getLogger(__name__)

TOLERANCE = 1e-6
"""The largest difference of two probabilities that counts as equal: trees add in 32 bits."""
_SAMPLES = 200
_LARGEST = 1e7
"""Of a sample of a number without a maximum."""

Scorer = Callable[[Sequence[Record]], list[float]]
"""Checked records → the probability of the positive outcome for each."""


class NotCompilableError(Exception):
    """The pipeline does something that has no compiled form; the message says what."""


class Columns(dict[str, Any]):
    """Feature → its values: as much of a data frame as a workload's function may use."""

    def assign(self, **columns: Any) -> Columns:
        """These columns and `columns`, each an array, a scalar, or a function of what is there."""
        extended = Columns(self)
        for name, column in columns.items():
            extended[name] = column(extended) if callable(column) else column
        return extended


@dataclass(frozen=True)
class Served:
    """How records are scored, and why not faster where it is the pipeline that does it."""

    score: Scorer
    refusal: str | None

    @property
    def is_compiled(self) -> bool:
        """Whether it takes so little time that it need not leave the server's own thread."""
        return self.refusal is None


def scorer(pipeline: Any, schema: Schema) -> Served:
    """The compiled form of `pipeline` where it has one that agrees with it, else the pipeline."""
    try:
        score = compile_pipeline(pipeline)
        found = _tried(pipeline, score, sample(schema, _SAMPLES))
        if not found <= TOLERANCE:
            raise NotCompilableError(f"compiled, its probabilities differ by {found:g}")
    except NotCompilableError as error:
        log.warning("scoring with the training pipeline, which takes milliseconds: %s", error)
        return Served(pipeline_scorer(pipeline, schema.names), str(error))
    return Served(score, None)


def pipeline_scorer(pipeline: Any, names: Sequence[str]) -> Scorer:
    """Scores with the training pipeline itself: one data frame a request."""

    def score(records: Sequence[Record]) -> list[float]:
        return [float(row[1]) for row in pipeline.predict_proba(_frame(records, names))]

    return score


def difference(pipeline: Any, score: Scorer, records: Sequence[Record]) -> float:
    """The largest difference between `score`, asked record by record and for all at once, and
    `pipeline` over `records`; infinite where one of them gives no number.
    """
    expected = pipeline.predict_proba(_frame(records, list(records[0])))[:, 1].astype(float)
    singles = np.array([score([record])[0] for record in records])
    apart = np.abs(np.stack([singles, np.array(score(records))]) - expected)
    return float(np.max(np.where(np.isnan(apart), np.inf, apart)))


def records_of(rows: pd.DataFrame, names: Sequence[str]) -> list[Record]:
    """Rows of a table as a client would send them, `None` for what is missing."""
    features = rows[list(names)]
    missing = features.isna().to_dict("records")
    return [
        {str(name): None if gone[name] else value for name, value in row.items()}
        for row, gone in zip(features.astype(object).to_dict("records"), missing, strict=True)
    ]


def sample(schema: Schema, number: int, seed: int = 0) -> list[Record]:
    """Records that pass the checks of `schema`: sizes of every order, and what may be missing."""
    chance = random.Random(seed)  # noqa: S311 the same samples at every load

    def value(field: Field) -> Value:
        if field.nullable and chance.random() < 0.2:
            return None
        if field.kind == "category":
            return chance.choice(field.categories) if field.categories else ""
        low = field.minimum if field.minimum is not None else 0.0
        high = field.maximum if field.maximum is not None else max(_LARGEST, 2 * abs(low))
        share = chance.choice((0.0, 1.0, chance.random(), 10 ** -chance.uniform(0, 6)))
        return float(low + (high - low) * share)

    return [{field.name: value(field) for field in schema.fields} for _ in range(number)]


def compile_pipeline(pipeline: Any) -> Scorer:
    """`pipeline` as arithmetic on arrays. Raises `NotCompilableError`."""
    try:
        typing, derive, encode, model = (step for _, step in pipeline.steps)
        # by name: a logged model carries a copy of the function
        if _name(typing.func) != _name(tabular.typed):
            raise NotCompilableError("its first step is not the one of workloads.delivery.tabular")
        numbers, categories = typing.kw_args["numbers"], typing.kw_args["categories"]
        blocks = [
            _block(transformer, list(names))
            for _, transformer, names in encode.transformers_
            if transformer != "drop" and len(names)
        ]
        probabilities = _model(model)
        function, arguments = derive.func, derive.kw_args or {}
    except NotCompilableError:
        raise
    except Exception as error:
        raise NotCompilableError(
            f"the pipeline has another form ({type(error).__name__}: {error})"
        ) from error

    def score(records: Sequence[Record]) -> list[float]:
        rows = len(records)
        raw = np.array([[record[name] for name in numbers] for record in records], dtype=float)
        columns = Columns(zip(numbers, raw.T, strict=True))
        for name in categories:
            columns[name] = np.array(
                [_text(record[name]) for record in records],
                dtype=object,
            )
        with np.errstate(all="ignore"):  # as pandas does
            derived = function(columns, **arguments)
            encoded = np.concatenate([block(derived, rows) for block in blocks], axis=1)
            return [float(probability) for probability in probabilities(encoded)]

    return score


def _tried(pipeline: Any, score: Scorer, samples: Sequence[Record]) -> float:
    try:
        return difference(pipeline, score, samples)
    except Exception as error:
        raise NotCompilableError(f"compiled, it fails ({type(error).__name__}: {error})") from error


def _frame(records: Sequence[Record], names: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: [record[name] for record in records] for name in names})


def _name(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _text(value: Value) -> str:
    return tabular.MISSING if value is None else str(value)


def _block(transformer: Any, names: list[str]) -> Block:
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    if isinstance(transformer, Pipeline):
        imputer, scaler = (step for _, step in transformer.steps)
        return _numbers(imputer, scaler, names)
    if isinstance(transformer, OneHotEncoder):
        return _categories(transformer, names)
    raise NotCompilableError(f"{type(transformer).__name__} has no compiled form")


def _numbers(imputer: Any, scaler: Any, names: list[str]) -> Block:
    """Missing numbers replaced, then one more column for each that may be missing, all scaled."""
    statistics = np.asarray(imputer.statistics_, dtype=float)
    # a column of which the training knew no value is left out
    kept = np.flatnonzero(~np.isnan(statistics))
    flagged = imputer.indicator_.features_ if imputer.add_indicator else np.array([], dtype=int)
    mean, scale = scaler.mean_, scaler.scale_
    if mean is None or scale is None or len(mean) != len(kept) + len(flagged):
        raise NotCompilableError("the scaler does not belong to the columns before it")

    def block(columns: Columns, rows: int) -> FloatArray:
        values = np.empty((rows, len(names)))
        for place, name in enumerate(names):
            values[:, place] = columns[name]
        if np.isinf(values).any():
            raise ValueError("a feature is infinite")
        missing = np.isnan(values)
        filled = np.where(missing, statistics, values)
        whole = np.concatenate([filled[:, kept], missing[:, flagged]], axis=1)
        scaled: FloatArray = (whole - mean) / scale
        return scaled

    return block


def _categories(encoder: Any, names: list[str]) -> Block:
    """A column for each known category; one that is not known has none."""
    if encoder.drop is not None or encoder.handle_unknown != "ignore":
        raise NotCompilableError("the encoder drops or refuses categories")
    places: list[dict[str, int]] = []
    width = 0
    for known in encoder.categories_:
        places.append({str(name): width + place for place, name in enumerate(known)})
        width += len(known)
    if encoder.get_feature_names_out().shape != (width,):
        raise NotCompilableError("the encoder joins rare categories")

    def block(columns: Columns, rows: int) -> FloatArray:
        encoded = np.zeros((rows, width))
        for name, place in zip(names, places, strict=True):
            for row, category in enumerate(columns[name]):
                if (found := place.get(category)) is not None:
                    encoded[row, found] = 1.0
        return encoded

    return block


def _model(model: Any) -> Model:
    name = type(model).__name__
    if list(model.classes_) != [0, 1]:
        raise NotCompilableError(f"{name} decides between {list(model.classes_)}, not 0 and 1")
    if name == "LogisticRegression":
        return _logistic(model.coef_[0], float(model.intercept_[0]))
    if name == "XGBClassifier":
        if not np.isnan(model.missing):
            raise NotCompilableError(f"XGBoost takes {model.missing} for missing")
        return _trees(json.loads(bytes(model.get_booster().save_raw("json")))["learner"])
    raise NotCompilableError(f"{name} has no compiled form")


def _logistic(weights: FloatArray, intercept: float) -> Model:
    def probabilities(rows: FloatArray) -> FloatArray:
        return _sigmoid(rows @ weights + intercept)

    return probabilities


def _trees(learner: Mapping[str, Any]) -> Model:
    """XGBoost's trees, all walked down together, one level at a time.

    `learner` is that of XGBoost's JSON model format; a row goes left where its value, in 32 bits,
    is less than the node's.
    """
    booster, parameters = learner["gradient_booster"], learner["learner_model_param"]
    trees = booster["model"]["trees"]
    if booster["name"] != "gbtree" or learner["objective"]["name"] != "binary:logistic":
        raise NotCompilableError(
            f"XGBoost's {booster['name']} for {learner['objective']['name']} has no compiled form"
        )
    if "best_iteration" in learner.get("attributes", {}) or int(parameters["num_target"]) != 1:
        raise NotCompilableError("XGBoost uses a part of its trees, or has several targets")
    if any(any(tree["split_type"]) for tree in trees):
        raise NotCompilableError("XGBoost splits by categories")
    base = float(str(parameters["base_score"]).strip("[]"))
    margin = float(np.log(base / (1 - base)))
    sizes = np.array([len(tree["left_children"]) for tree in trees])
    roots = np.cumsum(sizes) - sizes
    children, features, limits = [], [], []
    for root, tree in zip(roots, trees, strict=True):
        left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
        leaf = left < 0
        itself = np.arange(len(left))
        # a leaf leads to itself, so that all trees can be walked down as far as the deepest
        children.append(
            np.stack([np.where(leaf, itself, right), np.where(leaf, itself, left)]) + root
        )
        features.append(np.where(leaf, 0, tree["split_indices"]))
        limits.append(np.array(tree["split_conditions"], dtype=np.float32))
    # of node n: right child at 2n, left child at 2n + 1
    child = np.concatenate(children, axis=1).T.reshape(-1).copy()
    feature, limit = np.concatenate(features), np.concatenate(limits)
    value = limit.astype(float)  # of a leaf
    depth = max(_depth(tree) for tree in trees)

    def probabilities(rows: FloatArray) -> FloatArray:
        row = rows.astype(np.float32)
        if len(row) == 1:
            (only,) = row
            node = roots
            for _ in range(depth):
                node = child[2 * node + (only[feature[node]] < limit[node])]
            return _sigmoid(np.array([value[node].sum() + margin]))
        nodes = np.tile(roots, (len(row), 1))
        lines = np.arange(len(row))[:, None]
        for _ in range(depth):
            nodes = child[2 * nodes + (row[lines, feature[nodes]] < limit[nodes])]
        return _sigmoid(value[nodes].sum(axis=1) + margin)

    return probabilities


def _depth(tree: Mapping[str, Any]) -> int:
    """Steps from the root to the deepest leaf."""
    depth, level = -1, [0]
    while level:
        depth += 1
        inner = [node for node in level if tree["left_children"][node] >= 0]
        level = [tree[side][node] for node in inner for side in ("left_children", "right_children")]
    return depth


def _sigmoid(margin: FloatArray) -> FloatArray:
    # written so that no exponential overflows
    small = np.exp(-np.abs(margin))
    probability: FloatArray = np.where(margin >= 0, 1.0, small) / (1.0 + small)
    return probability
