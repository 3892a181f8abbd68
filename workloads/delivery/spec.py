"""What a workload is: its `workload.yaml`, parsed once, every mistake in one list.

Owns the form of the file and the way from a workload's name to its folder. Nothing here knows a
particular workload.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import json
import re
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from workloads.delivery.connection import PROJECT
from workloads.delivery.errors import DeliveryError

FILE = "workload.yaml"
_FOLDER = re.compile(r"^[a-z][a-z0-9_]*$")


class SpecError(DeliveryError):
    """`workload.yaml` is wrong; `problems` lists everything that is."""

    def __init__(self, file: Path, problems: list[str]) -> None:
        self.problems = problems
        listed = "\n".join(f"  {number}. {text}" for number, text in enumerate(problems, 1))
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        super().__init__(f"{file} has {count}:\n{listed}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Column(_Part):
    """One column of the source."""

    kind: Literal["number", "category"]
    classification: Literal["public", "internal", "personal", "sensitive"] = "sensitive"
    """How it may be written down (`workloads.delivery.masking`); what nobody classified, not at
    all."""
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _limits_fit_the_kind(self) -> Self:
        if self.kind == "category":
            if self.minimum is not None or self.maximum is not None:
                raise ValueError("minimum and maximum belong to a number, not to a category")
            if not self.categories:
                raise ValueError("a category must list its categories")
        elif self.categories is not None:
            raise ValueError("categories belong to a category, not to a number")
        elif self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}")
        return self


class Target(_Part):
    """What the model predicts: one of exactly two labels."""

    column: str
    positive: str
    """The label whose probability the model gives."""
    favourable: str
    """The label that is good for the person concerned; fairness is measured on it."""
    threshold: float = Field(0.5, gt=0, lt=1)
    """The decision is `positive` from this probability on."""


class Protected(_Part):
    """An attribute that no group may be treated worse for. The model never sees it."""

    bands: tuple[float, ...] = ()
    """Lower bounds of the second and later bands of a number."""

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        if list(self.bands) != sorted(set(self.bands)):
            raise ValueError("bands must ascend")
        return self


class Data(_Part):
    """Where the data are and how they must look."""

    source: str = Field(min_length=1)
    """CSV or Parquet: a path relative to the workload's folder, or an http(s) URL."""
    columns: dict[str, Column] = Field(min_length=2)
    target: Target
    protected: dict[str, Protected] = Field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    """Columns of the source that are left out."""
    minimum_group_size: int = Field(50, ge=10)
    """Rows of the training set that a bin of a personal number, or a personal category that is
    written as it is, must have."""


class Range(_Part):
    """The values that the search draws a parameter from."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    choices: tuple[float | str, ...] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.choices is not None:
            if self.low is not None or self.high is not None or not self.choices:
                raise ValueError("give either low and high, or a list of choices")
        elif self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("needs low below high, or a list of choices")
        elif self.log and self.low <= 0:
            raise ValueError("log needs low above 0")
        return self


class Family(_Part):
    """One kind of model and how it is tuned."""

    trials: int = Field(ge=1, le=1000)
    search: dict[str, Range] = Field(default_factory=dict)


class Training(_Part):
    """How models are made."""

    holdout_fraction: float = Field(gt=0, lt=0.9)
    seed: int = Field(ge=0, lt=2**32)
    folds: int = Field(ge=2, le=20)
    families: dict[str, Family] = Field(min_length=1)


class Minimum(_Part):
    """A figure must reach `minimum`."""

    minimum: float


class Maximum(_Part):
    """A figure must not pass `maximum`."""

    maximum: float = Field(ge=0)


class Fairness(_Part):
    """The largest difference between two groups of one protected attribute."""

    minimum_group_size: int = Field(ge=1)
    """Rows of the hold-out set; smaller groups are reported, and judged by nobody."""
    demographic_parity_difference: Maximum
    """Of the rates at which groups get the favourable decision."""
    equal_opportunity_difference: Maximum
    """Of the same rates among those whose label is favourable."""


class Champion(_Part):
    """How much better than the champion a candidate must be, where there is a champion."""

    metric: Literal["auc", "brier"]
    margin: float
    """Negative lets a slightly worse model pass."""


class Gates(_Part):
    """What a version must reach to be approved."""

    auc: Minimum
    brier: Maximum
    calibration_error: Maximum
    latency_p95_ms: Maximum
    fairness: Fairness | None = None
    champion: Champion


class LatencyLimit(_Part):
    """Milliseconds that the 95th percentile of a version must not pass; at least one is given."""

    maximum: float | None = Field(None, gt=0)
    over_champion: float | None = Field(None, ge=0)
    """How much slower than the champion's."""

    @model_validator(mode="after")
    def _is_a_limit(self) -> Self:
        if self.maximum is None and self.over_champion is None:
            raise ValueError("needs maximum, over_champion, or both")
        return self


class Limits(_Part):
    """What a version in a canary must not pass; shares are of 1."""

    error_rate: Maximum = Maximum(maximum=0.02)
    """Of the requests that are not the client's fault, those that failed (5xx)."""
    latency_p95_ms: LatencyLimit = LatencyLimit(maximum=500, over_champion=200)
    positive_share_difference: Maximum = Maximum(maximum=0.25)
    """Of the shares of positive decisions, the champion's and the version's, either way."""


class Rollout(_Part):
    """How a version comes into service beside a champion; decides nothing about a model."""

    steps: tuple[int, ...] = (10, 50, 100)
    """Percents of the traffic, one after the other; each is judged."""
    window_seconds: int = Field(10, ge=8, le=3600)
    """A step is passed on figures over this time; a rate needs four scrapes of the metrics."""
    minimum_requests: int = Field(30, ge=1)
    """Of each version within the window, before it is judged at all."""
    timeout_seconds: int = Field(120, ge=10, le=86400)
    """A step without a verdict after this time is a failed one: the champion gets all again."""
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _is_a_way_up(self) -> Self:
        steps = list(self.steps)
        if steps != sorted(set(steps)) or not steps or steps[0] <= 0 or steps[-1] != 100:
            raise ValueError(f"steps {steps} do not rise from above 0 to 100")
        if self.timeout_seconds <= self.window_seconds:
            raise ValueError(
                f"timeout_seconds {self.timeout_seconds} leave no time after a window of "
                f"{self.window_seconds} s"
            )
        return self


class Capture(_Part):
    """Which predictions are kept, masked by classification, so that drift can be seen. Decides
    nothing about a model.
    """

    enabled: bool = False
    share: float = Field(0.1, gt=0, le=1)
    """Of the requests, drawn by a keyed hash of the request's id."""
    batch_rows: int = Field(500, ge=1, le=10_000)
    """So many predicted rows are written at once,"""
    batch_seconds: int = Field(10, ge=1, le=3600)
    """or what there is after this time."""
    keep_days: int = Field(30, ge=1, le=3650)
    """Whole days by UTC, after which a day's records are deleted."""


class WorkloadSpec(_Part):
    """One workload, from its source of data to its way into service."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$")]
    description: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    data: Data
    training: Training
    gates: Gates
    rollout: Rollout = Rollout()
    capture: Capture = Capture()

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        problems = [*self._target_problems(), *self._column_problems()]
        if bool(self.gates.fairness) != bool(self.data.protected):
            problems.append(
                "gates.fairness: is needed exactly when data.protected names an attribute"
            )
        if self.capture.enabled and self._features_are_sensitive():
            problems.append(
                "capture.enabled: is true, and no feature could be written: all are sensitive, as "
                "a column without a classification is; classify them under "
                "data.columns.<name>.classification, or say false"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _target_problems(self) -> Iterator[str]:
        columns, target = self.data.columns, self.data.target
        labels = columns[target.column].categories if target.column in columns else None
        if labels is None or len(labels) != 2:
            yield (
                f"data.target.column: {target.column!r} must be a category with exactly two "
                f"categories; columns: {', '.join(columns)}"
            )
            return
        if columns[target.column].nullable:
            yield f"data.columns.{target.column}: the target cannot be nullable"
        for key in ("positive", "favourable"):
            label = getattr(target, key)
            if label not in labels:
                yield f"data.target.{key}: is {label!r}, allowed: {', '.join(labels)}"

    def _column_problems(self) -> Iterator[str]:
        columns = self.data.columns
        for name, protected in self.data.protected.items():
            if name not in columns or name == self.data.target.column:
                yield (
                    f"data.protected.{name}: is no column beside the target; "
                    f"columns: {', '.join(columns)}"
                )
            elif (columns[name].kind == "number") != bool(protected.bands):
                yield f"data.protected.{name}: a number needs bands and a category has none"
        for name in self.data.ignored:
            if name in columns:
                yield f"data.ignored: {name!r} is also listed under data.columns"
        if not self.features():
            yield "data.columns: none is left for the model"

    def features(self) -> dict[str, Column]:
        """The columns that the model sees, in order: all but target and protected ones."""
        hidden = {self.data.target.column, *self.data.protected}
        return {name: c for name, c in self.data.columns.items() if name not in hidden}

    def _features_are_sensitive(self) -> bool:
        return all(one.classification == "sensitive" for one in self.features().values())

    def digest(self) -> str:
        """sha256 over all that decides which model comes out and whether it passes."""
        beside = {"description", "owner", "rollout", "capture"}
        content = self.model_dump(mode="json", exclude=beside)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Workload(_Part):
    """A workload's parsed spec, and the folder with its code and data."""

    spec: WorkloadSpec
    folder: Path

    @property
    def name(self) -> str:
        return self.spec.name

    def builder(self) -> Callable[..., Any]:
        """`build(family, parameters, spec, seed)` of the workload's `model.py`: an unfitted
        scikit-learn classifier over the raw feature columns.
        """
        module = importlib.import_module(f"workloads.{self.folder.name}.model")
        build: Callable[..., Any] = module.build
        return build


def load(workload: str, file: Path | None = None) -> Workload:
    """The workload called `workload`, its spec read from `file` where given.

    Raises `DeliveryError` when there is no such workload, `SpecError` when its spec is wrong.
    """
    folder = PROJECT / workload.replace("-", "_")
    known = names()
    if workload not in known:
        near = difflib.get_close_matches(workload, known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise DeliveryError(
            f"there is no workload {workload!r}: {meant}known: {', '.join(known) or 'none'}"
        )
    return Workload(spec=read(file or folder / FILE, workload), folder=folder)


def names() -> list[str]:
    """Every workload: each folder of `workloads/` that holds a `workload.yaml`."""
    return sorted(
        path.parent.name.replace("_", "-")
        for path in PROJECT.glob(f"*/{FILE}")
        if _FOLDER.match(path.parent.name)
    )


def read(file: Path, name: str | None = None) -> WorkloadSpec:
    """The spec in `file`, which must call itself `name` where given. Raises `SpecError`."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(file, [f"cannot be read: {error}"]) from error
    except yaml.YAMLError as error:
        raise SpecError(file, [f"is not YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(content, dict):
        raise SpecError(file, ["is empty" if content is None else "is not a mapping of keys"])
    try:
        spec = WorkloadSpec.model_validate(content)
    except ValidationError as error:
        raise SpecError(file, list(_explain(error))) from error
    if name is not None and spec.name != name:
        raise SpecError(file, [f"name: is {spec.name!r}, the folder says {name!r}"])
    return spec


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        keys = [str(part) for part in problem["loc"]]
        path = ".".join(keys)
        if problem["type"] == "extra_forbidden":
            allowed = _allowed(keys[:-1])
            near = difflib.get_close_matches(keys[-1], allowed, n=1)
            meant = f"; did you mean {near[0]}?" if near else ";"
            yield f"{path}: is no known key{meant} allowed: {', '.join(allowed)}"
        elif problem["type"] == "missing":
            yield f"{path}: is missing"
        else:
            given = problem["input"]
            shown = f" (is {given!r})" if isinstance(given, str | int | float) else ""
            for line in problem["msg"].removeprefix("Value error, ").split("\n"):
                yield f"{path}: {line}{shown}" if path else line


def _allowed(keys: list[str]) -> list[str]:
    """The keys allowed under the path `keys`."""
    model: type[BaseModel] = WorkloadSpec
    named = False
    for key in keys:
        if named:  # a name that the author chose, such as that of a column
            named = False
            continue
        annotation = model.model_fields[key].annotation
        options = (
            typing.get_args(annotation)
            if typing.get_origin(annotation) in (dict, types.UnionType, typing.Union)
            else (annotation,)
        )
        named = typing.get_origin(annotation) is dict
        model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return sorted(model.model_fields)
