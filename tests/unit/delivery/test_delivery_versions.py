"""From a trained model to an approved version, on a real registry in a file."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workloads.delivery import approve, evaluate, gate, ingest, pipeline, registry, release, tuning
from workloads.delivery import register as registering
from workloads.delivery import train as training
from workloads.delivery.component import ModelComponent
from workloads.delivery.connection import REGISTERED_NAME, Connection
from workloads.delivery.errors import BusyError, DeliveryError, GateFailedError
from workloads.delivery.gate import Rival, judge
from workloads.delivery.spec import Workload, WorkloadSpec
from workloads.delivery.split import split, target_of
from workloads.delivery.train import Origin

LOGISTIC = {"family": "logistic", "parameters": {"C": 0.1}}
GOOD = {
    "auc": 0.85,
    "brier": 0.14,
    "calibration_error": 0.03,
    "latency_p95_ms": 10.0,
    "serving_difference": 2e-7,
    "demographic_parity_difference_Age": 0.1,
    "equal_opportunity_difference_Age": 0.05,
    "demographic_parity_difference_Marital": 0.1,
    "equal_opportunity_difference_Marital": 0.05,
}
BAD = {
    "auc": 0.79,
    "brier": 0.17,
    "calibration_error": 0.07,
    "latency_p95_ms": 101.0,
    "serving_difference": 2e-6,
    "demographic_parity_difference_Age": 0.21,
    "equal_opportunity_difference_Age": 0.11,
    "demographic_parity_difference_Marital": 0.21,
    "equal_opportunity_difference_Marital": 0.11,
}

Change = Callable[[WorkloadSpec, dict[str, Any]], WorkloadSpec]


# --- gates on plain figures -----------------------------------------------------------------------


def test_good_figures_pass_every_gate(shipped: Workload) -> None:
    gated = judge(GOOD, shipped.spec, None)
    assert gated.passed
    assert [row.figure for row in gated.rows] == list(GOOD)


@pytest.mark.parametrize("figure", list(GOOD))
@pytest.mark.parametrize("value", ["bad", "nan", "missing"])
def test_each_gate_fails_alone(figure: str, value: str, shipped: Workload) -> None:
    figures = dict(GOOD)
    if value == "missing":
        del figures[figure]
    else:
        figures[figure] = BAD[figure] if value == "bad" else math.nan
    gated = judge(figures, shipped.spec, None)
    assert not gated.passed
    assert [row.figure for row in gated.rows if not row.passed] == [figure]


@pytest.mark.parametrize(("champion", "passed"), [(0.84, True), (0.849, False), (0.9, False)])
def test_a_candidate_must_beat_the_champion_by_the_margin(
    champion: float, passed: bool, shipped: Workload
) -> None:
    gated = judge(GOOD, shipped.spec, Rival(3, {"auc": champion}))
    assert gated.passed == passed
    assert gated.rows[-1].figure == "auc_gain_over_champion_3"
    assert gated.rows[-1].value == pytest.approx(0.85 - champion)


def test_a_champion_without_the_figure_lets_nothing_pass(shipped: Workload) -> None:
    assert not judge(GOOD, shipped.spec, Rival(3, {})).passed


def test_a_smaller_brier_score_is_the_better_one(
    content: dict[str, Any], parsed: Callable[[dict[str, Any]], WorkloadSpec]
) -> None:
    content["gates"]["champion"] = {"metric": "brier", "margin": 0.01}
    spec = parsed(content)
    assert judge(GOOD, spec, Rival(1, {"brier": 0.16})).passed
    assert not judge(GOOD, spec, Rival(1, {"brier": 0.12})).passed


# --- figures --------------------------------------------------------------------------------------


def test_calibration_error_is_the_distance_of_promise_and_outcome() -> None:
    labels = np.array([0.0, 0.0, 1.0, 1.0])
    assert evaluate.calibration_error(labels, labels) == 0
    assert evaluate.calibration_error(labels, 1 - labels) == 1
    assert evaluate.calibration_error(labels, np.full(4, 0.75)) == pytest.approx(0.25)


class _Fixed:
    """Gives every row the probability that stands in its column `Seniority`."""

    def predict_proba(self, rows: pd.DataFrame) -> Any:
        positive = rows["Seniority"].to_numpy(float)
        return np.column_stack([1 - positive, positive])


def test_differences_between_groups_are_those_of_the_favourable_decision(
    shipped: Workload, applications: pd.DataFrame
) -> None:
    rows = applications.head(400).copy()
    rows["Status"] = ["good", "bad"] * 200
    rows["Age"] = [20.0] * 200 + [35.0] * 200
    rows["Marital"] = ["married"] * 390 + [None] * 10
    # of 100 good young applicants 40 are refused, of the older ones none; the bad ones all are
    rows["Seniority"] = [1.0, 1.0] * 40 + [0.0, 1.0] * 160
    groups, differences = evaluate.fairness(_Fixed(), rows, shipped.spec)
    assert differences["equal_opportunity_difference_Age"] == pytest.approx(0.4)
    assert differences["demographic_parity_difference_Age"] == pytest.approx(0.2)
    assert differences["demographic_parity_difference_Marital"] == 0, "one group is large enough"
    sizes = {(g.attribute, g.group): (g.rows, g.judged) for g in groups}
    assert sizes == {
        ("Age", "below 30"): (200, True),
        ("Age", "30 to under 45"): (200, True),
        ("Marital", "married"): (390, True),
        ("Marital", "not given"): (10, False),
    }


# --- models ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(shipped: Workload, applications: pd.DataFrame) -> Any:
    """A small fitted model of the shipped workload."""
    train = split(applications, shipped.spec).train
    return tuning.fit(shipped, LOGISTIC, train, target_of(train, shipped.spec))


@pytest.mark.parametrize("family", ["logistic", "xgboost"])
def test_a_model_takes_raw_rows_with_values_missing_or_new(
    family: str, shipped: Workload, applications: pd.DataFrame
) -> None:
    trial = {"family": family, "parameters": {}}
    made = tuning.fit(shipped, trial, applications, target_of(applications, shipped.spec))
    row = applications.head(1).copy()
    row[["Income", "Assets", "Debt"]] = np.nan
    row[["Home", "Job"]] = None
    odd = row.assign(Home="castle")
    for rows in (row, odd, row[list(row.columns[::-1])]):
        (probabilities,) = made.predict_proba(rows)
        assert probabilities.sum() == pytest.approx(1)
    assert made.predict_proba(row)[0, 1] == made.predict_proba(row[row.columns[::-1]])[0, 1]


def test_an_unknown_family_is_refused(shipped: Workload) -> None:
    with pytest.raises(ValueError, match="no model family 'forest'"):
        shipped.builder()("forest", {}, shipped.spec, 1)


def test_the_model_learns_nothing_from_protected_attributes(
    model: Any, applications: pd.DataFrame
) -> None:
    changed = applications.assign(Age=99.0, Marital="widow")
    assert (model.predict_proba(applications) == model.predict_proba(changed)).all()


def test_training_twice_gives_the_same_model(
    model: Any, shipped: Workload, applications: pd.DataFrame
) -> None:
    train = split(applications, shipped.spec).train
    target = target_of(train, shipped.spec)
    again = tuning.fit(shipped, LOGISTIC, train, target)
    assert (again.predict_proba(train) == model.predict_proba(train)).all()
    scores = [tuning.cross_validate(shipped, LOGISTIC, train, target) for _ in range(2)]
    assert scores[0] == scores[1]
    assert scores[0]["cv_auc"] > 0.8


def _finalist(connection: Connection, workload: Workload, model: Any, rows: pd.DataFrame) -> str:
    """Logs `model` as the finalist of a training, as the job on the cluster does."""
    import mlflow

    client = registry.client(connection)
    parent = client.create_run(
        registry.experiment_id(connection),
        tags={
            registry.TAG_ROLE: "training",
            registry.TAG_DATA_VERSION: "0",
            registry.TAG_FINGERPRINT: "f",
        },
    ).info.run_id
    run = tuning.start_child(connection, parent, "finalist", LOGISTIC)
    with mlflow.start_run(run_id=run):
        mlflow.log_metric(tuning.CV_AUC, 0.84)
        tuning.log_model(model, workload, rows.head(5)[list(workload.spec.features())])
    training.close(connection, parent, "FINISHED")
    return str(parent)


@pytest.fixture
def version(
    connection: Connection, shipped: Workload, model: Any, applications: pd.DataFrame
) -> int:
    """A registered version with its evaluation, not yet judged."""
    assert ingest.ingest(connection, shipped).version == 0
    parent = _finalist(connection, shipped, model, applications)
    trained = training.trained_by(connection, parent)
    (evaluation,) = evaluate.evaluate(connection, shipped.spec, trained)
    return registering.register(connection, evaluation.run_id, Origin(0, "c", "f")).version


def test_the_whole_chain_and_the_server_mean_the_model_that_the_platform_names(
    *,
    connection: Connection,
    shipped: Workload,
    model: Any,
    applications: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under the workload's own name a team's pods may make nothing where teams share a server."""
    told = {**connection.variables, REGISTERED_NAME: "credit.credit-risk"}
    named = Connection.from_variables(told)
    parent = _finalist(named, shipped, model, applications)
    ingest.ingest(named, shipped)
    (evaluation,) = evaluate.evaluate(named, shipped.spec, training.trained_by(named, parent))
    made = registering.register(named, evaluation.run_id, Origin(0, "c", "f"))
    gate.gate(named, shipped.spec, made.version)
    release._point(named, "a", made.version)

    client = registry.client(named)
    assert [one.name for one in client.search_registered_models()] == ["credit.credit-risk"]
    experiments = {one.name for one in client.search_experiments()}
    assert experiments - {"Default"} == {"credit.credit-risk"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", named.tracking_uri)
    for name, value in (("FALAJ_SLOT", "a"), ("FALAJ_STATE", str(named.state))):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FALAJ_WORKLOAD", "credit-risk")
    assert ModelComponent()._models.assigned() is None
    monkeypatch.setenv(REGISTERED_NAME, "credit.credit-risk")
    assert ModelComponent()._models.assigned() == (str(made.version), made.model_digest)


def _with_gate(spec: WorkloadSpec, gate: str, **change: float) -> WorkloadSpec:
    changed = getattr(spec.gates, gate).model_copy(update=change)
    return spec.model_copy(update={"gates": spec.gates.model_copy(update={gate: changed})})


def test_a_version_goes_through_registration_gates_and_approval(
    connection: Connection, version: int, shipped: Workload
) -> None:
    made = registry.version(connection, version)
    again = registering.register(connection, made.run_id, Origin(0, "c", "f"))
    assert (again.version, len(registry.versions(connection))) == (version, 1)
    candidate = registry.version_at(connection, registry.CANDIDATE)
    assert candidate is not None
    assert candidate.version == made.version

    with pytest.raises(GateFailedError, match="has not been through the gates"):
        approve.approve(connection, version, "Amna", automatic=False)
    gated = gate.gate(connection, shipped.spec, version)
    assert gated.passed
    assert gate.gates_of(connection, version) == gated
    tags = registry.version(connection, version).tags
    assert tags[registry.TAG_GATES] == "passed"
    assert tags[registry.TAG_DATA_VERSION] == "0"

    for nobody in ("", "  ", "a\nb", "x" * 101):
        with pytest.raises(DeliveryError, match="is no name"):
            approve.approve(connection, version, nobody, automatic=False)
    assert approve.approval_of(connection, version) is None
    approval = approve.approve(connection, version, " Amna ", automatic=False)
    assert (approval.approver, approval.automatic) == ("Amna", False)
    assert approval.figures["auc"] > 0.8
    assert len(approval.gates) == len(gated.rows)
    assert approval.model_digest == tags[registry.TAG_DIGEST]
    later = approve.approve(connection, version, "Somebody else", automatic=True)
    assert later == approval, "the first approval stands"

    (listed,) = registry.trainings(connection, 5)
    assert (listed.version, listed.gates, listed.aliases) == (version, "passed", ("candidate",))


def test_a_version_that_missed_a_gate_cannot_be_approved(
    connection: Connection, version: int, shipped: Workload
) -> None:
    strict = _with_gate(shipped.spec, "auc", minimum=0.99)
    assert not gate.gate(connection, strict, version).passed
    assert registry.version(connection, version).tags[registry.TAG_GATES] == "failed"
    with pytest.raises(GateFailedError, match="it failed auc"):
        approve.approve(connection, version, "Amna", automatic=False)
    assert approve.approval_of(connection, version) is None
    assert registry.version_at(connection, registry.CHAMPION) is None


def test_a_model_altered_after_its_registration_cannot_be_approved(
    connection: Connection, version: int, shipped: Workload, tmp_path: Path
) -> None:
    gate.gate(connection, shipped.spec, version)
    (pickle,) = tmp_path.glob("**/artifacts/model.pkl")
    pickle.write_bytes(pickle.read_bytes() + b"\0")
    with pytest.raises(DeliveryError, match="its files have changed"):
        approve.approve(connection, version, "Amna", automatic=False)
    assert approve.approval_of(connection, version) is None


def test_an_equal_candidate_does_not_replace_the_champion(
    connection: Connection,
    version: int,
    shipped: Workload,
    model: Any,
    applications: pd.DataFrame,
) -> None:
    client = registry.client(connection)
    client.set_registered_model_alias(connection.workload, registry.CHAMPION, str(version))
    parent = _finalist(connection, shipped, model, applications)
    (evaluation,) = evaluate.evaluate(
        connection, shipped.spec, training.trained_by(connection, parent)
    )
    second = registering.register(connection, evaluation.run_id, Origin(0, "c", "g")).version
    gated = gate.gate(connection, shipped.spec, second)
    (row,) = (row for row in gated.rows if not row.passed)
    assert (row.figure, row.value) == (f"auc_gain_over_champion_{version}", 0)
    champion = registry.version_at(connection, registry.CHAMPION)
    assert champion is not None
    assert int(champion.version) == version
    lenient = _with_gate(shipped.spec, "champion", margin=-0.01)
    assert gate.gate(connection, lenient, second).passed


def test_an_unknown_version_is_refused_with_those_that_exist(
    connection: Connection, version: int
) -> None:
    with pytest.raises(DeliveryError, match=f"has no version 9: there is {version}"):
        approve.approve(connection, 9, "Amna", automatic=False)


def test_a_logged_model_answers_without_the_code_that_made_it(
    *,
    connection: Connection,
    version: int,
    shipped: Workload,
    model: Any,
    applications: pd.DataFrame,
    tmp_path: Path,
) -> None:
    run_id = registry.version(connection, version).run_id
    folder = registry.download_model(connection, run_id, tmp_path / "fetched")
    assert (
        registry.model_digest(folder)
        == registry.version(connection, version).tags[registry.TAG_DIGEST]
    )
    rows = applications.head(3)[list(shipped.spec.features())]
    rows.to_json(tmp_path / "rows.json", orient="records")
    code = (
        "import sys; sys.modules['workloads'] = None\n"
        "import json, mlflow.sklearn, pandas as pd\n"
        "rows = pd.DataFrame(json.load(open(sys.argv[2])))\n"
        "print(json.dumps(mlflow.sklearn.load_model(sys.argv[1]).predict_proba(rows).tolist()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "rows.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answered = json.loads(done.stdout.splitlines()[-1])
    assert np.allclose(answered, model.predict_proba(rows), atol=1e-12)

    from mlflow.models import Model

    metadata = Model.load(str(folder)).metadata["falaj"]
    assert metadata["threshold"] == 0.5
    assert metadata["positive"] == "bad"
    assert metadata["features"][0] == {
        "name": "Seniority",
        "kind": "number",
        "nullable": False,
        "minimum": 0.0,
        "maximum": 70.0,
        "categories": None,
        "classification": "personal",
        "reference": {"edges": [], "shares": [1.0]},  # of five rows
    }


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture
def made_before(
    connection: Connection, version: int, shipped: Workload, monkeypatch: pytest.MonkeyPatch
) -> int:
    """A version whose fingerprint is that of the workload as it is: a run was killed after it."""
    from workloads.delivery import fingerprint

    mark = fingerprint.fingerprint(shipped, ingest.ingest(connection, shipped).source_sha256)
    registry.client(connection).set_model_version_tag(
        connection.workload, str(version), registry.TAG_FINGERPRINT, mark
    )
    return version


def test_a_run_takes_up_what_a_killed_run_registered(
    connection: Connection, made_before: int, shipped: Workload
) -> None:
    outcome = pipeline.run(connection, shipped, until="approve")
    assert outcome is not None
    assert (outcome.status, outcome.version, outcome.trained) == ("waiting", made_before, False)
    assert approve.approval_of(connection, made_before) is None
    approving = replace(connection, auto_approve=True)
    outcome = pipeline.run(approving, shipped, until="approve")
    assert (outcome.status, outcome.version) == ("approved", made_before)
    approval = approve.approval_of(connection, made_before)
    assert approval is not None
    assert approval.automatic
    assert len(registry.versions(connection)) == 1


@pytest.mark.parametrize("step", ["ingest", "register", "gate"])
def test_a_run_stops_after_the_step_that_is_asked_for(
    connection: Connection, made_before: int, shipped: Workload, step: str
) -> None:
    outcome = pipeline.run(replace(connection, auto_approve=True), shipped, until=step)
    assert (outcome is None) == (step != "gate")
    assert (gate.gates_of(connection, made_before) is None) == (step != "gate")
    assert approve.approval_of(connection, made_before) is None


def test_a_run_leaves_a_champion_of_the_same_making_alone(
    connection: Connection, made_before: int, shipped: Workload
) -> None:
    registry.client(connection).set_registered_model_alias(
        connection.workload, registry.CHAMPION, str(made_before)
    )
    outcome = pipeline.run(connection, shipped)
    assert (outcome.status, outcome.version) == ("unchanged", made_before)
    assert list(outcome.seconds) == ["ingest"]


def test_a_run_does_not_bring_back_what_was_taken_out_of_service(
    connection: Connection, made_before: int, shipped: Workload
) -> None:
    registry.client(connection).set_model_version_tag(
        connection.workload, str(made_before), registry.TAG_RELEASED, "2026-01-01T00:00:00+00:00"
    )
    assert pipeline.run(connection, shipped).status == "withdrawn"


def test_a_missed_gate_ends_the_run_with_the_champion_in_place(
    connection: Connection, made_before: int, shipped: Workload
) -> None:
    strict = shipped.model_copy(
        update={"spec": _with_gate(shipped.spec, "latency_p95_ms", maximum=0.0)}
    )
    from workloads.delivery import fingerprint

    mark = fingerprint.fingerprint(strict, ingest.ingest(connection, strict).source_sha256)
    registry.client(connection).set_model_version_tag(
        connection.workload, str(made_before), registry.TAG_FINGERPRINT, mark
    )
    outcome = pipeline.run(replace(connection, auto_approve=True), strict)
    assert (outcome.status, outcome.passed) == ("failed", False)
    assert [row.figure for row in outcome.gates if not row.passed] == ["latency_p95_ms"]
    assert approve.approval_of(connection, made_before) is None
    assert registry.version_at(connection, registry.CHAMPION) is None


HOLD = (
    "import sys\n"
    "from workloads.delivery.connection import Connection\n"
    "from workloads.delivery.pipeline import exclusive\n"
    "import json\n"
    "connection = Connection.from_variables(json.loads(sys.argv[1]))\n"
    "with exclusive(connection) as run:\n"
    "    print(run, flush=True)\n"
    "    sys.stdin.read()\n"
)


def test_one_run_goes_at_a_time_and_a_killed_one_blocks_nobody(connection: Connection) -> None:
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD, json.dumps(connection.variables)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert held.stdout is not None
    killed = held.stdout.readline().strip()
    try:
        with (
            pytest.raises(BusyError, match=rf"another run .* \(process {held.pid}, since 20"),
            pipeline.exclusive(connection),
        ):
            pass
    finally:
        held.kill()
        held.communicate()
    with pipeline.exclusive(connection):
        journal = json.loads((connection.state / pipeline.JOURNAL).read_text())
        assert journal["left_over"] == [killed]
    with pipeline.exclusive(connection):
        journal = json.loads((connection.state / pipeline.JOURNAL).read_text())
        assert journal["left_over"] == [killed], "nobody has ended it yet"


def test_the_orchestrator_sees_every_step_as_an_asset(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FALAJ_WORKLOAD", "credit-risk")
    from workloads.delivery.definitions import defs

    steps = ["raw", "validated", "trained", "evaluated", "registered", "gated"]
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert specs.keys() == {f"credit_risk/{step}" for step in steps}
    above = {dep.asset_key.to_user_string() for dep in specs["credit_risk/gated"].deps}
    assert above == {"credit_risk/registered"}
    assert defs.resolve_job_def("deliver").name == "deliver"
