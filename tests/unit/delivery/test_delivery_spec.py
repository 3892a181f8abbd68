"""`workload.yaml` and the promise that a workload is a folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads.delivery import fingerprint, tuning
from workloads.delivery.connection import OF_RELEASES, PROJECT, REGISTERED_NAME, Connection
from workloads.delivery.errors import DeliveryError, NotUpError
from workloads.delivery.release import traffic_of
from workloads.delivery.spec import SpecError, Workload, WorkloadSpec, load, names, read

Parse = Callable[[dict[str, Any]], WorkloadSpec]


def test_every_mistake_of_a_spec_is_listed_at_once(content: dict[str, Any], parsed: Parse) -> None:
    content["gates"]["aucc"] = content["gates"].pop("auc")
    content["training"]["folds"] = 1
    content["data"]["columns"]["Age"]["categories"] = ["old"]
    del content["owner"]
    with pytest.raises(SpecError) as caught:
        parsed(content)
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5
    assert "gates.aucc: is no known key; did you mean auc? allowed: auc, brier" in text
    assert "gates.auc: is missing" in text
    assert "training.folds: Input should be greater than or equal to 2 (is 1)" in text
    assert "data.columns.Age: categories belong to a category" in text
    assert "owner: is missing" in text


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("data", "target", "column"), "Statuss", "data.target.column: 'Statuss' must be"),
        (("data", "target", "column"), "Job", "exactly two categories"),
        (("data", "target", "positive"), "worse", "is 'worse', allowed: good, bad"),
        (("data", "protected", "Height"), {}, "data.protected.Height: is no column"),
        (("data", "protected", "Age"), {}, "a number needs bands"),
        (("data", "protected", "Marital"), {"bands": [1]}, "a category has none"),
        (("data", "protected"), {}, "gates.fairness: is needed exactly when"),
        (("data", "ignored"), ["Age"], "'Age' is also listed under data.columns"),
        (("data", "columns", "Age", "minimum"), 200, "minimum 200 is above maximum 100"),
        (("data", "columns", "Age", "kind"), "text", "'number' or 'category'"),
        (("gates", "auc", "minimum"), float("nan"), "finite number"),
        (("training", "families", "logistic", "search", "C", "low"), 0, "log needs low above 0"),
        (("rollout", "steps"), [50, 10, 100], "do not rise from above 0 to 100"),
        (("rollout", "steps"), [10, 50], "do not rise from above 0 to 100"),
        (("rollout", "steps"), [0, 100], "do not rise from above 0 to 100"),
        (("rollout", "steps"), [], "do not rise from above 0 to 100"),
        (("rollout", "window_seconds"), 7, "greater than or equal to 8"),
        (("rollout", "timeout_seconds"), 10, "leave no time after a window of 10 s"),
        (("rollout", "limits", "latency_p95_ms"), {}, "needs maximum, over_champion, or both"),
        (("rollout", "limits", "error_rat"), {}, "did you mean error_rate?"),
        (("name",), "Credit Risk", "name: String should match pattern"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    path: tuple[str, ...], value: object, said: str, content: dict[str, Any], parsed: Parse
) -> None:
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(SpecError, match=said.replace("(", r"\(")):
        parsed(content)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is empty"), ("- a\n", "is not a mapping"), ("a: [", "is not YAML"), ("\0", "not YAML")],
)
def test_a_file_that_is_no_spec_is_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "workload.yaml"
    file.write_text(text)
    with pytest.raises(SpecError, match=said):
        read(file)


def test_a_rollout_decides_nothing_about_a_model_and_has_defaults(
    content: dict[str, Any], parsed: Parse, shipped: Workload
) -> None:
    content["rollout"]["steps"] = [25, 100]
    assert parsed(content).digest() == shipped.spec.digest()
    del content["rollout"]
    assert parsed(content) == shipped.spec


def test_a_missing_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read(tmp_path / "workload.yaml")


@pytest.mark.parametrize("name", ["credit-rsik", "../etc", "credit_risk", "delivery"])
def test_an_unknown_workload_is_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(DeliveryError, match="known: credit-risk"):
        load(name)


def test_the_model_never_sees_target_or_protected_attributes(shipped: Workload) -> None:
    seen = {feature["name"] for feature in tuning.request_schema(shipped.spec)["features"]}
    assert seen == set(shipped.spec.data.columns) - {"Status", "Age", "Marital"}


def test_a_workload_is_at_most_200_lines() -> None:
    for name in names():
        folder = PROJECT / name.replace("-", "_")
        files = [path for path in folder.iterdir() if path.suffix in {".py", ".yaml"}]
        lines = sum(len(path.read_text().splitlines()) for path in files)
        assert 0 < lines <= 200, f"{name} has {lines} lines"


def test_the_chain_names_no_workload() -> None:
    for name in names():
        for path in (PROJECT / "delivery").glob("*.py"):
            assert name.replace("-", "_") not in path.read_text(), path


def test_the_same_seed_gives_the_same_trials_within_their_bounds(shipped: Workload) -> None:
    trials = tuning.configurations(shipped.spec)
    assert trials == tuning.configurations(shipped.spec)
    assert len(trials) >= 8
    assert {trial["family"] for trial in trials} == {"xgboost", "logistic"}
    for trial in trials:
        for name, bounds in shipped.spec.training.families[trial["family"]].search.items():
            value = trial["parameters"][name]
            assert bounds.low is not None
            assert bounds.high is not None
            assert bounds.low <= value <= bounds.high
            assert isinstance(value, int) == bounds.integer


def test_another_seed_gives_other_trials(content: dict[str, Any], parsed: Parse) -> None:
    before = tuning.configurations(parsed(content))
    content["training"]["seed"] += 1
    assert tuning.configurations(parsed(content)) != before


def test_the_fingerprint_follows_all_that_decides_the_model(
    content: dict[str, Any], parsed: Parse, shipped: Workload, tmp_path: Path
) -> None:
    def mark(spec: WorkloadSpec, source: str = "abc", folder: Path = shipped.folder) -> str:
        return fingerprint.fingerprint(Workload(spec=spec, folder=folder), source)

    before = mark(shipped.spec)
    assert mark(shipped.spec) == before
    assert mark(shipped.spec, source="abd") != before
    assert mark(shipped.spec, folder=tmp_path) != before, "other code"
    content["description"], content["owner"] = "another", "somebody"
    assert mark(parsed(content)) == before, "who owns it decides nothing"
    content["gates"]["auc"]["minimum"] = 0.81
    assert mark(parsed(content)) != before


def test_every_module_that_decides_the_model_is_in_the_fingerprint(shipped: Workload) -> None:
    for name in fingerprint.SHARED_CODE:
        assert (PROJECT / "delivery" / name).is_file(), name
    for name in fingerprint.WORKLOAD_CODE:
        assert (shipped.folder / name).is_file(), name


def test_code_outside_of_git_is_called_uncommitted(shipped: Workload, tmp_path: Path) -> None:
    assert fingerprint.code_commit(shipped, tmp_path).startswith("uncommitted+")


def test_the_commands_load_nothing_slow() -> None:
    code = (
        "import sys, workloads.cli; "
        "slow = {'pandas', 'numpy', 'mlflow', 'ray', 'sklearn', 'dagster', 'pydantic'}; "
        "sys.exit(', '.join(sorted(slow & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_connection_names_all_variables_that_are_missing(connection: Connection) -> None:
    variables = dict(connection.variables)
    del variables["FALAJ_STATE"], variables["FALAJ_ENDPOINT"]
    with pytest.raises(NotUpError, match=r"lacks FALAJ_ENDPOINT, FALAJ_STATE: run `make up`"):
        Connection.from_variables(variables)


def test_where_the_traffic_is_not_moved_models_are_made_and_none_is_released(
    connection: Connection,
) -> None:
    traffic_of(connection)
    variables = {k: v for k, v in connection.variables.items() if k not in OF_RELEASES}
    trains_alone = Connection.from_variables(variables)

    with pytest.raises(NotUpError, match=r"credit-risk is not released from here: .*FALAJ_SLOTS"):
        traffic_of(trains_alone)


def test_a_model_is_called_as_the_platform_says_else_as_its_workload(
    connection: Connection,
) -> None:
    named = {**connection.variables, REGISTERED_NAME: "credit.credit-risk"}

    assert connection.registered_name == "credit-risk"
    assert Connection.from_variables(named).registered_name == "credit.credit-risk"


def test_a_connection_shows_no_secret(connection: Connection) -> None:
    secret = "do-not-show"
    variables = connection.variables | {
        "FALAJ_DATA_URI": "s3://bucket",
        "AWS_SECRET_ACCESS_KEY": secret,
    }
    made = Connection.from_variables(variables)
    assert made.storage_options["AWS_SECRET_ACCESS_KEY"] == secret
    assert secret not in repr(made)
