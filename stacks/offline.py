"""An environment without its cloud: the real engine, stand-in providers, state that is thrown away.

Owns a directory for one look at one environment: a copy of its stack file, a backend of its own and
the providers of `tools/providers` first on PATH. Neither the clone's state nor its files are
touched, and no credentials are handed on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from stacks import environment as clone
from stacks.settings import CONFIG_DIRECTORY, NAMESPACE

_STAND_INS = clone.ROOT / "tools" / "providers" / "bin"
_CREDENTIALS = ("AWS_", "KUBE", "PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE")


_STATE_AT_THE_END = {"PULUMI_EXPERIMENTAL": "true", "PULUMI_SKIP_CHECKPOINTS": "true"}
"""The state is written once and not after each resource, which would take two thirds of the time of
an `up` of hundreds. An `up` that is killed then leaves none."""


class OfflineError(Exception):
    """An environment cannot be looked at."""


@dataclass(frozen=True, kw_only=True)
class Offline:
    """One environment's stack in a directory of its own."""

    directory: Path
    environment: str
    variables: dict[str, str]

    def with_checkpoints(self) -> Offline:
        """The same, with the state written after each resource: for an `up` that may be killed."""
        kept = {name: it for name, it in self.variables.items() if name not in _STATE_AT_THE_END}
        return replace(self, variables=kept)

    @property
    def stack_file(self) -> Path:
        """The copy of the environment's settings."""
        return self.directory / "config" / f"Pulumi.{self.environment}.yaml"

    def pulumi(
        self, *arguments: str, standard_input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs the Pulumi CLI on the stack; the caller judges the exit status."""
        return subprocess.run(
            ["pulumi", "--non-interactive", *arguments, "--stack", self.environment],
            cwd=self.directory,
            env=self.variables,
            input=standard_input,
            capture_output=True,
            text=True,
            check=False,
        )


@contextlib.contextmanager
def offline(environment: str, profile: str | None = None) -> Iterator[Offline]:
    """The stack `environment`, empty, until the context ends.

    `profile` is looked at in place of the environment's own. `local` needs no file: all its
    settings have defaults. Raises `OfflineError` when there is no such environment or no Pulumi
    CLI.
    """
    settings = CONFIG_DIRECTORY / f"Pulumi.{environment}.yaml"
    if not settings.is_file() and environment != "local":
        known = sorted(path.suffixes[0][1:] for path in CONFIG_DIRECTORY.glob("Pulumi.*.yaml"))
        raise OfflineError(
            f"there is no environment {environment}: {settings} is missing; "
            f"environments: {', '.join(known)}"
        )
    with tempfile.TemporaryDirectory(prefix="falaj-offline-") as folder:
        directory = Path(folder).resolve()
        stack = Offline(
            directory=directory, environment=environment, variables=_variables(directory)
        )
        stack.stack_file.parent.mkdir()
        if settings.is_file():
            shutil.copyfile(settings, stack.stack_file)
        if profile is not None:
            _set_profile(stack.stack_file, profile)
        (directory / "stacks").symlink_to(clone.ROOT / "stacks")
        project = (clone.ROOT / "Pulumi.yaml").read_text(encoding="utf-8")
        (directory / "Pulumi.yaml").write_text(
            project.replace("stackConfigDir: stacks/config", "stackConfigDir: config"),
            encoding="utf-8",
        )
        made = stack.pulumi("stack", "init")
        if made.returncode != 0:
            raise OfflineError(made.stderr.strip())
        yield stack


def _set_profile(stack_file: Path, profile: str) -> None:
    content = yaml.safe_load(stack_file.read_text(encoding="utf-8")) if stack_file.is_file() else {}
    content.setdefault("config", {})[f"{NAMESPACE}:profile"] = profile
    stack_file.write_text(yaml.safe_dump(content), encoding="utf-8")


def _variables(directory: Path) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(_CREDENTIALS)
    }
    variables = clone.variables(base=inherited)
    if shutil.which("pulumi", path=variables["PATH"]) is None:
        raise OfflineError("there is no Pulumi CLI: run `make setup` first")
    (directory / "state").mkdir()
    return variables | {
        "PATH": os.pathsep.join((str(_STAND_INS), variables["PATH"])),
        "PULUMI_BACKEND_URL": f"file://{directory / 'state'}",
        "PULUMI_HOME": str(directory / "home"),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "FALAJ_RUNNER": "offline",  # stacks.runner.OFFLINE, which imports Pulumi
        "FALAJ_WITHOUT_DEBUG_MESSAGES": "1",  # to the language host; nobody asks for them here
        **_STATE_AT_THE_END,
    }
