"""What a runner does on its first boot and with each bundle, among false programs in a folder."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from components.aws.runner import RunnerArgs, first_boot
from components.aws.runner_bundle import UPDATE, update_document, update_script
from components.aws.scope import Scope
from components.aws.settings.runner import RunnerSettings

SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")
BUCKET = "falaj-prod-state-123456789012"
BACKEND = f"s3://{BUCKET}?region=me-central-1"
ROLE = "arn:aws:iam::123456789012:role/falaj-prod-apply"
PROXY = "http://proxy.bank.ae:3128"


def boot(proxy: str | None = PROXY, **variables: str) -> str:
    args = RunnerArgs(
        scope=SCOPE,
        runner=RunnerSettings(proxy=proxy),
        network=cast("Any", None),
        disk_key_arn="arn:disk",
        state_key_arn="arn:state",
        variables={"FALAJ_BACKEND_URL": BACKEND, **variables},
    )
    return first_boot(args, ROLE)


def programs(folder: Path, **bodies: str) -> Path:
    """A folder of shell scripts that note how they were called, to be first on PATH."""
    folder.mkdir(exist_ok=True)
    for name, body in bodies.items():
        file = folder / name.replace("_", ".")
        file.write_text(f'#!/bin/sh\necho "{file.name} $*" >> "{folder}/noted"\n{body}\n')
        file.chmod(0o755)
    return folder


def run(*command: str | Path, path: Path | None = None, **variables: str) -> Any:
    first = [str(path)] if path else []
    return subprocess.run(
        [str(part) for part in command],
        env={"PATH": os.pathsep.join([*first, os.environ["PATH"]]), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("script", [boot(), boot(None), update_script(SCOPE, "0" * 64)])
def test_the_scripts_are_ones_that_a_shell_can_read(shell: str, script: str) -> None:
    checked = subprocess.run(
        [shell, "-n"], input=script, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


# --- the first boot -------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of a machine after its first boot."""
    script = tmp_path / "user-data"
    script.write_text(boot(FALAJ_ODD="it's $HOME `id` \\ \" ;"))
    root = tmp_path / "root"
    for _ in range(2):  # and a second one changes nothing
        booted = run("sh", script, root)
        assert booted.returncode == 0, booted.stderr
    return root


def sourced(machine: Path, name: str) -> str:
    """A variable of whoever deploys."""
    return str(run("sh", "-c", f'. {machine}/etc/falaj/environment; printf %s "${name}"').stdout)


def test_whoever_deploys_there_has_the_environment_its_state_and_the_regions_own_tokens(
    machine: Path,
) -> None:
    assert sourced(machine, "FALAJ_RUNNER") == "prod"
    assert sourced(machine, "FALAJ_BACKEND_URL") == BACKEND
    assert sourced(machine, "AWS_STS_REGIONAL_ENDPOINTS") == "regional"
    assert sourced(machine, "AWS_PROFILE") == "deploy"
    profile = (machine / "etc/falaj/aws.ini").read_text()
    assert "[profile deploy]" in profile
    assert f"role_arn = {ROLE}\n" in profile
    assert "credential_source = Ec2InstanceMetadata\n" in profile


def test_what_has_an_endpoint_is_asked_directly_and_the_rest_by_the_proxy(machine: Path) -> None:
    direct = set(sourced(machine, "NO_PROXY").split(","))

    assert sourced(machine, "HTTPS_PROXY") == PROXY
    assert {"ec2.me-central-1.amazonaws.com", "api.ecr.me-central-1.amazonaws.com"} <= direct
    # what has no endpoint must not be asked directly: nothing would answer
    assert not {".me-central-1.amazonaws.com", "rds.me-central-1.amazonaws.com"} & direct
    assert "PROXY" not in boot(None)


def test_no_value_is_taken_for_a_command(machine: Path) -> None:
    assert sourced(machine, "FALAJ_ODD") == "it's $HOME `id` \\ \" ;"
    with pytest.raises(ValueError, match="cannot be written"):
        boot(FALAJ_ODD="one\nEND OF FILE\nrm -rf /")


def test_the_first_boot_holds_no_secret_and_names_no_bundle() -> None:
    """Either would be read by whoever may describe the instance; and a bundle changes."""
    script = boot().lower()
    for word in ("secret_", "password", "passphrase", "token=", "aws_access_key", "bundles/"):
        assert word not in script


def test_a_session_before_a_bundle_has_arrived_says_so(machine: Path, tmp_path: Path) -> None:
    bin_ = programs(tmp_path / "bin", id='[ "$1" = -un ] && echo ssm-user || exit 1')
    opened = run(machine / "opt/falaj/shell", path=bin_)

    assert opened.returncode == 1
    assert "no bundle of Falaj has arrived" in opened.stderr


def test_a_session_becomes_the_user_who_deploys_and_hands_its_command_on(
    machine: Path, tmp_path: Path
) -> None:
    bin_ = programs(tmp_path / "bin", id="echo ssm-user", sudo="")
    run(machine / "opt/falaj/shell", "pulumi", "up", path=bin_)

    assert (bin_ / "noted").read_text().splitlines()[-1] == (
        "sudo -H -u falaj -- /opt/falaj/shell pulumi up"
    )


# --- a bundle arrives -----------------------------------------------------------------------------


@dataclass
class Runner:
    """A machine with false programs, and a bucket that is a folder."""

    base: Path
    bin: Path
    bucket: Path

    def offer(self, text: str) -> str:
        """Puts a bundle into the bucket and gives its digest."""
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w:gz") as tar:
            content = f"print({text!r})".encode()
            entry = tarfile.TarInfo("tools/unbundle.py")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        digest = hashlib.sha256(made.getvalue()).hexdigest()
        (self.bucket / f"{digest}.tar.gz").write_bytes(made.getvalue())
        return digest

    def take(self, digest: str) -> Any:
        """Runs the document's script."""
        script = update_script(SCOPE, digest)
        return run("sh", "-c", script, path=self.bin, FALAJ_BASE=str(self.base))

    def noted(self) -> list[str]:
        """What the false programs were called with, since the last time."""
        file = self.bin / "noted"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def bundles(self) -> set[str]:
        """The digests that are installed."""
        return {one.name for one in self.base.iterdir() if len(one.name) == 64}

    def current(self) -> str:
        """The digest that a session gets."""
        return (self.base / "current").resolve().name


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    real_install = shutil.which("install")
    real_id = shutil.which("id")
    bin_ = programs(
        tmp_path / "bin",
        # aws s3 cp --only-show-errors --region R SOURCE TARGET
        aws=f'exec cp "{bucket}/${{6##*/}}" "$7"',
        id=f'[ "$1" != falaj ] || [ -e "{tmp_path}/user" ] || exit 1; exec {real_id}',
        useradd=f'touch "{tmp_path}/user"',
        dnf="exit 1",
        runuser='shift 3; exec "$@"',
        # -d -m MODE -o USER -g GROUP FOLDER
        install=f'exec {real_install} -d "$8"',
        python3_12='[ "$*" = "-B -m tools.unbundle" ] || exit 2; [ ! -e fail ] || exit 1',
    )
    return Runner(base=tmp_path / "opt", bin=bin_, bucket=bucket)


def test_a_bundle_is_fetched_checked_installed_by_another_user_and_made_current(
    runner: Runner,
) -> None:
    digest = runner.offer("one")
    taken = runner.take(digest)

    assert taken.returncode == 0, taken.stderr
    assert (runner.base / "current" / "tools" / "unbundle.py").is_file()
    assert runner.current() == digest
    called = runner.noted()
    source = f"s3://{BUCKET}/bundles/{digest}.tar.gz"
    (asked,) = (line for line in called if line.startswith("aws"))
    assert asked == (
        f"aws s3 cp --only-show-errors --region me-central-1 {source} "
        f"{runner.base}/incoming/{digest}.tar.gz"
    )
    assert {line.split()[0] for line in called} >= {"useradd", "install", "python3.12"}
    by_another = [line for line in called if line.startswith("runuser -u falaj -- ")]
    assert ["tar" in by_another[0], "tools.unbundle" in by_another[1]] == [True, True]
    assert list((runner.base / "incoming").iterdir()) == [], "what was fetched takes no room"


def test_to_take_the_same_bundle_again_asks_nobody_and_changes_nothing(runner: Runner) -> None:
    digest = runner.offer("one")
    runner.take(digest)
    runner.noted()
    again = runner.take(digest)

    assert (again.returncode, again.stdout) == (0, "")
    assert runner.noted() == []


def test_another_bundle_takes_its_place_and_the_one_before_is_kept(runner: Runner) -> None:
    digests = [runner.offer(text) for text in ("one", "two", "three")]
    for digest in digests:
        assert runner.take(digest).returncode == 0

    assert runner.current() == digests[2]
    assert (runner.base / "previous").resolve().name == digests[1]
    assert runner.bundles() == set(digests[1:])
    # back to the one before needs nothing to be fetched
    runner.noted()
    assert runner.take(digests[1]).returncode == 0
    assert (runner.current(), runner.noted()) == (digests[1], [])


def test_a_bundle_that_somebody_works_in_stays(runner: Runner) -> None:
    digests = [runner.offer(text) for text in ("one", "two", "three")]
    runner.take(digests[0])
    with subprocess.Popen(["sleep", "600"], cwd=runner.base / digests[0]) as working:
        try:
            for digest in digests[1:]:
                runner.take(digest)
            assert runner.bundles() == set(digests)
        finally:
            working.kill()
    runner.take(digests[2])
    assert runner.bundles() == set(digests[1:])


def test_what_does_not_have_the_digest_is_not_unpacked(runner: Runner) -> None:
    digest = runner.offer("one")
    runner.take(digest)
    runner.noted()
    other = "f" * 64
    (runner.bucket / f"{other}.tar.gz").write_bytes(b"something else")
    taken = runner.take(other)

    assert taken.returncode == 1
    assert f"does not have the digest {other}" in taken.stderr
    assert runner.current() == digest
    assert not any("tar" in line.split() for line in runner.noted())


@pytest.mark.parametrize("digest", ["", "..", "/", "0" * 63, "0" * 65, "g" * 64, "../" + "0" * 61])
def test_what_is_no_digest_is_refused_before_root_touches_anything(
    runner: Runner, digest: str
) -> None:
    taken = runner.take(digest)

    assert taken.returncode != 0
    assert not runner.base.exists()


def test_an_update_that_was_cut_short_is_done_again_from_the_beginning(runner: Runner) -> None:
    first, second = runner.offer("one"), runner.offer("two")
    runner.take(first)
    # as a machine leaves it that was switched off
    (runner.base / second).mkdir()
    (runner.base / second / "half").touch()
    (runner.base / "incoming" / f"{second}.tar.gz").write_bytes(b"half")

    assert runner.current() == first
    assert runner.take(second).returncode == 0
    assert runner.current() == second
    assert not (runner.base / second / "half").exists()


@pytest.mark.parametrize("program", ["aws", "python3.12", "runuser"])
def test_an_update_that_fails_leaves_the_present_one_and_works_once_mended(
    runner: Runner, program: str
) -> None:
    first, second = runner.offer("one"), runner.offer("two")
    runner.take(first)
    file = runner.bin / program
    works = file.read_text()
    file.write_text("#!/bin/sh\nexit 1\n")

    assert runner.take(second).returncode != 0
    assert runner.current() == first
    file.write_text(works)
    assert runner.take(second).returncode == 0
    assert runner.current() == second


def test_only_one_update_runs_at_a_time(runner: Runner) -> None:
    digest = runner.offer("one")
    runner.base.mkdir()
    with (runner.base / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        taken = runner.take(digest)
    assert (taken.returncode, runner.noted()) == (0, [])
    assert "another update is running" in taken.stdout


def test_python_is_installed_where_the_machine_has_none(runner: Runner) -> None:
    (runner.bin / "python3.12").rename(runner.bin / "later")
    programs(runner.bin, dnf=f'mv "{runner.bin}/later" "{runner.bin}/python3.12"')
    # a path without the tests' own Python 3.12
    needed = ("sh", "cat", "cp", "env", "flock", "ln", "mkdir", "mv", "readlink", "rm")
    needed += ("sha256sum", "tar", "gzip", "touch", "tr")
    for name in needed:
        found = shutil.which(name)
        assert found is not None, name
        (runner.bin / name).symlink_to(found)
    digest = runner.offer("one")
    taken = subprocess.run(
        ["/bin/sh", "-c", update_script(SCOPE, digest)],
        env={"PATH": str(runner.bin), "FALAJ_BASE": str(runner.base)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert taken.returncode == 0, taken.stderr
    assert "dnf install --assumeyes --quiet python3.12" in runner.noted()


def test_the_document_takes_a_digest_and_nothing_that_could_be_a_command() -> None:
    document = update_document(SCOPE)
    (step,) = document["mainSteps"]
    lines = step["inputs"]["runCommand"]

    assert document["parameters"]["digest"]["allowedPattern"] == "^[0-9a-f]{64}$"
    assert lines[0] == "FALAJ_DIGEST='{{ digest }}'"
    # Systems Manager would look for a parameter behind any other
    assert "{{" not in UPDATE.read_text()
    # a document may have 64 KiB
    assert len(json.dumps(document)) < 64 << 10
