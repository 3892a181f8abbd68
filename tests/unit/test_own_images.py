"""Images of ours: what Dockerfiles say, what is laid into them, how pipelines publish them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import stat
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from components.kubernetes import model_pods, ray_pods, tracking_pods
from stacks.environment import ROOT
from tools.images import lay, root
from tools.images.dockerfile import DockerfileError, Image, read

DIGEST = f"sha256:{'a' * 64}"
BASE = f"registry.bank.example/python@{DIGEST}"
GIVEN = {"BASE": BASE, "SOURCE_DATE_EPOCH": "1700000000", "REVISION": "1" * 40}
OWNER = (os.getuid(), os.getgid())
TEMPLATES = ("docs/ci/github-images.yml", "docs/ci/gitlab-images.yml")


def image(kind: str) -> Image:
    return root.dockerfile(kind, GIVEN)


# --- the Dockerfiles ------------------------------------------------------------------------------


def test_an_image_runs_as_the_user_that_its_pods_name() -> None:
    assert image("serving").user == f"{model_pods._USER}:{model_pods._USER}"
    ray = ray_pods._POD_SECURITY
    assert image("training").user == f"{ray['runAsUser']}:{ray['runAsGroup']}"
    source = Path(tracking_pods.__file__).read_text()
    user, group = image("tracking").user.split(":")
    assert f'"runAsUser": {user},' in source
    assert f'"runAsGroup": {group},' in source


def test_the_users_in_an_image_begin_with_its_own() -> None:
    for name, kind in lay.KINDS.items():
        assert image(name).user == f"{kind.users[0]}:{kind.group}"
        assert 0 not in kind.users


def test_an_image_listens_where_its_pods_are_asked() -> None:
    assert set(image("serving").ports) == {str(model_pods.PORT), str(model_pods.METRICS_PORT)}
    assert set(image("tracking").ports) == {
        str(tracking_pods.PORT),
        str(tracking_pods.METRICS_PORT),
    }


def test_folders_for_volumes_are_those_of_the_pods() -> None:
    assert lay.KINDS["serving"].folders == (model_pods.STATE.lstrip("/"),)
    assert lay.KINDS["training"].folders == (ray_pods._SPILL.lstrip("/"),)


@pytest.mark.parametrize("kind", lay.KINDS)
def test_a_dockerfile_lays_its_own_kind_and_names_no_registry(kind: str) -> None:
    text = (ROOT / lay.KINDS[kind].folder / "Dockerfile").read_text()
    made = image(kind)
    assert made.command == ("python3", "-B", "/run/falaj/tools/images/lay.py", kind)
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}", "scratch"]
    # an address that nobody asked for would come by a default, or a frontend of another's
    assert not re.search(r"^ARG \w+=", text, re.MULTILINE)
    assert "syntax=" not in text
    assert "://" not in text
    labels = made.labels
    assert labels["org.opencontainers.image.revision"] == GIVEN["REVISION"]
    assert labels["org.opencontainers.image.base.name"] == BASE
    assert made.environment["HOME"] == "/tmp"  # noqa: S108 in the image
    assert made.environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert not {name for name in made.environment if re.search("TOKEN|SECRET|PASSWORD", name)}


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("FROM ${BASE} AS laid", "FROM python:3.12 AS laid", "expected ARG BASE"),
        ("COPY --from=laid / /", "COPY --from=laid /opt /opt", "takes all of laid"),
        ("USER 8888:8888\n", "", "has no USER"),
        ("WORKDIR /tmp", "ADD x /tmp\nWORKDIR /tmp", "ADD x /tmp: is not known here"),
        ('["python", "-m", "workloads.delivery.pod_server"]', "python", "a list of words"),
    ],
)
def test_what_a_dockerfile_may_not_say_is_refused(
    tmp_path: Path, before: str, after: str, says: str
) -> None:
    text = (ROOT / "workloads/images/serving/Dockerfile").read_text()
    assert before in text
    changed = tmp_path / "Dockerfile"
    changed.write_text(text.replace(before, after))
    with pytest.raises(DockerfileError, match=says):
        read(changed, GIVEN)


# --- what is laid down ----------------------------------------------------------------------------


def test_a_base_by_its_digest_is_taken() -> None:
    assert lay.checked("serving", GIVEN).users == (8888,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"BASE": "registry.bank.example/python:3.12"}, "name the base by its digest"),
        ({"BASE": f"registry.bank.example/python:3.12@{DIGEST[:-1]}"}, "by its digest"),
        ({"BASE": ""}, "BASE is missing"),
        ({"SOURCE_DATE_EPOCH": ""}, "SOURCE_DATE_EPOCH is missing"),
    ],
)
def test_what_would_not_give_the_same_image_is_refused(change: dict[str, str], says: str) -> None:
    with pytest.raises(lay.LayError, match=says):
        lay.checked("serving", GIVEN | change)


def test_an_image_that_is_not_known_is_refused() -> None:
    with pytest.raises(lay.LayError, match="training, serving, tracking"):
        lay.checked("notebook", GIVEN)


def test_a_package_index_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lay, "SECRETS", tmp_path)
    with pytest.raises(lay.LayError, match="no package index is named"):
        lay._told(GIVEN, tmp_path)
    (tmp_path / "index").write_text("https://index.bank.example/simple\n")
    told = lay._told(GIVEN, tmp_path)
    assert told["UV_DEFAULT_INDEX"] == told["PIP_INDEX_URL"] == "https://index.bank.example/simple"


LOCK = """\
One.Two==1.0 \\
    --hash=sha256:{0}
bare==2.0
other==3.0 ; sys_platform == 'linux' \\
    --hash=sha256:{0} \\
    --hash=sha256:{0}
""".format("b" * 64)


def test_an_image_takes_entries_of_the_lock_with_their_hashes() -> None:
    taken = lay.subset(LOCK, {"one-two", "other"})
    assert taken.count("--hash=sha256:") == 3
    assert taken.startswith("One.Two==1.0")
    assert "bare" not in taken


def test_a_package_without_hash_or_lock_is_refused() -> None:
    with pytest.raises(lay.LayError, match="no hash of bare"):
        lay.subset(LOCK, {"bare"})
    with pytest.raises(lay.LayError, match="lacks missing"):
        lay.subset(LOCK, {"missing", "other"})


def needs(wanted: list[str]) -> set[str]:
    """`wanted` and all that they need here, by what the packages say themselves."""
    found: set[str] = set()
    seen: set[str] = set()
    open_ones = list(wanted)
    while open_ones:
        asked = open_ones.pop()
        if asked in seen:
            continue
        seen.add(asked)
        requirement = Requirement(asked)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        found.add(lay.canonical(requirement.name))
        for line in importlib.metadata.requires(requirement.name) or ():
            needed = Requirement(line)
            extras = requirement.extras or {""}
            if needed.marker and not any(
                needed.marker.evaluate({"extra": extra}) for extra in extras | {""}
            ):
                continue
            needed.marker = None
            open_ones.append(str(needed))
    return found


@pytest.mark.parametrize("kind", lay.KINDS)
def test_an_image_holds_its_group_and_what_that_needs(kind: str) -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    listed = lay.packages(lay.KINDS[kind])
    assert listed == needs(groups[f"image-{kind}"]), "run make lock"
    lay.subset((ROOT / "requirements.lock").read_text(), listed)


def test_no_image_holds_what_deploys_tests_or_may_not_run_in_production() -> None:
    for name, kind in lay.KINDS.items():
        assert lay.packages(kind).isdisjoint({"pulumi", "pytest", "pip", "seldon-core"}), name
    assert lay.packages(lay.KINDS["serving"]).isdisjoint({"ray", "mlflow", "dagster", "flask"})


def test_a_part_of_the_wheel_has_its_own_entry_points_and_a_record(tmp_path: Path) -> None:
    wheel = tmp_path / "falaj-0.1.0-py3-none-any.whl"
    points = "[console_scripts]\nfalaj = stacks.cli:main\n[others]\nfalaj = workloads.a:B\n"
    with zipfile.ZipFile(wheel, "w") as whole:
        whole.writestr("stacks/cli.py", "")
        whole.writestr("workloads/a.py", "x = 1\n")
        whole.writestr("falaj-0.1.0.dist-info/entry_points.txt", points)
        whole.writestr("falaj-0.1.0.dist-info/RECORD", "stacks/cli.py,,\n")
    part = lay.part_of_wheel(wheel, ("workloads",), tmp_path / "part")
    again = lay.part_of_wheel(wheel, ("workloads",), tmp_path / "again")
    assert part.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(part) as made:
        assert "stacks/cli.py" not in made.namelist()
        told = made.read("falaj-0.1.0.dist-info/entry_points.txt").decode()
        record = made.read("falaj-0.1.0.dist-info/RECORD").decode()
    assert "stacks" not in told
    assert "falaj = workloads.a:B" in told
    assert "workloads/a.py,sha256=" in record
    assert "stacks" not in record


def tree(at: Path, names: dict[str, int]) -> Path:
    """Files with their modes; root's own, as far as this process can say so."""
    for name, mode in names.items():
        path = at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(mode)
    for folder in at.rglob("*"):
        if folder.is_dir():
            folder.chmod(0o755)
    return at


GOOD = {"usr/bin/python3.12": 0o755, "etc/shadow": 0o600, "opt/falaj/lib/a.py": 0o644}


def test_files_that_only_root_can_write_are_well(tmp_path: Path) -> None:
    at = tree(tmp_path / "root", GOOD)
    (at / "tmp").mkdir(mode=0o700)
    (at / "tmp").chmod(0o1777)
    assert root.problems(at, owner=OWNER) == []


@pytest.mark.parametrize(
    ("name", "mode", "says"),
    [
        ("usr/bin/anything", 0o4755, "runs as its owner"),
        ("usr/bin/anything", 0o2755, "runs as its owner"),
        ("opt/falaj/lib/b.py", 0o666, "can be written by others"),
        ("opt/falaj/lib/b.py", 0o664, "can be written by others"),
        ("usr/bin/gcc-12", 0o755, "of no use to a server"),
        ("usr/local/bin/pip3", 0o755, "of no use to a server"),
        ("bin/sh", 0o755, "of no use to a server"),
    ],
)
def test_a_file_that_must_not_be_there_is_found(
    tmp_path: Path, name: str, mode: int, says: str
) -> None:
    at = tree(tmp_path / "root", GOOD | {name: mode})
    (found,) = root.problems(at, owner=OWNER)
    assert found.startswith(f"{name}: ")
    assert says in found


def test_a_folder_that_anybody_may_write_and_a_file_of_another_are_found(tmp_path: Path) -> None:
    at = tree(tmp_path / "root", GOOD)
    (at / "opt/falaj/lib").chmod(0o777)
    assert [line.partition(":")[0] for line in root.problems(at, owner=OWNER)] == ["opt/falaj/lib"]
    strangers = root.problems(at, owner=(OWNER[0] + 1, OWNER[1]))
    assert "not of root" in "\n".join(strangers)
    assert len([line for line in strangers if "not of root" in line]) == len(list(at.rglob("*")))


def test_a_shell_stays_where_the_operator_starts_by_one(tmp_path: Path) -> None:
    at = tree(tmp_path / "root", GOOD | {"bin/bash": 0o755})
    assert root.problems(at, shells=True, owner=OWNER) == []
    lay.take_out(at, shells=True)
    assert (at / "bin/bash").exists()
    lay.take_out(at, shells=False)
    assert not (at / "bin/bash").exists()


def test_what_a_server_has_no_use_for_is_taken_out(tmp_path: Path) -> None:
    gone = ("usr/bin/apt-get", "usr/bin/gcc-12", "usr/bin/su", "bin/sh", "var/log/dpkg.log")
    at = tree(tmp_path / "root", GOOD | dict.fromkeys(gone, 0o755))
    lay.take_out(at, shells=False)
    left = {str(path.relative_to(at)) for path in at.rglob("*") if path.is_file()}
    assert left == set(GOOD)


def test_settled_files_are_as_an_image_wants_them_and_the_same_each_time(tmp_path: Path) -> None:
    def settled(name: str) -> str:
        bad = {"usr/bin/su2": 0o4755, "opt/falaj/lib/b.py": 0o600, "etc/x": 0o666}
        at = tree(tmp_path / name, GOOD | bad)
        lay.settle(at, 1700000000, OWNER)
        assert root.problems(at, owner=OWNER) == []
        assert stat.S_IMODE((at / "opt/falaj/lib/b.py").stat().st_mode) == 0o644
        assert stat.S_IMODE((at / "etc/shadow").stat().st_mode) == 0o600, "stays root's"
        assert max(path.lstat().st_mtime for path in at.rglob("*")) == 1700000000
        return root.digest(at)

    assert settled("one") == settled("two")


def test_users_get_names_and_those_of_the_base_stay(tmp_path: Path) -> None:
    tree(tmp_path, {"etc/passwd": 0o644, "etc/group": 0o644})
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nold:x:1000:1000::/:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nusers:x:100:\n")
    lay._users(tmp_path, lay.KINDS["training"])
    assert (tmp_path / "etc/passwd").read_text().splitlines() == [
        "root:x:0:0::/root:/bin/sh",
        "falaj-1000:x:1000:100::/tmp:/sbin/nologin",
        "falaj-8888:x:8888:100::/tmp:/sbin/nologin",
    ]
    assert (tmp_path / "etc/group").read_text().count(":100:") == 1


# --- pipelines ------------------------------------------------------------------------------------


def test_the_commands_of_pipelines_are_tried_in_this_order(tmp_path: Path) -> None:
    done, called = publish(tmp_path)
    assert done.returncode == 0, done.stderr
    pushed = f"{REGISTRY}/credit-risk@{DIGEST}"
    assert done.stdout.strip() == pushed
    assert [call[:2] for call in called] == [
        ["docker", "buildx"],
        ["syft", "scan"],
        ["cosign", "sign"],
        ["cosign", "attest"],
        ["cosign", "verify"],
    ]
    # what is signed is what was pushed, and by its digest
    assert all(call[-1] == pushed for call in called if call[0] == "cosign")
    assert called[1][2] == f"registry:{pushed}"
    assert f"BASE={BASE}" in called[0]
    attested = called[3]
    assert attested[attested.index("--type") + 1] == "cyclonedx"
    keys = {call[call.index("--key") + 1] for call in called if call[0] == "cosign"}
    assert keys == {f"awskms:///{KEY}"}
    for call in called[2:4]:
        assert "--tlog-upload=false" in call


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"BASE": "registry.bank.example/python:3.12"}, "name it by its digest"),
        ({"SIGNING_KEY": "alias/mine"}, "the ARN of a KMS key"),
        ({"REGISTRY": ""}, "REGISTRY is not set"),
        ({"INDEX_FILE": "/nowhere"}, "is missing or empty"),
    ],
)
def test_a_pipeline_that_lacks_something_starts_nothing(
    tmp_path: Path, change: dict[str, str], says: str
) -> None:
    done, called = publish(tmp_path, **change)
    assert done.returncode == 1
    assert says in done.stderr
    assert called == []


def test_what_no_commit_holds_is_not_published(tmp_path: Path) -> None:
    done, called = publish(tmp_path, dirty=True)
    assert "changes that no commit holds" in done.stderr
    assert (done.returncode, called) == (1, [])


def test_an_engine_that_tells_no_digest_gets_nothing_signed(tmp_path: Path) -> None:
    done, called = publish(tmp_path, built="{}")
    assert "told no digest" in done.stderr
    assert [call[0] for call in called] == ["docker"]


REGISTRY = "432109876543.dkr.ecr.me-central-1.amazonaws.com/falaj-prod"
KEY = "arn:aws:kms:me-central-1:432109876543:key/01234567-89ab-cdef-0123-456789abcdef"
_STUB = """#!/bin/sh
python3 -c 'import json,sys; print(json.dumps(sys.argv[1:]))' "$(basename "$0")" "$@" >> "$CALLS"
while [ $# -gt 0 ]; do
  case $1 in --metadata-file) printf '%s' "$BUILT" > "$2" ;; esac
  shift
done
"""


def publish(
    tmp_path: Path, *, dirty: bool = False, built: str | None = None, **change: str
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Runs the script in a repository of its own, with stand-ins for the tools that it calls."""
    clone, bin_folder, calls = tmp_path / "clone", tmp_path / "bin", tmp_path / "calls"
    (clone / "tools/images").mkdir(parents=True)
    script = clone / "tools/images/publish.sh"
    script.write_bytes((ROOT / "tools/images/publish.sh").read_bytes())
    script.chmod(0o755)
    git = ["git", "-C", str(clone), "-c", "user.name=x", "-c", "user.email=x@bank.example"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    if dirty:
        (clone / "more").touch()
    bin_folder.mkdir()
    for name in ("docker", "syft", "cosign"):
        (bin_folder / name).write_text(_STUB)
        (bin_folder / name).chmod(0o755)
    (tmp_path / "index").write_text("https://index.bank.example/simple")
    variables = {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(calls),
        "BUILT": built or json.dumps({"containerimage.digest": DIGEST}),
        "REGISTRY": REGISTRY,
        "BASE": BASE,
        "SIGNING_KEY": KEY,
        "INDEX_FILE": str(tmp_path / "index"),
    }
    done = subprocess.run(
        [str(script), "serving", "credit-risk"],
        env=variables | change,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = calls.read_text().splitlines() if calls.exists() else []
    return done, [json.loads(line) for line in lines]


def template(name: str) -> dict[str, Any]:
    """A template, as YAML 1.1 reads it: the key `on` is a truth."""
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return found


def test_pipelines_take_others_actions_by_their_commit() -> None:
    steps = template(TEMPLATES[0])["jobs"]["publish"]["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    for one in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", one), one
    for name in TEMPLATES:
        assert not re.search(r"\blatest\b|@v\d|@main\b", (ROOT / name).read_text()), name


def test_a_job_has_no_right_that_it_does_not_use() -> None:
    workflow = template(TEMPLATES[0])
    assert workflow["permissions"] == {}
    assert workflow["jobs"]["publish"]["permissions"] == {"contents": "read", "id-token": "write"}
    assert workflow["jobs"]["publish"]["environment"] == "images"
    assert "pull_request" not in str(workflow)
    job = template(TEMPLATES[1])["images"]
    assert "AWS_TOKEN" in job["id_tokens"]
    assert 'CI_COMMIT_REF_PROTECTED == "true"' in job["rules"][0]["if"]


def test_no_value_from_outside_is_pasted_into_a_script() -> None:
    """A name of a branch could hold a command: values come as variables of the environment."""
    for step in template(TEMPLATES[0])["jobs"]["publish"]["steps"]:
        assert "${{" not in step.get("run", ""), step["name"]


def test_both_pipelines_publish_every_kind_by_the_one_script() -> None:
    rows = template(TEMPLATES[0])["jobs"]["publish"]["strategy"]["matrix"]["include"]
    assert [row["kind"] for row in rows] == list(lay.KINDS)
    again = template(TEMPLATES[1])["images"]["parallel"]["matrix"]
    assert [(row["KIND"], row["REPOSITORY"]) for row in again] == [
        (row["kind"], row["repository"]) for row in rows
    ]
    for name in TEMPLATES:
        text = (ROOT / name).read_text()
        assert "tools/images/publish.sh" in text
        # no key of AWS is kept: the job's own token is taken for a role
        assert "AWS_ACCESS_KEY_ID" not in text


def test_all_that_is_laid_down_is_in_the_context_and_no_settings_are() -> None:
    """As `.dockerignore` says it: everything out, these in, these out again."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    inside = {line[1:] for line in lines if line.startswith("!")}
    parts = {part for kind in lay.KINDS.values() for part in kind.parts}
    assert inside >= parts | {"requirements.lock", "pyproject.toml", "tools/images", "tools/uv"}
    assert {"stacks/config", "workloads/config"} <= set(lines)
