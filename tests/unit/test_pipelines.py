"""Pipelines that an organisation copies: valid by their schemas, safe, and their scripts run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tree_sitter_groovy
import typer.main
import yaml
from tree_sitter import Language, Node, Parser

from stacks import cli
from stacks.environment import ROOT

BIN = Path(sysconfig.get_path("scripts"))
CI = ROOT / "docs/ci"
GITHUB, GITLAB = sorted(CI.glob("github-*.yml")), sorted(CI.glob("gitlab-*.yml"))
DEPLOY, DEPLOY_GITLAB, JENKINS = (
    CI / name for name in ("github-deploy.yml", "gitlab-deploy.yml", "Jenkinsfile")
)
SCRIPTS = sorted((ROOT / "tools/ci").glob("*.sh"))


def tool(*command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    words = [str(BIN / command[0]), *map(str, command[1:])]
    return subprocess.run(words, capture_output=True, text=True, check=False, **more)


def read(file: Path) -> dict[str, Any]:
    """A template, as YAML 1.1 reads it: the key `on` is a truth."""
    found: dict[str, Any] = yaml.safe_load(file.read_text())
    return found


def fails(one: subprocess.CompletedProcess[str], says: str) -> bool:
    return one.returncode != 0 and says in one.stdout + one.stderr


# --- by their schemas -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "files", "wrong"),
    [
        ("github-workflows", GITHUB, ("runs-on:", "runs_on:")),
        ("gitlab-ci", GITLAB, ("resource_group: falaj-prod", "resource_group: [falaj-prod]")),
    ],
)
def test_a_pipeline_is_as_its_host_describes_it(
    tmp_path: Path, schema: str, files: list[Path], wrong: tuple[str, str]
) -> None:
    check = ("check-jsonschema", "--builtin-schema", f"vendor.{schema}")
    good = tool(*check, *files)
    assert good.returncode == 0, good.stdout

    text = next(one.read_text() for one in files if "deploy" in one.name)
    assert wrong[0] in text
    broken = tmp_path / "broken.yml"
    broken.write_text(text.replace(*wrong))
    assert fails(tool(*check, broken), "broken.yml")


def test_no_workflow_has_what_auditors_of_workflows_look_for(tmp_path: Path) -> None:
    """Actions by tags, rights that are not used, credentials left in the clone, values pasted into
    scripts, and the like."""
    zizmor = ("zizmor", "--offline", "--no-progress", "--no-config", "--strict-collection")
    clean = tool(*zizmor, *GITHUB)
    assert clean.returncode == 0, clean.stdout

    pasted = tmp_path / "pasted.yml"
    pasted.write_text(
        DEPLOY.read_text().replace("run: make setup", "run: echo ${{ github.head_ref }}")
    )
    assert fails(tool(*zizmor, pasted), "template-injection")


def test_a_jenkinsfile_is_groovy_with_its_stages_in_order() -> None:
    """Its grammar alone: what Jenkins makes of it is said by its own linter (docs/policies.md)."""
    text = JENKINS.read_text()
    assert errors_of(text) == []
    assert errors_of(text.replace("agent none", "agent none {", 1)) != []
    assert re.findall(r"stage\('(\w+)'\)", text) == ["Drift", "Plan", "Approve", "Apply"]


def errors_of(text: str) -> list[int]:
    """Lines of Groovy that are none."""
    tree = Parser(Language(tree_sitter_groovy.language())).parse(text.encode())

    def wrong(node: Node) -> Iterator[int]:
        if node.is_error or node.is_missing:
            yield node.start_point.row + 1
        for child in node.children:
            yield from wrong(child)

    return list(wrong(tree.root_node))


# --- what jobs may ------------------------------------------------------------------------------


def test_code_under_review_gets_a_role_that_reads_and_a_machine_that_never_applies() -> None:
    jobs = read(DEPLOY)["jobs"]
    assert read(DEPLOY)["permissions"] == {}
    assert "environment" not in jobs["plan"]
    assert "head.repo.full_name == github.repository" in jobs["plan"]["if"]
    assert jobs["apply"]["environment"] == "prod"
    assert jobs["apply"]["if"] == "github.event_name == 'push'"
    assert jobs["apply"]["concurrency"] == {"group": "falaj-prod", "cancel-in-progress": False}
    assert roles(jobs["plan"]) == roles(jobs["drift"]) == ["${{ vars.PLAN_ROLE }}"]
    assert roles(jobs["apply"]) == ["${{ vars.APPLY_ROLE }}", "${{ vars.KEEP_ROLE }}"]
    assert jobs["plan"]["runs-on"] != jobs["apply"]["runs-on"]
    assert "${{ secrets" not in DEPLOY.read_text()

    gitlab = read(DEPLOY_GITLAB)
    plan, apply = gitlab["plan prod"], gitlab["apply prod"]
    assert plan["tags"] != apply["tags"]
    assert "environment" not in plan
    assert apply["environment"] == {"name": "prod"}
    assert apply["resource_group"] == "falaj-prod"
    (rule,) = apply["rules"]
    assert 'CI_COMMIT_REF_PROTECTED == "true"' in rule["if"]
    assert rule["when"] == "manual"
    assert gitlab[".falaj-prod"]["variables"]["AWS_ROLE_ARN"] == "$PLAN_ROLE"


def roles(job: Mapping[str, Any]) -> list[str]:
    taken = (step.get("with", {}).get("role-to-assume") for step in job["steps"])
    return [one for one in taken if one]


def test_no_pipeline_keeps_a_key_of_aws_or_takes_what_moves() -> None:
    for file in (*GITHUB, *GITLAB, JENKINS):
        text = file.read_text()
        assert "AWS_ACCESS_KEY" not in text, file
        assert not re.search(r"\blatest\b|@v\d|@main\b", text), file
    for file in GITHUB:
        for job in read(file)["jobs"].values():
            for step in job["steps"]:
                assert re.fullmatch(
                    r"[\w-]+(/[\w-]+)+@[0-9a-f]{40}", step.get("uses", f"a/b@{0:040}")
                )
                assert "${{" not in step.get("run", ""), step


@pytest.mark.parametrize("file", [DEPLOY, DEPLOY_GITLAB, JENKINS], ids=lambda one: one.name)
def test_each_pipeline_plans_applies_keeps_evidence_and_looks_for_drift(file: Path) -> None:
    called = re.findall(r"tools/ci/(\w+)\.sh", file.read_text())
    assert set(called) == {script.stem for script in SCRIPTS}
    for first, then in (("plan", "apply"), ("apply", "evidence"), ("evidence", "keep")):
        assert called.index(first) < called.index(then)


def test_code_owners_review_what_excuses_and_what_runs() -> None:
    lines = [line.split() for line in (CI / "CODEOWNERS").read_text().splitlines()]
    owned = [(line[0], line[1:]) for line in lines if line and not line[0].startswith("#")]

    def owners(path: str) -> list[str]:
        matching = [who for what, who in owned if path == what or path.startswith(what)]
        return matching[-1] if matching else []

    for path in (
        "/policies/config/prod.json",
        "/approvals/prod.yaml",
        "/policies/residency/pins.py",
    ):
        assert owners(path) == ["@bank/security-officers"]
    for path in (
        "/.github/workflows/x.yml",
        "/tools/ci/apply.sh",
        "/stacks/config/Pulumi.prod.yaml",
    ):
        assert owners(path)
    assert owners("/README.md") == []
    made_by_whoever_copies = {"/approvals/", "/.github/", "/.gitlab-ci.yml", "/Jenkinsfile"}
    there = {what for what, _ in owned} - made_by_whoever_copies
    assert [what for what in there if not (ROOT / what.strip("/")).exists()] == []


# --- what they call -----------------------------------------------------------------------------


def shell_parts() -> dict[str, str]:
    """Every piece of shell in the templates, by where it stands."""
    found = {}
    for file in GITHUB:
        for name, job in read(file)["jobs"].items():
            for number, step in enumerate(job["steps"]):
                if "run" in step:
                    found[f"{file.name} {name} {number}"] = step["run"]
    for file in GITLAB:
        for name, job in read(file).items():
            if isinstance(job, dict):
                parts = [job.get(part, []) for part in ("before_script", "script", "after_script")]
                found[f"{file.name} {name}"] = "\n".join(line for part in parts for line in part)
    quoted = re.findall(r"\bsh '''(.*?)'''|\bsh '([^']*)'", JENKINS.read_text(), re.DOTALL)
    return found | {f"Jenkinsfile {n}": a or b for n, (a, b) in enumerate(quoted)}


def test_all_shell_is_free_of_what_shellcheck_knows(tmp_path: Path) -> None:
    files = [*SCRIPTS, ROOT / "tools/images/publish.sh"]
    for number, text in enumerate(shell_parts().values()):
        files.append(tmp_path / f"{number}.sh")
        files[-1].write_text(f"#!/usr/bin/env bash\nset -e\n{text}\n")
    assert len(files) > 20
    # set by the pipeline, not in the piece
    checked = tool("shellcheck", "--exclude=SC2154", *files)
    assert checked.returncode == 0, checked.stdout

    wrong = tmp_path / "wrong.sh"
    wrong.write_text("#!/bin/sh\nrm -rf $1/x\n")
    assert fails(tool("shellcheck", wrong), "SC2086")


def commands(name: str) -> list[list[str]]:
    """The words of each call of `name` in scripts and templates, up to what ends a command."""
    texts = [*(script.read_text() for script in SCRIPTS), *shell_parts().values()]
    code = "\n".join(
        line for text in texts for line in text.splitlines() if not line.lstrip().startswith("#")
    ).replace("\\\n", " ")
    called = re.findall(rf"(?<![\w/.-]){name} ([a-z-][^\n|;&>)]*)", code)
    return [words.split() for words in called]


def test_each_command_of_falaj_in_a_pipeline_exists_with_its_options() -> None:
    if not cli.app.registered_groups:
        cli._mount()
    root = typer.main.get_command(cli.app)
    seen = set()
    for words in commands("falaj"):
        command, path = root, []
        while hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words[0]]
            path.append(words.pop(0))
        assert path, words
        known = {option for one in command.params for option in one.opts}
        assert {word for word in words if word.startswith("-")} <= known, (path, words)
        seen.add(" ".join(path))
    assert seen == {
        "policy check",
        "plan check",
        "plan digest",
        "evidence create",
        "evidence verify",
    }


def test_each_flag_of_pulumi_and_each_verb_of_make_exists() -> None:
    pulumi = shutil.which("pulumi")
    assert pulumi is not None
    for words in commands("pulumi"):
        verb = [word for word in words if re.fullmatch(r"[a-z]+", word)][
            : 2 if "stack" in words else 1
        ]
        flags = {word for word in words if word.startswith("--")}
        told = subprocess.run([pulumi, *verb, "--help"], capture_output=True, text=True, check=True)
        assert flags <= set(re.findall(r"--[\w-]+", told.stdout)) | {"--plan"}, verb
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    verbs = {words[0] for words in commands("make")}
    assert verbs == {"setup"}
    assert verbs <= targets


# --- the scripts, run -----------------------------------------------------------------------------

URN = "urn:pulumi:prod::bank::pulumi:providers:aws::home"
_PULUMI = """#!/bin/sh
echo "pulumi $*" >> "$CALLS"
case "$*" in
  *--save-plan*) echo held > "$(echo "$*" | sed 's/.*--save-plan \\([^ ]*\\).*/\\1/')" ;;
esac
case "$*" in
  *--json*) cat "$PLAN" ;;
  *"stack export"*) cp "$STATE" "$(echo "$*" | sed 's/.*--file \\([^ ]*\\).*/\\1/')" ;;
  *refresh*) exit "$DRIFT" ;;
esac
"""
_AWS = """#!/bin/sh
echo "aws $*" >> "$CALLS"
case "$*" in
  *get-bucket-location*) echo "$PLACE" ;;
  *get-object-lock-configuration*) echo "$LOCK" ;;
esac
"""


def provider(region: str) -> dict[str, Any]:
    inputs = {"region": region, "allowedAccountIds": '["123456789012"]'}
    return {"urn": URN, "type": "pulumi:providers:aws", "custom": True, "inputs": inputs}


class Desk:
    """A folder with stand-ins for what needs a cloud; `falaj` is the real one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        (folder / "bin").mkdir()
        for name, text in (("pulumi", _PULUMI), ("aws", _AWS)):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.variables = os.environ | {
            "PATH": f"{folder / 'bin'}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}",
            # falaj puts the clone's own tools first, which this must not reach
            "TMPDIR": str(folder),
            "CALLS": str(self.calls),
            "PLAN": str(folder / "plan.json"),
            "STATE": str(folder / "state.json"),
            "ENVIRONMENT": "prod",
            "DRIFT": "0",
            "PLACE": "me-central-1",
            "LOCK": "COMPLIANCE\t5\tNone",
        }
        self.plan("me-central-1")

    def plan(self, region: str) -> None:
        """What is planned and deployed: a provider of `region`."""
        step = {"op": "create", "urn": URN, "newState": provider(region)}
        (self.folder / "plan.json").write_text(json.dumps({"steps": [step]}))
        state = {"version": 3, "deployment": {"resources": [provider(region)]}}
        (self.folder / "state.json").write_text(json.dumps(state))

    def run(self, script: str, *words: str, **change: str) -> subprocess.CompletedProcess[str]:
        """Runs a script of tools/ci in the folder."""
        return subprocess.run(
            [str(ROOT / f"tools/ci/{script}.sh"), *words],
            cwd=self.folder,
            env=self.variables | change,
            capture_output=True,
            text=True,
            check=False,
        )

    def called(self) -> str:
        """What was asked of the stand-ins."""
        return self.calls.read_text() if self.calls.exists() else ""

    def left(self) -> set[str]:
        """What lies about in the folder."""
        return {one.name for one in self.folder.iterdir()}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_was_planned_is_applied_and_nothing_else(desk: Desk) -> None:
    planned = desk.run("plan", "reports", REPORT_FORMAT="github")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    reports = {one.name for one in (desk.folder / "reports").iterdir()}
    assert reports == {
        *("plan.sha256", "policies.sarif", "policies.xml", "gl-code-quality-report.json"),
    }
    approved = (desk.folder / "reports/plan.sha256").read_text().strip()

    applied = desk.run("apply", APPROVED=approved)
    assert applied.returncode == 0, applied.stderr
    (up,) = (line for line in desk.called().splitlines() if " up " in line)
    assert re.search(r"--plan \S+/held .*--policy-pack policies/all", up)

    desk.plan("me-south-1")
    refused = desk.run("apply", APPROVED=approved)
    assert refused.returncode == 1
    assert f"{approved} was approved: something changed since" in refused.stderr
    assert desk.called().count(" up ") == 1
    # plans hold settings in plain: none stays
    assert desk.left() == {"bin", "calls", "plan.json", "state.json", "reports"}


def test_a_plan_that_the_rules_stop_has_reports_and_cannot_be_approved(desk: Desk) -> None:
    desk.plan("eu-west-1")
    stopped = desk.run("plan", "reports")

    assert stopped.returncode == 1
    assert "region is eu-west-1; allowed: me-central-1" in stopped.stdout
    assert "eu-west-1" in (desk.folder / "reports/policies.sarif").read_text()
    assert not (desk.folder / "reports/plan.sha256").exists()


@pytest.mark.parametrize("region", ["me-central-1", "eu-west-1"])
def test_evidence_is_written_and_verified_whatever_the_rules_say(desk: Desk, region: str) -> None:
    desk.plan(region)
    key = desk.folder / "evidence.key"
    assert tool("falaj", "evidence", "key", key).returncode == 0
    done = desk.run(
        "evidence",
        "reports",
        JURISDICTION="mainland-bank",
        EVIDENCE_KEY=str(key),
        EVIDENCE_PUBLIC_KEY=str(key.with_suffix(".pub")),
    )

    assert done.returncode == (0 if region == "me-central-1" else 1), done.stderr
    assert "as signed; bank/prod" in done.stdout
    assert (desk.folder / "reports/evidence/manifest.json").is_file()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"LOCK": "COMPLIANCE\tNone\t1825"}, None),
        ({"LOCK": "COMPLIANCE\t4\tNone"}, "not 5 years in COMPLIANCE mode"),
        ({"LOCK": "GOVERNANCE\t9\tNone"}, "not 5 years in COMPLIANCE mode"),
        ({"LOCK": "None"}, "not 5 years in COMPLIANCE mode"),
        ({"PLACE": "eu-west-1"}, "lies in eu-west-1, not in me-central-1"),
        ({"EVIDENCE_YEARS": "five"}, "no number of years"),
    ],
)
def test_evidence_goes_to_a_bucket_in_the_country_that_keeps_it(
    desk: Desk, change: dict[str, str], says: str | None
) -> None:
    (desk.folder / "evidence").mkdir()
    (desk.folder / "evidence/manifest.json").write_text("{}")
    told = {"EVIDENCE_BUCKET": "kept", "EVIDENCE_YEARS": "5", "AWS_REGION": "me-central-1"}
    done = desk.run("keep", "evidence", **told | change)

    if says is None:
        assert done.returncode == 0, done.stderr
        assert re.search(r"aws s3 cp --recursive .* evidence s3://kept/prod/\S+Z/\n", desk.called())
    else:
        assert done.returncode != 0
        assert says in done.stderr
        assert "s3 cp" not in desk.called()


def test_drift_fails_the_night_and_changes_nothing(desk: Desk) -> None:
    assert desk.run("drift").returncode == 0
    assert desk.run("drift", DRIFT="1").returncode == 1
    for call in desk.called().splitlines():
        assert "refresh --preview-only" in call
        assert "--expect-no-changes" in call


@pytest.mark.parametrize("script", ["plan", "apply", "evidence", "drift"])
def test_an_environment_is_a_name_and_no_option(desk: Desk, script: str) -> None:
    needed = dict.fromkeys(
        ("APPROVED", "JURISDICTION", "EVIDENCE_KEY", "EVIDENCE_PUBLIC_KEY"), "given"
    )
    done = desk.run(script, "reports", ENVIRONMENT="../prod --show-secrets", **needed)

    assert done.returncode == 2
    assert "no environment: ../prod" in done.stderr
    assert desk.called() == ""
