"""A clone in a scratch directory, on ports of its own: what tests and benchmarks run the verbs in.

Holds the files of this working tree, committed or not, and nothing that git ignores, so that what
is tried is what a new user gets.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORT_OFFSET = int(os.environ.get("FALAJ_SCRATCH_PORT_OFFSET", "3000"))
"""Keeps clear of the ports of a local environment that runs with its defaults."""

_AUTHOR = {
    "GIT_AUTHOR_NAME": "falaj",
    "GIT_AUTHOR_EMAIL": "falaj@localhost",
    "GIT_COMMITTER_NAME": "falaj",
    "GIT_COMMITTER_EMAIL": "falaj@localhost",
}


@dataclass(frozen=True)
class ScratchClone:
    """The clone at `root`."""

    root: Path

    @classmethod
    def make_at(cls, root: Path, *, port_offset: int = PORT_OFFSET) -> ScratchClone:
        """Copies the working tree to `root`, which must not exist, as one commit."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for name in filter(None, os.fsdecode(listed).split("\0")):
            source, target = ROOT / name, root / name
            if source.is_file() or source.is_symlink():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        clone = cls(root)
        clone._git("init", "--quiet", "--initial-branch=main")
        clone._git("add", "--all")
        clone._git("commit", "--quiet", "--message", "A scratch clone")
        (root / "stacks" / "config" / "Pulumi.local.yaml").write_text(
            f"config:\n  falaj:local:\n    ports:\n      offset: {port_offset}\n"
        )
        return clone

    def _git(self, *arguments: str) -> None:
        subprocess.run(
            ["git", *arguments], cwd=self.root, env=os.environ | _AUTHOR, check=True, timeout=120
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user's shell: nothing of the clone that calls us."""
        ours = ("FALAJ_", "PULUMI_", "RAY_", "MLFLOW_", "DAGSTER_", "AWS_", "VIRTUAL_ENV")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        own = (str(ROOT / ".venv"), str(ROOT / ".tools"))
        path = [
            folder
            for folder in inherited.get("PATH", "").split(os.pathsep)
            if not folder.startswith(own)
        ]
        return inherited | {"PATH": os.pathsep.join(path), "COLUMNS": "100"}

    def make(self, verb: str, *, seconds: float = 1800) -> subprocess.CompletedProcess[str]:
        """Runs `make <verb>`; output and errors together in `stdout`."""
        return self.run("make", verb, plain=True, seconds=seconds)

    def run(
        self,
        *command: str,
        plain: bool = False,
        seconds: float = 600,
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command, as in `make shell` unless `plain`; never raises for its status."""
        return subprocess.run(
            self.command(*command, plain=plain),
            cwd=self.root,
            env=self.environment | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Starts a command as in `make shell`, in a process group of its own."""
        return subprocess.Popen(
            self.command(*command),
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def command(self, *command: str, plain: bool = False) -> list[str]:
        """The arguments that start `command` in the clone's environment."""
        if plain:
            return list(command)
        return [str(self.root / ".venv/bin/python"), "-m", "stacks.environment", "--", *command]
