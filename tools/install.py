"""Chooses and takes the way by which a tool gets onto the machine.

A tool is a folder beside this file with a `tool.ini`. What is installed already counts if it is
recent enough; else come the maker's release, a build from the pinned Go module, and the machine's
package manager, in this order and as far as the tool names them. Only the last writes outside the
clone, and only where no password is needed for it.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
Version = tuple[int, ...]

REACH_SECONDS = 5.0
DOWNLOAD_SECONDS = 60.0
VERSION_SECONDS = 60.0
ELSEWHERE = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")
"""Where servers lie although a user's PATH leaves it out."""


class SetupError(Exception):
    """What is wrong and what to do, in a line; the rest of a log may follow it."""


@dataclass(frozen=True)
class Tool:
    """What `tool.ini` says."""

    name: str
    folder: Path
    executables: tuple[str, ...]
    version: str
    """The argument that makes the tool print its version."""
    minimum: Version
    below: Version | None = None
    companions: tuple[str, ...] = ()
    """Executables that must be there too."""
    purpose: str = "run"
    target: str = ""
    """Where in `.tools` it goes."""
    release: Mapping[str, str] = field(default_factory=dict)
    go: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)

    @property
    def wanted(self) -> str:
        """Such as `haproxy >= 2.6`."""
        return f"{self.name} >= {dotted(self.minimum)}"


@dataclass(frozen=True)
class Way:
    """How a tool gets onto the machine: `found`, `ours`, `release`, `go`, `packages`, `missing`."""

    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Machine:
    """What this machine offers."""

    root: Path
    path: tuple[str, ...]
    go: Version | None
    """The newest Go that a build may use; none without Go."""
    manager: str
    """`apt`, `brew` or nothing."""
    may_install: bool
    """Whether packages can be installed without a password."""
    systemd: bool

    @classmethod
    def here(cls, root: Path = ROOT) -> Machine:
        """This machine, for the clone at `root`."""
        path = outside(os.environ.get("PATH", "").split(os.pathsep), root)
        manager = next(
            (name for name, tool in (("apt", "apt-get"), ("brew", "brew")) if shutil.which(tool)),
            "",
        )
        return cls(
            root=root,
            path=path,
            go=go_version(path),
            manager=manager,
            may_install=manager == "brew" or (manager == "apt" and os.geteuid() == 0),
            systemd=Path("/run/systemd/system").is_dir(),
        )

    def which(self, name: str) -> Path | None:
        """The executable called `name`, outside the clone."""
        found = shutil.which(name, path=os.pathsep.join(self.path))
        return Path(found) if found else None


def outside(folders: Iterable[str], root: Path) -> tuple[str, ...]:
    """The folders of a PATH without the clone's own, and with those where servers lie."""
    kept = [folder for folder in folders if folder and root not in Path(folder).absolute().parents]
    return tuple(kept + [folder for folder in ELSEWHERE if folder not in kept])


def tools(root: Path = ROOT) -> dict[str, Tool]:
    """Every tool by its name."""
    return {path.parent.name: read(path) for path in sorted((root / "tools").glob("*/tool.ini"))}


def read(path: Path) -> Tool:
    """The tool that the file at `path` describes."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    values = parser["tool"]
    sections = {name: dict(parser[name]) for name in parser.sections()}
    return Tool(
        name=path.parent.name,
        folder=path.parent,
        executables=tuple(values["executables"].split()),
        version=values["version"],
        minimum=numbers(values["minimum"]),
        below=numbers(values["below"]) if "below" in values else None,
        companions=tuple(values.get("companions", "").split()),
        purpose=values.get("purpose", "run"),
        target=values.get("target", ""),
        release=sections.get("release", {}),
        go=sections.get("go", {}),
        packages=sections.get("packages", {}),
    )


def numbers(text: str) -> Version:
    """`3.259` as (3, 259)."""
    return tuple(int(part) for part in text.split("."))


def dotted(version: Version) -> str:
    """(3, 259) as `3.259`."""
    return ".".join(str(part) for part in version)


def parse_version(text: str) -> Version | None:
    """The first thing in `text` that looks like a version of at least two numbers."""
    match = re.search(r"(?<![\d.])v?(\d+(?:\.\d+)+)", text)
    return numbers(match.group(1)) if match else None


def version_of(executable: Path, argument: str) -> Version | None:
    """What an executable says about itself; none when it does not run or does not say."""
    try:
        done = subprocess.run(
            [str(executable), argument],
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(done.stdout) or parse_version(done.stderr)


def go_version(path: Iterable[str]) -> Version | None:
    """The Go that builds may count on: the installed one, or any where it fetches others itself."""
    go = shutil.which("go", path=os.pathsep.join(path))
    if go is None:
        return None
    installed = version_of(Path(go), "version")
    if installed is None:
        return None
    chosen = subprocess.run(
        [go, "env", "GOTOOLCHAIN"], capture_output=True, text=True, check=False
    ).stdout.strip()
    fetches = installed >= (1, 21) and not chosen.startswith("local")
    return (sys.maxsize,) if fetches else installed


def go_needed(tool: Tool) -> Version:
    """The Go version that the tool's module asks for."""
    match = re.search(r"^go (\S+)$", (tool.folder / "go.mod").read_text(), re.MULTILINE)
    return numbers(match.group(1)) if match else (1, 21)


def find(tool: Tool, machine: Machine) -> tuple[Path | None, Version | None]:
    """The tool outside the clone with its companions, if recent enough; else what was too old."""
    seen = None
    for name in tool.executables:
        executable = machine.which(name)
        if executable is None:
            continue
        version = version_of(executable, tool.version)
        if version is None:
            continue
        seen = version
        recent = version >= tool.minimum and (tool.below is None or version < tool.below)
        beside = executable.resolve().parent
        if recent and all(
            (beside / other).exists() or machine.which(other) for other in tool.companions
        ):
            return executable, version
    return None, seen


def choose(tool: Tool, machine: Machine) -> Way:
    """The first way that can work."""
    executable, version = find(tool, machine)
    if executable is not None and version is not None:
        return Way("found", f"{dotted(version)} at {executable}")
    if is_ours(tool, machine.root):
        return Way("ours", f".tools/{tool.target}")
    if tool.release and reachable(release_url(tool, "checksums")):
        return Way("release", tool.release["number"])
    if tool.go and machine.go is not None and machine.go >= go_needed(tool):
        return Way("go")
    if tool.packages.get(machine.manager) and machine.may_install:
        return Way("packages", tool.packages[machine.manager])
    return Way("missing", f"found {dotted(version)}" if version else "")


def missing(tools: Iterable[Tool], machine: Machine) -> str:
    """One line that names everything that `tools` lack, and how to get it."""
    tools = list(tools)
    parts = []
    built = [tool for tool in tools if tool.go]
    if built:
        version = dotted(max(go_needed(tool) for tool in built))
        how = "brew install go" if machine.manager == "brew" else "https://go.dev/dl"
        names = " and ".join(tool.name for tool in built)
        parts.append(f"Go >= {version} to build {names} ({how})")
    packaged = [tool for tool in tools if not tool.go]
    if packaged:
        names = ", ".join(tool.wanted for tool in packaged)
        parts.append(f"{names} ({package_line(packaged, machine)})")
    return "missing: " + "; ".join(parts)


def package_line(tools: Iterable[Tool], machine: Machine) -> str:
    """The command that a person types to install `tools`."""
    tools = list(tools)
    packages = " ".join(tool.packages.get(machine.manager) or tool.name for tool in tools)
    if machine.manager == "brew":
        return f"brew install {packages}"
    if machine.manager != "apt":
        return f"install {packages} with your package manager"
    line = f"sudo apt-get install --no-install-recommends {packages}"
    services = [tool.packages["service"] for tool in tools if "service" in tool.packages]
    if machine.systemd and services:
        line += f" && sudo systemctl disable --now {' '.join(services)}"
    return line


class Installer:
    """Takes the chosen ways; every process it starts can be stopped at once."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.own = machine.root / ".tools"
        self._children: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._guard = threading.Lock()
        self._packages = threading.Lock()

    def install(self, tool: Tool, way: Way) -> str:
        """Takes `way`; returns where the tool is. Raises `SetupError`."""
        if way.kind == "found":
            self._remove_ours(tool)
            return way.detail
        if way.kind == "ours":
            return way.detail
        if way.kind == "packages":
            self._install_packages(tool, way.detail)
            executable, version = find(tool, self.machine)
            if executable is None:
                found = f", and the package brings {dotted(version)}" if version else ""
                raise SetupError(f"{tool.wanted} is needed{found}")
            return str(executable)
        if way.kind == "release":
            try:
                return self._unpack_release(tool)
            except (OSError, SetupError, tarfile.TarError) as error:
                usable = self.machine.go is not None and self.machine.go >= go_needed(tool)
                if not (tool.go and usable):
                    raise SetupError(f"{tool.name}: the release did not arrive: {error}") from error
        return self._build(tool)

    def stop(self) -> None:
        """Ends what runs; what was not finished leaves nothing but temporary files."""
        with self._guard:
            self._stopped = True
            for child in self._children:
                if child.poll() is None:
                    child.send_signal(signal.SIGTERM)

    def call(
        self,
        name: str,
        command: list[str],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Runs `command`, its output appended to the log called `name`. Raises `SetupError`."""
        log = self.own / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            start = output.tell()
            code = self._wait(command, cwd, env, output)
        if code != 0:
            if self._stopped:
                raise SetupError(f"{name}: stopped")
            text = log.read_bytes()[start:].decode(errors="replace")
            tail = "\n".join(f"    {line}" for line in text.splitlines()[-15:])
            raise SetupError(f"{name}: `{' '.join(command)}` ended with {code}:\n{tail}")

    def _wait(
        self,
        command: list[str],
        cwd: Path | None,
        env: Mapping[str, str] | None,
        output: IO[bytes],
    ) -> int:
        with self._guard:
            if self._stopped:
                return -1
            try:
                child = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env={**os.environ, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            except OSError as error:
                output.write(f"{error}\n".encode())
                output.flush()
                return 127
            self._children.add(child)
        try:
            return child.wait()
        finally:
            with self._guard:
                self._children.discard(child)

    def _build(self, tool: Tool) -> str:
        """Builds the tool beside its place and puts it there in one step."""
        target = self.own / tool.target
        target.mkdir(parents=True, exist_ok=True)
        with scratch(self.own) as folder:
            packages = tool.go["package"].split()
            # Go names the executables of several packages itself, after their last part
            built = str(folder / tool.name) if len(packages) == 1 else f"{folder}{os.sep}"
            command = ["go", "build", "-trimpath", "-o", built]
            if "ldflags" in tool.go:
                command += ["-ldflags", tool.go["ldflags"]]
            self.call(tool.name, [*command, *packages], cwd=tool.folder)
            if "beside" in tool.go:
                for source in sorted((tool.folder / tool.go["beside"]).iterdir()):
                    if source.is_file():
                        shutil.copy(source, folder / source.name)
            _publish(folder, target)
        self._stamp(tool)
        return f".tools/{tool.target}"

    def _unpack_release(self, tool: Tool) -> str:
        """Fetches the maker's archive and unpacks it if its checksum is the published one."""
        archive_url = release_url(tool, "archive")
        name = archive_url.rsplit("/", 1)[-1]
        listed = fetch(release_url(tool, "checksums"), REACH_SECONDS).decode()
        pairs = (line.split() for line in listed.splitlines() if line.strip())
        sums = {pair[-1].lstrip("*"): pair[0] for pair in pairs}
        content = fetch(archive_url, DOWNLOAD_SECONDS)
        digest = hashlib.sha256(content).hexdigest()
        if sums.get(name) != digest:
            raise SetupError(f"{name} has the checksum {digest}, not the published one")
        target = self.own / tool.target
        target.mkdir(parents=True, exist_ok=True)
        wanted = set(tool.release["members"].split())
        with scratch(self.own) as folder:
            archive = folder / name
            archive.write_bytes(content)
            with tarfile.open(archive) as unpacked:
                for member in unpacked:
                    file = unpacked.extractfile(member) if member.isfile() else None
                    base = Path(member.name).name
                    if file is not None and base in wanted:
                        (folder / base).write_bytes(file.read())
                        (folder / base).chmod(0o755)
            archive.unlink()
            absent = {*tool.executables[:1], *tool.companions} - {
                path.name for path in folder.iterdir()
            }
            if absent:
                raise SetupError(f"{name} lacks {', '.join(sorted(absent))}")
            _publish(folder, target)
        self._stamp(tool)
        return f".tools/{tool.target}"

    def _install_packages(self, tool: Tool, packages: str) -> None:
        with self._packages:
            if self.machine.manager == "brew":
                self.call(tool.name, ["brew", "install", *packages.split()])
                return
            service = tool.packages.get("service")
            quiet = self.machine.systemd and service is not None
            apt = ["apt-get", "-o", "DPkg::Lock::Timeout=600"]
            install = [*apt, "install", "-y", "--no-install-recommends", *packages.split()]
            noninteractive = {"DEBIAN_FRONTEND": "noninteractive"}
            if quiet:  # else the package starts a server of its own on a well-known port
                self.call(tool.name, ["systemctl", "mask", "--runtime", str(service)])
            try:
                try:
                    self.call(tool.name, install, env=noninteractive)
                except SetupError:  # the lists may be missing or old
                    self.call(tool.name, [*apt, "update"])
                    self.call(tool.name, install, env=noninteractive)
            finally:
                if quiet:
                    self.call(tool.name, ["systemctl", "disable", str(service)])
                    self.call(tool.name, ["systemctl", "unmask", "--runtime", str(service)])

    def _remove_ours(self, tool: Tool) -> None:
        """What the machine has would be hidden by an older build of ours."""
        stamp = self.own / "stamps" / tool.name
        if tool.target and stamp.exists():
            stamp.unlink()
            for name in {*tool.executables, *tool.companions, *beside(tool)}:
                (self.own / tool.target / name).unlink(missing_ok=True)

    def _stamp(self, tool: Tool) -> None:
        write(self.own / "stamps" / tool.name, inputs(tool))


def beside(tool: Tool) -> set[str]:
    """The names of what is installed with a tool."""
    names = set(tool.release.get("members", "").split())
    if "beside" in tool.go:
        names |= {path.name for path in (tool.folder / tool.go["beside"]).iterdir()}
    return names


def inputs(tool: Tool) -> str:
    """A digest of all that decides what is built, the machine's kind included."""
    digest = hashlib.sha256(f"{platform.system()} {platform.machine()}".encode())
    for path in sorted(tool.folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(tool.folder)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def is_ours(tool: Tool, root: Path) -> bool:
    """Whether `.tools` holds the tool, made from what its folder says now."""
    own = root / ".tools"
    stamp = own / "stamps" / tool.name
    if not tool.target or not stamp.exists() or stamp.read_text() != inputs(tool):
        return False
    names = {*tool.executables[:1], *tool.companions}
    return all(os.access(own / tool.target / name, os.X_OK) for name in names)


def release_url(tool: Tool, what: str) -> str:
    """The address of a release's `archive` or `checksums` for this machine."""
    machines = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
    machine = platform.machine().lower()
    return tool.release[what].format(
        number=tool.release["number"],
        system=platform.system().lower(),
        machine=machines.get(machine, machine),
    )


def reachable(url: str) -> bool:
    """Whether `url` answers; a closed network says no within seconds."""
    try:
        fetch(url, REACH_SECONDS)
    except OSError:
        return False
    return True


def fetch(url: str, seconds: float) -> bytes:
    """What lies at `url`. Raises OSError."""
    with urllib.request.urlopen(url, timeout=seconds) as response:  # noqa: S310 from tool.ini
        content: bytes = response.read()
    return content


def write(path: Path, content: str) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(path)


@contextlib.contextmanager
def scratch(own: Path) -> Iterator[Path]:
    """A folder on the same file system as what is made in it; gone afterwards."""
    (own / "tmp").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=own / "tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, target: Path) -> None:
    """Moves everything made in `folder` to `target`, each file in one step."""
    for path in sorted(folder.iterdir()):
        path.replace(target / path.name)
