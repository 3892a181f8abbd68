"""From a fresh clone to a governed model in service, to a second release, a rollback, and nothing.

One clone, one environment; the tests run in the order they stand in and each finds what the earlier
ones left.
"""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import yaml
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from components.contract import PlatformOutputs
from components.local import sweep
from stacks.environment import runtime_directory

if TYPE_CHECKING:
    from conftest import Journey

WORKLOAD = "credit-risk"
EVENTUALLY_SECONDS = 120


def eventually(condition: Any) -> None:
    Retrying(
        stop=stop_after_delay(EVENTUALLY_SECONDS),
        wait=wait_fixed(0.1),
        retry=retry_if_result(lambda outcome: not outcome),
    )(condition)


def declaration(journey: Journey, tmp_path: Path, **changes: Any) -> str:
    """The workload's declaration with another `gates` or `data` entry, as a file beside it."""
    original = journey.clone.root / "workloads" / "credit_risk" / "workload.yaml"
    content = yaml.safe_load(original.read_text())
    for section, entries in changes.items():
        content[section] |= entries
    path = tmp_path / "workload.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def job_states(journey: Journey) -> list[str]:
    """The state of every job that Ray knows."""
    request = urllib.request.Request(  # noqa: S310
        f"{journey.outputs['ray_address']}/api/jobs/",
        headers={"Authorization": f"Bearer {journey.outputs['ray_token']}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return [job["status"] for job in json.load(answer) if job["type"] == "SUBMISSION"]


# --- the main job ------------------------------------------------------------------------------


def test_make_up_ends_with_what_runs_the_gates_the_traffic_and_a_prediction(
    journey: Journey,
) -> None:
    for shown in ("tracking", "gateway", "auc", "pass", "version 1", "100 %", "answer", "next"):
        assert shown in journey.printed, f"{shown!r} is not in what make up printed"


def test_the_model_answers_through_the_gateway(journey: Journey) -> None:
    status, body, slot = journey.ask(journey.applicant)
    assert status == 200
    assert slot in {"a", "b"}
    assert 0 <= body["jsonData"]["predictions"][0]["probability"] <= 1


def test_the_outputs_keep_the_contract_and_hide_every_secret(
    journey: Journey,
    assert_keeps_contract: Callable[[dict[str, Any], dict[str, Any]], PlatformOutputs],
) -> None:
    masked = journey.json("pulumi", "stack", "output", "--json", "-s", "local")
    platform = assert_keeps_contract(masked, journey.outputs)
    platform.require("artifacts", "tracking", "training", "serving", "monitoring", "orchestration")


def test_no_secret_stands_in_plain_in_state_logs_or_arguments(journey: Journey) -> None:
    secrets = [journey.outputs["object_store_secret_key"], journey.outputs["ray_token"]]
    assert all(len(secret) >= 32 for secret in secrets)
    root = journey.clone.root
    places = [*(root / ".state" / "pulumi").rglob("*"), *(root / ".state" / "logs").rglob("*")]
    read = 0
    for path in places:
        if path.is_file():
            text = path.read_bytes()
            read += 1
            assert not any(secret.encode() in text for secret in secrets), path
    assert read > 5
    for process in psutil.process_iter(["cmdline"]):
        arguments = " ".join(process.info["cmdline"] or [])
        assert not any(secret in arguments for secret in secrets)


def test_files_with_secrets_are_private(journey: Journey) -> None:
    state = journey.clone.root / ".state"
    held = [state / "passphrase", state / "training" / "token"]
    held += (state / "supervisor" / "programs").glob("*.conf")
    assert len(held) > 8
    for path in held:
        assert path.stat().st_mode & 0o077 == 0, path


def test_every_listener_is_on_loopback(journey: Journey) -> None:
    found = journey.listeners()
    assert {"gateway", "tracking", "training", "monitoring", "object-store"} <= {
        part for _, _, part in found
    }
    outside = [entry for entry in found if entry[0] not in {"127.0.0.1", "::1", "::ffff:127.0.0.1"}]
    assert outside == []


def test_ray_answers_nobody_without_the_token(journey: Journey) -> None:
    url = f"{journey.outputs['ray_address']}/api/jobs/"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, timeout=30)  # noqa: S310
    assert refused.value.code in {401, 403}
    request = urllib.request.Request(  # noqa: S310
        url, headers={"Authorization": f"Bearer {journey.outputs['ray_token']}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        assert answer.status == 200


def test_mlflow_refuses_a_foreign_host_name(journey: Journey) -> None:
    request = urllib.request.Request(  # noqa: S310
        f"{journey.outputs['tracking_uri']}/api/2.0/mlflow/experiments/search?max_results=1",
        headers={"Host": "attacker.example"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)  # noqa: S310
    assert refused.value.code == 403


def test_the_buckets_keep_every_version(journey: Journey) -> None:
    import boto3

    outputs = journey.outputs
    client = boto3.client(
        "s3",
        endpoint_url=outputs["object_store_endpoint"],
        region_name=outputs["object_store_region"],
        aws_access_key_id=outputs["object_store_access_key"],
        aws_secret_access_key=outputs["object_store_secret_key"],
    )
    for uri in (outputs["artifact_uri"], outputs["data_uri"]):
        bucket = uri.removeprefix("s3://")
        assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_every_trial_is_a_run_with_its_data_code_parameters_and_metrics(journey: Journey) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(journey.variables["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name(WORKLOAD)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=200)
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs} - {None}
    assert len(parents) == 1
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") in parents]
    assert len(trials) >= 8
    for trial in trials:
        assert trial.data.params
        assert trial.data.metrics
        assert trial.data.tags["falaj.data_version"] == "0"
        assert trial.data.tags["falaj.code_commit"]
    version = client.get_model_version(WORKLOAD, "1")
    assert version.tags["falaj.gates"] == "passed"
    aliases = client.get_registered_model(WORKLOAD).aliases
    assert str(aliases["champion"]) == "1"
    model = client.get_run(str(version.run_id))
    assert model.data.metrics


def test_a_second_make_up_changes_nothing(journey: Journey) -> None:
    again = journey.clone.make("up")
    assert again.returncode == 0, again.stdout[-4000:]
    assert not re.search(r"\b(created|updated|replaced|deleted)\b", again.stdout)
    assert journey.standing()["champion"]["version"] == 1


def test_pulumi_up_without_refresh_changes_nothing_either(journey: Journey) -> None:
    for project in (("-s", "local"), ("-C", "workloads", "-s", "credit-risk.local")):
        up = journey.clone.run("pulumi", "up", "--yes", "--skip-preview", *project)
        assert up.returncode == 0, up.stdout
        assert re.search(r"\d+ unchanged", up.stdout)
        assert not re.search(r"\b(created|updated|replaced|deleted)\b", up.stdout)


def test_prometheus_sees_every_part_and_the_predictions(journey: Journey) -> None:
    def query(expression: str) -> list[Any]:
        quoted = urllib.parse.quote(expression)
        url = f"{journey.outputs['metrics_url']}/api/v1/query?query={quoted}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
            return list(json.load(answer)["data"]["result"])

    journey.ask(journey.applicant)
    eventually(lambda: query(f'falaj_requests_total{{workload="{WORKLOAD}",code="200"}} > 0'))
    eventually(lambda: len(query('up{job=~"gateway|serving|monitoring"} == 1')) >= 4)
    assert query('ALERTS{alertname="NoModelServer"}') == []


def test_the_orchestrator_knows_the_chain(journey: Journey) -> None:
    request = urllib.request.Request(  # noqa: S310
        f"{journey.outputs['orchestrator_url']}/graphql",
        data=json.dumps(
            {"query": "{ assetsOrError { ... on AssetConnection { nodes { key { path } } } } "
                      "repositoriesOrError { ... on RepositoryConnection { nodes { name "
                      "assetNodes { assetKey { path } } jobs { name } } } } }"}
        ).encode(),
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        (repository,) = json.load(answer)["data"]["repositoriesOrError"]["nodes"]
    assets = {node["assetKey"]["path"][-1] for node in repository["assetNodes"]}
    assert assets >= {"raw", "validated", "trained", "evaluated", "registered", "gated"}


# --- bad requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"Income": None, "Home": "castle"}, "Home"),
        ({"Age": 40}, "Age"),
        ({"Amount": "many"}, "Amount"),
        ({"Amount": float("nan")}, "Amount"),
        ({"Amount": float("inf")}, "Amount"),
        ({"Amount": -5}, "Amount"),
        ({"Records": 3}, "Records"),
    ],
)
def test_a_bad_field_is_a_4xx_that_names_it(
    journey: Journey, change: dict[str, Any], named: str
) -> None:
    status, body, _ = journey.ask(journey.applicant | change)
    assert 400 <= status < 500
    assert named in json.dumps(body)
    assert "Traceback" not in json.dumps(body)


def test_a_missing_field_is_a_4xx_that_names_it(journey: Journey) -> None:
    status, body, _ = journey.ask({k: v for k, v in journey.applicant.items() if k != "Amount"})
    assert 400 <= status < 500
    assert "Amount" in json.dumps(body)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[" * 50_000, "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"<a/>", "text/xml"),
        (b"{}", "application/json"),
        (b"[]", "application/json"),
        (b'{"data": 3}', "application/json"),
        (b'{"jsonData": {"records": []}}', "application/json"),
    ],
)
def test_a_bad_body_is_a_4xx_in_json(journey: Journey, body: bytes, kind: str) -> None:
    status, answer, _ = journey.post(body, kind=kind)
    assert 400 <= status < 500
    assert answer["status"]["status"] == "FAILURE"


def test_an_unknown_model_is_a_404_in_json(journey: Journey) -> None:
    url = f"{journey.outputs['serving_gateway_url']}/seldon/local/no-such/api/v1.0/predictions"
    with pytest.raises(urllib.error.HTTPError) as missing:
        urllib.request.urlopen(url, data=b"{}", timeout=30)  # noqa: S310
    assert missing.value.code == 404
    assert json.load(missing.value)["status"]["status"] == "FAILURE"


# --- bad data and missed gates -----------------------------------------------------------------


def test_bad_data_registers_nothing_and_leaves_the_champion(
    journey: Journey, tmp_path: Path
) -> None:
    good = journey.clone.root / "workloads" / "credit_risk" / "data" / "credit_data.csv"
    lines = good.read_text().splitlines()
    bad = tmp_path / "applications.csv"
    cells = lines[7].split(",")
    cells[lines[0].split(",").index("Age")] = "-3"
    bad.write_text("\n".join([*lines[:7], ",".join(cells), *lines[8:]]) + "\n")
    spec = declaration(journey, tmp_path, data={"source": str(bad)})
    run = journey.clone.run("falaj", "run", WORKLOAD, "--spec", spec)
    assert run.returncode == 1
    assert "Traceback" not in run.stdout
    said = " ".join(run.stdout.split())
    for named in ("applications.csv", "Age", "-3", "row"):
        assert named in said, run.stdout
    assert journey.standing()["champion"]["version"] == 1
    status, _, _ = journey.ask(journey.applicant)
    assert status == 200


def test_a_version_that_misses_a_gate_leaves_the_champion_and_exits_with_2(
    journey: Journey, tmp_path: Path
) -> None:
    spec = declaration(journey, tmp_path, gates={"auc": {"minimum": 0.99}})
    run = journey.clone.run("falaj", "run", WORKLOAD, "--spec", spec)
    assert run.returncode == 2, run.stdout
    assert "FAIL" in run.stdout
    after = journey.standing()
    assert after["champion"]["version"] == 1
    assert after["candidate"]["version"] == 2
    refused = journey.clone.run("falaj", "release", WORKLOAD, "--version", "2")
    assert refused.returncode == 1
    approved = journey.clone.run(
        "falaj", "approve", WORKLOAD, "--version", "2", "--approver", "Nobody", "--yes"
    )
    assert approved.returncode == 1
    assert journey.standing()["champion"]["version"] == 1


# --- interrupted, then a second release and a rollback under traffic -----------------------------


def test_a_killed_run_leaves_nothing_half_done_and_the_next_one_completes(
    journey: Journey, tmp_path: Path
) -> None:
    spec = declaration(journey, tmp_path, gates={"champion": {"metric": "auc", "margin": -0.05}})
    killed = journey.clone.start("falaj", "run", WORKLOAD, "--spec", spec)
    assert killed.stdout is not None
    for line in killed.stdout:
        if "validate" in line and "✓" in line:
            break
    eventually(lambda: "RUNNING" in job_states(journey))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert journey.standing()["champion"]["version"] == 1
    with journey.steady_requests() as answers:
        run = journey.clone.run("falaj", "run", WORKLOAD, "--spec", spec)
    assert run.returncode == 0, run.stdout
    assert set(job_states(journey)) <= {"SUCCEEDED", "STOPPED"}
    assert journey.standing()["champion"]["version"] == 3
    assert len(answers) > journey.requests_per_second
    assert {status for status, _ in answers} == {200}
    assert {version for _, version in answers} == {"1", "3"}


def test_a_rollback_loses_no_request_and_brings_the_old_version_back(journey: Journey) -> None:
    with journey.steady_requests() as answers:
        eventually(lambda: len(answers) >= journey.requests_per_second)
        back = journey.clone.run("falaj", "rollback", WORKLOAD)
        assert back.returncode == 0, back.stdout
        moved = len(answers)
        eventually(lambda: len(answers) >= moved + journey.requests_per_second)
    assert {status for status, _ in answers} == {200}
    assert answers[0][1] == "3"
    assert answers[-1][1] == "1"
    assert journey.standing()["champion"]["version"] == 1


def test_a_canary_outlasts_pulumi_up_refuses_a_second_one_and_goes_on_after_a_kill(
    journey: Journey, tmp_path: Path
) -> None:
    held = declaration(journey, tmp_path, rollout={"window_seconds": 3600, "timeout_seconds": 7200})
    canary = journey.clone.start("falaj", "release", WORKLOAD, "--version", "3", "--spec", held)
    try:
        eventually(lambda: sorted(journey.standing()["traffic"].values()) == [10, 90])
        before = journey.standing()["traffic"]
        for project in (("-s", "local"), ("-C", "workloads", "-s", "credit-risk.local")):
            up = journey.clone.run("pulumi", "up", "--yes", "--skip-preview", "--refresh", *project)
            assert up.returncode == 0, up.stdout
            assert not re.search(r"\b(created|updated|replaced|deleted)\b", up.stdout)
        second = journey.clone.run("falaj", "release", WORKLOAD, "--version", "3")
        assert second.returncode == 1
        assert "is running" in second.stdout
    finally:
        os.killpg(canary.pid, signal.SIGKILL)
        canary.wait()
    after = journey.standing()
    assert (after["traffic"], after["champion"]["version"]) == (before, 1)
    with journey.steady_requests() as answers:
        again = journey.clone.run("falaj", "release", WORKLOAD, "--version", "3")
    assert again.returncode == 0, again.stdout
    assert "replayed, 0 lost" in again.stdout
    assert {status for status, _ in answers} == {200}
    released = journey.standing()
    assert released["champion"]["version"] == 3
    assert released["verdict"]["decision"] == "promote"
    assert journey.ask(journey.applicant)[1]["meta"]["tags"]["version"] == "3"


def test_pulumi_up_changes_neither_versions_nor_weights(journey: Journey) -> None:
    before = journey.standing()["traffic"]
    for project in (("-s", "local"), ("-C", "workloads", "-s", "credit-risk.local")):
        up = journey.clone.run("pulumi", "up", "--yes", "--skip-preview", "--refresh", *project)
        assert up.returncode == 0, up.stdout
    assert journey.standing()["traffic"] == before


# --- lost parts --------------------------------------------------------------------------------


def test_a_part_that_was_stopped_comes_back_with_the_next_up(journey: Journey) -> None:
    from components.local.supervisor import connect

    socket = journey.outputs["local"]["socket"]
    connect(socket).stopProcessGroup("monitoring")
    parts = {part["name"]: part for part in journey.status()["parts"]}
    assert not parts["monitoring"]["healthy"]
    up = journey.clone.run("pulumi", "up", "--yes", "--skip-preview", "--refresh", "-s", "local")
    assert up.returncode == 0, up.stdout
    assert "1 created" in up.stdout
    parts = {part["name"]: part for part in journey.status()["parts"]}
    assert all(part["healthy"] for part in parts.values()), parts


def test_a_killed_up_is_completed_by_the_next_make_up(journey: Journey) -> None:
    from components.local.supervisor import connect

    connect(journey.outputs["local"]["socket"]).stopProcessGroup("tracking")
    locks = journey.clone.root / ".state" / "pulumi" / ".pulumi" / "locks"
    up = journey.clone.start("pulumi", "up", "--yes", "--skip-preview", "--refresh", "-s", "local")
    eventually(lambda: list(locks.rglob("*.json")))
    os.killpg(up.pid, signal.SIGKILL)
    up.wait()
    assert list(locks.rglob("*.json"))
    again = journey.clone.make("up")
    assert again.returncode == 0, again.stdout[-4000:]
    assert all(part["healthy"] for part in journey.status()["parts"])
    assert journey.standing()["champion"]["version"] == 3


# --- policy and the command line -----------------------------------------------------------------


def test_the_residency_pack_passes_on_the_local_stack(journey: Journey) -> None:
    preview = journey.clone.run(
        "pulumi", "preview", "--policy-pack", "policies/residency", "-s", "local"
    )
    assert preview.returncode == 0, preview.stdout
    state = journey.clone.root / ".state" / "exported.json"
    exported = journey.clone.run("pulumi", "stack", "export", "-s", "local", "--file", str(state))
    assert exported.returncode == 0, exported.stdout
    checked = journey.clone.run("falaj", "policy", "check", "--state", str(state), "-e", "local")
    assert checked.returncode == 0, checked.stdout


def test_a_broken_setting_stops_the_preview_with_one_helpful_message(journey: Journey) -> None:
    stack = journey.clone.root / "stacks" / "config" / "Pulumi.local.yaml"
    good = stack.read_text()
    try:
        stack.write_text(good.replace("ports:", "prots:"))
        preview = journey.clone.run("pulumi", "preview", "-s", "local")
    finally:
        stack.write_text(good)
    assert preview.returncode != 0
    assert "falaj:local.prots: is no setting; did you mean ports?" in preview.stdout
    assert "Traceback" not in preview.stdout


def test_every_command_prints_json(journey: Journey) -> None:
    for command in (("status",), ("runs", WORKLOAD), ("open",), ("predict", WORKLOAD)):
        ran = journey.clone.run("falaj", *command, "--json")
        assert ran.returncode == 0, ran.stdout
        json.loads(ran.stdout)


def test_without_the_environment_pulumi_says_what_to_do(journey: Journey) -> None:
    preview = journey.clone.run("env", "-u", "FALAJ_ROOT", "pulumi", "preview", "-s", "local")
    assert preview.returncode != 0
    assert "make shell" in preview.stdout


# --- the end -----------------------------------------------------------------------------------


@pytest.mark.last
def test_make_down_leaves_no_process_and_no_listener(journey: Journey) -> None:
    ports = {port for _, port, _ in journey.listeners()}
    assert ports
    down = journey.clone.make("down")
    assert down.returncode == 0, down.stdout
    assert list(sweep.marked(sweep.mark(journey.clone.root / ".state", ""))) == []
    listening = {
        connection.laddr.port
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert not ports & listening


@pytest.mark.last
def test_make_clean_leaves_no_file(journey: Journey) -> None:
    runtime = runtime_directory(journey.clone.root)
    clean = journey.clone.make("clean")
    assert clean.returncode == 0, clean.stdout
    left = journey.clone.run("git", "status", "--ignored", "--porcelain", plain=True).stdout
    assert left == ""
    assert not runtime.exists()
