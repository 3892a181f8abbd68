"""Makes `.venv`: Python 3.12 with exactly what `requirements.lock` names, compiled to bytecode."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tools.install import Installer, SetupError, Version, numbers, scratch, version_of, write

PYTHON: Version = (3, 12)
UV_MINIMUM: Version = (0, 8)
OWN_PACKAGES = ("stacks", "components", "policies", "workloads", "tools")
_TELL = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"


class Venv:
    """The Python environment of a clone."""

    def __init__(self, installer: Installer, lock: Path | None = None) -> None:
        self._installer = installer
        self._machine = installer.machine
        self.root = installer.machine.root
        self.lock = lock or self.root / "requirements.lock"
        self.folder = self.root / ".venv"
        self.python = self.folder / "bin" / "python"
        self._stamp = self.root / ".tools" / "stamps" / "python"
        self._unfinished = self._stamp.with_name("python-unfinished")

    def is_fresh(self) -> bool:
        """Whether nothing needs to be done."""
        return (
            self._stamp.exists()
            and self._stamp.read_text() == self._inputs()
            and not self._unfinished.exists()
            and self._is_usable()
        )

    def make(self, say: Callable[[str], None]) -> None:
        """Brings the environment to what the lock says. Raises `SetupError`."""
        self._stamp.unlink(missing_ok=True)
        say("getting uv")
        uv = str(self._uv())
        from_scratch = self._unfinished.exists() or not self._is_usable()
        # a package whose installation was cut short looks installed: start over after that
        self._unfinished.parent.mkdir(parents=True, exist_ok=True)
        self._unfinished.touch()
        if from_scratch:
            say("making .venv")
            self._call(
                [uv, "venv", "--seed", "--clear", "--python", self._python(uv), str(self.folder)]
            )
        say("installing packages")
        python = ["--python", str(self.python)]
        told = ["--compile-bytecode", "--require-hashes", str(self.lock)]
        self._call([uv, "pip", "sync", *python, *told])
        editable = ["--no-deps", "--no-build-isolation", "--editable", str(self.root)]
        self._call([uv, "pip", "install", *python, *editable])
        folders = [name for name in OWN_PACKAGES if (self.root / name).is_dir()]
        self._call([str(self.python), "-m", "compileall", "-q", *folders])
        self._unfinished.unlink()
        write(self._stamp, self._inputs())

    def _call(self, command: list[str]) -> None:
        # a company's own certificates stand in the system's store; older versions of uv say native
        certificates = dict.fromkeys(("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"), "true")
        self._installer.call("python", command, cwd=self.root, env=certificates)

    def _inputs(self) -> str:
        digest = hashlib.sha256(str(self.root).encode())
        for file in (self.lock, self.root / "pyproject.toml"):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def _is_usable(self) -> bool:
        """Whether `.venv` runs the right Python and was made where it stands."""
        activate = self.folder / "bin" / "activate"
        try:
            made_here = str(self.folder) in activate.read_text()
        except OSError:
            return False
        return made_here and _told(str(self.python)) is not None

    def _python(self, uv: str) -> str:
        """A Python 3.12 for `uv venv`, fetched by uv where the machine has none."""
        found = find_python(self._machine.path)
        if found is not None:
            return found
        wanted = ".".join(str(part) for part in PYTHON)
        try:
            self._call([uv, "python", "install", wanted])
        except SetupError as error:
            raise SetupError(
                f"missing: Python {wanted}, which could not be fetched either "
                f"(pyenv install {wanted}, or your package manager's python{wanted})"
            ) from error
        return wanted

    def _uv(self) -> Path:
        """uv from PATH if recent enough, else the pinned one, put into `.tools/bin`."""
        own = self.root / ".tools" / "bin" / "uv"
        pinned = self.root / "tools" / "uv" / "requirements.txt"
        found = self._machine.which("uv")
        if found is not None and (version_of(found, "--version") or ()) >= UV_MINIMUM:
            return found
        first = pinned.read_text().split()[0]
        if own.exists() and version_of(own, "--version") == numbers(first.split("==")[1]):
            return own
        with scratch(self.root / ".tools") as folder:
            arguments = ["install", "--quiet", "--require-hashes", "--only-binary", ":all:"]
            arguments += ["--no-deps", "--disable-pip-version-check", "-r", str(pinned)]
            self._call([*self._pip(folder / "pip"), *arguments, "--target", str(folder / "uv")])
            own.parent.mkdir(parents=True, exist_ok=True)
            (folder / "uv" / "bin" / "uv").replace(own)
        return own

    def _pip(self, folder: Path) -> list[str]:
        """A pip to fetch uv with; Debian's Python may come without it and without venv."""
        pythons = [find_python(self._machine.path), sys.executable]
        for python in filter(None, pythons):
            with contextlib.suppress(SetupError):
                self._call([python, "-m", "venv", "--clear", str(folder)])
                return [str(folder / "bin" / "python"), "-m", "pip"]
        for python in filter(None, pythons):
            with contextlib.suppress(SetupError):
                self._call([python, "-m", "pip", "--version"])
                return [python, "-m", "pip"]
        raise SetupError("missing: uv, pip or venv (sudo apt-get install python3-venv)")


def find_python(path: tuple[str, ...]) -> str | None:
    """A Python 3.12 on PATH or of pyenv."""
    name = "python" + ".".join(str(part) for part in PYTHON)
    candidates = [sys.executable]
    candidates += [str(Path(folder) / name) for folder in path]
    pyenv = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"
    candidates += [str(folder / "bin" / name) for folder in sorted(pyenv.glob("3.12.*"))]
    inside = str(Path(__file__).resolve().parent.parent / ".venv")
    for candidate in candidates:
        if not candidate.startswith(inside) and os.access(candidate, os.X_OK):
            told = _told(candidate)
            if told is not None:
                return told
    return None


def _told(python: str) -> str | None:
    """The interpreter behind `python` if it is of the wanted version; a shim may be behind it."""
    try:
        done = subprocess.run(
            [python, "-c", _TELL], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version, executable = done.stdout.strip().split(" ", 1)
    return executable if numbers(version) == PYTHON else None
