"""The one place that says with which environment variables everything of a clone runs.

`make`, `make shell` and `falaj` all use `variables`: where Pulumi's state is, which passphrase
protects it, which tools come first on PATH, how Ray authenticates. Run as a module it starts a
command, or with no command the user's shell:

    python -m stacks.environment -- pulumi preview -s local
    python -m stacks.environment
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARK = "FALAJ_ROOT"
"""Set to the clone's root in every process that runs with `variables`."""
IMAGE = "FALAJ_IMAGE"
"""Set in images of ours, where there is no clone: what runs there gets its variables from its pod,
and has nothing to keep."""
BACKEND = "FALAJ_BACKEND_URL"
"""Names the place of Pulumi's state on a runner, which deploys one environment and keeps none."""
_LOOPBACK = ("127.0.0.1", "localhost")


class WrongEnvironmentError(Exception):
    """The clone cannot be used as it is; the message says what to do."""


def state_directory(root: Path = ROOT) -> Path:
    """`.state`: everything that the clone keeps between runs, created private when missing."""
    directory = root / ".state"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def runtime_directory(root: Path = ROOT) -> Path:
    """A short, private directory for sockets, whose paths may hold 107 bytes at most.

    Raises `WrongEnvironmentError` when somebody else owns it.
    """
    digest = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    directory = Path(tempfile.gettempdir()) / f"falaj-{os.getuid()}-{digest}"
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise WrongEnvironmentError(
            f"{directory} is not a private directory of yours: remove it and try again"
        )
    return directory


def passphrase_file(root: Path = ROOT) -> Path:
    """The passphrase of Pulumi's secrets, generated once, readable by its owner only."""
    path = state_directory(root) / "passphrase"
    if not path.exists():
        temporary = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            os.link(temporary, path)  # the first of two concurrent runs wins
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path


def variables(root: Path = ROOT, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every process of the clone at `root`, on top of `base`."""
    inherited = dict(os.environ if base is None else base)
    state = state_directory(root)
    (state / "pulumi").mkdir(mode=0o700, exist_ok=True)
    first = [root / ".venv" / "bin", root / ".tools" / "bin", root / ".tools" / "pulumi" / "bin"]
    known = inherited.get("PATH", "").split(os.pathsep)
    path = [str(folder) for folder in first if folder.is_dir()]
    path += [folder for folder in known if folder and folder not in path]
    # where Debian puts servers such as haproxy; a user's PATH leaves it out
    path += [folder for folder in ("/usr/sbin",) if folder not in path]
    ours = {
        MARK: str(root),
        "PATH": os.pathsep.join(path),
        "VIRTUAL_ENV": str(root / ".venv"),
        "PULUMI_BACKEND_URL": inherited.get(BACKEND, f"file://{state / 'pulumi'}"),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase_file(root)),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": inherited.get(
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "false"
        ),
        # a company's proxy must not be asked for what listens on this machine
        **{name: _with_loopback(inherited.get(name, "")) for name in ("NO_PROXY", "no_proxy")},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state / "training" / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DAGSTER_DISABLE_TELEMETRY": "true",
    }
    brought = root / ".tools" / "pulumi" / "home"
    if brought.is_dir():  # a bundle's plugins, where nothing could be fetched
        ours |= {
            "PULUMI_HOME": str(brought),
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }
    for name in ("PULUMI_CONFIG_PASSPHRASE", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME"):
        inherited.pop(name, None)
    return inherited | ours


def _with_loopback(hosts: str) -> str:
    known = [host for host in hosts.split(",") if host]
    return ",".join([*known, *(host for host in _LOOPBACK if host not in known)])


def require() -> None:
    """Raises `WrongEnvironmentError` unless the process runs with `variables` of this clone."""
    if os.environ.get(MARK) != str(ROOT):
        raise WrongEnvironmentError(
            "not in Falaj's environment: start a shell with `make shell` (or run `make up`), "
            "so that state, passphrase and tools are those of this clone"
        )


def main(arguments: list[str]) -> None:
    """Replaces the process by the command in `arguments`, or by the user's shell."""
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    environment = variables()
    if not command:
        command = [environment.get("SHELL", "/bin/sh")]
        print(  # noqa: T201
            "Falaj's environment: pulumi, falaj and the tools are on PATH; `exit` leaves it.",
            file=sys.stderr,
        )
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 no shell is what we want
    except FileNotFoundError:
        sys.exit(f"{command[0]}: not found; run `make setup` first")


if __name__ == "__main__":
    main(sys.argv[1:])
