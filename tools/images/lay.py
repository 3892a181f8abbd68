"""Lays an image's files down: what the Dockerfiles run as root, in the base, and nothing else does.

    python3 lay.py KIND

stands on the standard library of the base's Python alone. It makes the environment `/opt/falaj` of
the packages that `packages.txt` beside the kind's Dockerfile names, in the versions and with the
hashes of `requirements.lock`; adds the parts of this repository that the kind runs; compiles all to
bytecode, since the root is read-only later; takes out of the base what a server has no use for; and
leaves nothing that anybody but root may write. The same inputs give the same files.

Variables: `BASE`, the base by its digest; `SOURCE_DATE_EPOCH`, no file is newer; `UV_DEFAULT_INDEX`
or the secret `index`, the address of a package index in the country; the secret `authorities`, PEM
of who signs its certificate. `UV` names uv where it is there already.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
SECRETS = Path("/run/secrets")
ENVIRONMENT = Path("opt/falaj")
"""Below the root; its Python is the base's."""
PYTHON = (3, 12)
BY_DIGEST = re.compile(r"^[a-z0-9][a-z0-9./:_-]*@sha256:[0-9a-f]{64}$")
_BUILDERS = ("editables", "hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers")
"""What makes the wheel of this repository; it stays out of the image."""

OWNER = (0, 0)
WRITABLE = ("tmp", "var/tmp", "dev/shm")
"""Below the root, where anybody may write."""
_EMPTIED = ("root", "tmp", "var/cache", "var/lib/apt", "var/log", "var/tmp")
_TOOLS = frozenset(
    (
        *("apt", "apt-cache", "apt-get", "apt-key", "apt-mark", "dpkg", "dpkg-deb", "dpkg-divert"),
        *(
            "apk",
            "dnf",
            "microdnf",
            "rpm",
            "yum",
            "curl",
            "wget",
            "nc",
            "ssh",
            "scp",
            "git",
            "perl",
        ),
        *("gcc", "g++", "cc", "c++", "cpp", "ld", "as", "make", "nvcc"),
        *("su", "sudo", "mount", "umount", "passwd", "chsh", "chfn", "newgrp", "gpasswd", "chage"),
        *("pip", "pip3", "pip3.12", "idle3", "idle3.12", "python3-config", "python3.12-config"),
        *("easy_install", "wheel", "uv", "uvx"),
    )
)
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh", "busybox", "rbash"))
_BRINGERS = ("ensurepip", "pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack")
"""Packages of the base's Python that fetch or build others."""


class LayError(Exception):
    """The image cannot be made; the message says what to do."""


@dataclass(frozen=True)
class Kind:
    """What an image of one kind holds beside its packages."""

    folder: str
    """Of its Dockerfile and `packages.txt`."""
    parts: tuple[str, ...]
    """Top-level packages of this repository."""
    users: tuple[int, ...]
    """Who runs in it: the first is the image's own."""
    group: int
    folders: tuple[str, ...] = ()
    """Where its pods mount volumes."""
    shells: bool = False


KINDS: Mapping[str, Kind] = {
    "training": Kind(
        folder="workloads/images/training",
        # `falaj` mounts the commands of all parts
        parts=("components", "policies", "stacks", "workloads"),
        # Ray's; those who hand jobs in
        users=(1000, 8888),
        group=100,
        folders=("spill",),
        # KubeRay starts `ray start` by one
        shells=True,
    ),
    "serving": Kind(
        folder="workloads/images/serving",
        parts=("workloads",),
        users=(8888,),
        group=8888,
        folders=("var/lib/falaj",),
    ),
    "tracking": Kind(
        folder="components/mlflow_server",
        parts=("components",),
        users=(10001,),
        group=10001,
    ),
}


def lay(name: str, variables: Mapping[str, str]) -> None:
    """Makes the image `name` out of the root that this runs in. Raises `LayError`."""
    root = Path("/")
    kind = checked(name, variables)
    with tempfile.TemporaryDirectory(prefix="falaj-lay-") as scratch:
        folder = Path(scratch)
        told = _told(variables, folder)
        uv = variables.get("UV") or _fetch_uv(folder, told)
        _compile(_install(kind, uv, told, root / ENVIRONMENT, folder), told)
    take_out(root, shells=kind.shells)
    _users(root, kind)
    for made in (*kind.folders, "tmp"):
        (root / made).mkdir(parents=True, exist_ok=True)
    settle(root, int(variables.get("SOURCE_DATE_EPOCH", "0")))


def checked(name: str, variables: Mapping[str, str]) -> Kind:
    """The kind called `name`, once nothing that was given is wrong. Raises `LayError`."""
    base = variables.get("BASE", "")
    if name not in KINDS:
        raise LayError(f"there is no image {name}; there are {', '.join(KINDS)}")
    if not BY_DIGEST.match(base):
        raise LayError(
            f"BASE is {base or 'missing'}: name the base by its digest, "
            "--build-arg BASE=<registry in the country>/<repository>@sha256:<64 digits>, "
            "since a tag can be moved to another image"
        )
    if sys.version_info[:2] != PYTHON:
        here = ".".join(str(part) for part in sys.version_info[:2])
        raise LayError(f"the base has Python {here}, and the lock is for 3.12")
    if not variables.get("SOURCE_DATE_EPOCH", "").isdecimal():
        raise LayError(
            "SOURCE_DATE_EPOCH is missing: give the time of the commit, "
            '--build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)", so that the same commit '
            "gives the same image"
        )
    return KINDS[name]


# --- packages -------------------------------------------------------------------------------------


def subset(lock: str, names: set[str]) -> str:
    """The entries of `lock` for `names`. Raises `LayError` where one is missing or has no hash."""
    found: dict[str, str] = {}
    for entry in re.sub(r"\\\n\s*", " ", lock).splitlines():
        name = canonical(re.split(r"[=\[ ;]", entry.strip())[0])
        if name in names:
            found[name] = entry
    if missing := sorted(names - set(found)):
        raise LayError(f"requirements.lock lacks {', '.join(missing)}: run make lock")
    if bare := sorted(
        name for name, entry in found.items() if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)
    ):
        raise LayError(f"requirements.lock has no hash of {', '.join(bare)}: run make lock")
    return "".join(f"{found[name]}\n" for name in sorted(found))


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(kind: Kind, source: Path = SOURCE) -> set[str]:
    """The names that the kind's `packages.txt` lists."""
    lines = (source / kind.folder / "packages.txt").read_text(encoding="utf-8").splitlines()
    return {canonical(line) for line in lines if line and not line.startswith("#")}


def _told(variables: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The variables of uv and pip. Raises `LayError` where no index is named."""
    told = {name: value for name, value in variables.items() if name != "BASE"}
    with contextlib.suppress(FileNotFoundError):
        told["UV_DEFAULT_INDEX"] = (SECRETS / "index").read_text(encoding="utf-8").strip()
    if not told.get("UV_DEFAULT_INDEX") and told.get("UV_OFFLINE") != "1":
        raise LayError(
            "no package index is named: --secret id=index,src=<file with its address>, or "
            "--build-arg UV_DEFAULT_INDEX=<address> where that holds no password"
        )
    if told.get("UV_DEFAULT_INDEX"):
        told["PIP_INDEX_URL"] = told["UV_DEFAULT_INDEX"]
    if (authorities := SECRETS / "authorities").exists():
        told["SSL_CERT_FILE"] = told["PIP_CERT"] = str(authorities)
    return told | {"HOME": str(folder), "TMPDIR": str(folder), "UV_PYTHON_DOWNLOADS": "never"}


def _fetch_uv(folder: Path, told: Mapping[str, str]) -> str:
    pinned = SOURCE / "tools" / "uv" / "requirements.txt"
    # the base's own pip, which goes afterwards
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
    command += ["--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check"]
    _call([*command, "-r", str(pinned), "--target", str(folder / "uv")], told)
    return str(folder / "uv" / "bin" / "uv")


def _install(kind: Kind, uv: str, told: Mapping[str, str], ours: Path, folder: Path) -> Path:
    """Makes the environment `ours`; returns where its packages are."""
    lock = (SOURCE / "requirements.lock").read_text(encoding="utf-8")
    builder = folder / "builder"
    for environment, names in ((builder, set(_BUILDERS)), (ours, packages(kind))):
        listed = folder / f"{environment.name}.txt"
        listed.write_text(subset(lock, names), encoding="utf-8")
        # `--seed` is not said: neither gets pip
        _call([uv, "venv", "--quiet", "--python", sys.executable, str(environment)], told)
        # what is built from source here would need a compiler, and run foreign code
        command = [uv, "pip", "sync", "--quiet", "--require-hashes", "--no-build"]
        _call([*command, "--python", str(environment / "bin" / "python"), str(listed)], told)
    wheel = [str(builder / "bin" / "python"), "-m", "hatchling", "build", "-t", "wheel"]
    _call([*wheel, "-d", str(folder)], told, SOURCE)
    part = part_of_wheel(next(folder.glob("falaj-*.whl")), kind.parts, folder / "part")
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--offline"]
    _call([*command, "--python", str(ours / "bin" / "python"), str(part)], told)
    for idle in ("bin/activate*", "bin/deactivate*", "bin/pydoc*", "CACHEDIR.TAG", ".gitignore"):
        for path in ours.glob(idle):
            path.unlink()
    (ours / ".lock").unlink(missing_ok=True)
    site = next(ours.glob("lib/python3.*/site-packages"))
    _forget_where(next(site.glob("falaj-*.dist-info")))
    return site


def _forget_where(information: Path) -> None:
    """Takes out where the wheel of this repository lay, and when."""
    known = ("direct_url.json", "uv_cache.json")
    for name in known:
        (information / name).unlink(missing_ok=True)
    record = information / "RECORD"
    lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
    record.write_text(
        "".join(line for line in lines if line.partition(",")[0].rpartition("/")[2] not in known),
        encoding="utf-8",
    )


def part_of_wheel(wheel: Path, parts: tuple[str, ...], folder: Path) -> Path:
    """A wheel with the top-level packages `parts` of `wheel` and their entry points alone."""
    folder.mkdir()
    made = folder / wheel.name
    listed = []
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(made, "w") as part:
        for name in sorted(whole.namelist()):
            top, content = name.partition("/")[0], whole.read(name)
            if not (top in parts or top.endswith(".dist-info")) or name.endswith("/RECORD"):
                continue
            if name.endswith("/entry_points.txt"):
                content = _entry_points(content.decode(), parts).encode()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            listed.append(f"{name},sha256={digest.decode()},{len(content)}\n")
            part.writestr(zipfile.ZipInfo(name), content)
        record = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/RECORD"
        part.writestr(zipfile.ZipInfo(record), "".join(listed) + f"{record},,\n")
    return made


def _entry_points(text: str, parts: tuple[str, ...]) -> str:
    """Those that `parts` can answer for."""
    kept = []
    for line in text.splitlines():
        _, equals, target = line.partition("=")
        if not equals or target.strip().partition(".")[0] in parts:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _compile(site: Path, told: Mapping[str, str]) -> None:
    """Compiles packages and the standard library."""
    # times are no part of the content, and nobody asks whether a source has changed
    command = [sys.executable, "-m", "compileall", "-qq", "-f", "-j", "0"]
    command += ["--invalidation-mode", "unchecked-hash", str(site), str(Path(os.__file__).parent)]
    # what does not compile is a template, or of another version; sets are written in their order
    seeded = {**told, "PYTHONHASHSEED": "0"}
    subprocess.run(command, env=seeded, stdin=subprocess.DEVNULL, check=False)


# --- the base -------------------------------------------------------------------------------------


def take_out(root: Path, *, shells: bool) -> None:
    """Takes compilers, what installs packages or becomes root, and shells out of the base."""
    for folder in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin"):
        if (root / folder).is_symlink():
            continue
        for path in _entries(root / folder):
            if is_idle(path.name, shells=shells):
                path.unlink()
    prefix = root / os.path.relpath(sys.base_prefix, "/")
    for path in [*prefix.glob("bin/pip*"), *prefix.glob("bin/idle*"), *prefix.glob("bin/2to3*")]:
        path.unlink(missing_ok=True)
    for library in (*prefix.glob("lib/python3.*"), *prefix.glob("lib/python3*/site-packages")):
        for bringer in _BRINGERS:
            for path in (library / bringer, *library.glob(f"{bringer}-*.dist-info")):
                shutil.rmtree(path, ignore_errors=True)
    for emptied in _EMPTIED:
        for path in _entries(root / emptied):
            _remove(path)


def is_idle(program: str, *, shells: bool) -> bool:
    """Whether no image has a use for the program of that name."""
    return (
        program in _TOOLS
        or (program in _SHELLS and not shells)
        or program.startswith(("gcc-", "g++-", "cpp-", "x86_64-linux-gnu-"))
    )


def _users(root: Path, kind: Kind) -> None:
    """Names for the numbers: some libraries ask who they are."""
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    known = {name: _lines(etc / name) for name in ("passwd", "group")}
    kept = [line for line in known["passwd"] if _number(line) not in kind.users]
    kept += [f"falaj-{user}:x:{user}:{kind.group}::/tmp:/sbin/nologin" for user in kind.users]
    (etc / "passwd").write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    groups = {_number(line) for line in known["group"]}
    lines = [*known["group"], *([] if kind.group in groups else [f"falaj:x:{kind.group}:"])]
    (etc / "group").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _number(line: str) -> int | None:
    fields = line.split(":")
    return int(fields[2]) if len(fields) > 2 and fields[2].isdecimal() else None


def settle(root: Path, epoch: int, owner: tuple[int, int] = OWNER) -> None:
    """No file is set to run as its owner, none but root's can be written, none is newer."""
    # folders last: what changes in one makes it newer
    for path in [*reversed(list(walk(root))), root]:
        status = path.lstat()
        if not stat.S_ISLNK(status.st_mode):
            mode = stat.S_IMODE(status.st_mode) & ~(stat.S_ISUID | stat.S_ISGID)
            anybodys = str(path.relative_to(root)) in WRITABLE
            mode = 0o1777 if anybodys else mode & ~(stat.S_IWGRP | stat.S_IWOTH)
            if (root / ENVIRONMENT) in (path, *path.parents):
                # who builds may have a umask of 077
                mode |= 0o044 | (0o011 if mode & stat.S_IXUSR else 0)
            if mode != stat.S_IMODE(status.st_mode):
                path.chmod(mode)
        if (status.st_uid, status.st_gid) != owner:
            os.chown(path, *owner, follow_symlinks=False)
        if status.st_mtime > epoch:
            os.utime(path, (epoch, epoch), follow_symlinks=False)


def walk(root: Path) -> Iterator[Path]:
    """Everything below `root`, but not what is mounted there, which is the engine's."""
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    mounted = {Path(line.split()[4]) for line in table}
    folders = [root]
    while folders:
        for path in _entries(folders.pop()):
            if path in mounted:
                continue
            yield path
            if path.is_dir() and not path.is_symlink():
                folders.append(path)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        # what is mounted there is the engine's
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def _call(command: list[str], told: Mapping[str, str], where: Path | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=where,
        env=dict(told),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise LayError(f"{' '.join(command[:4])} … ended with {done.returncode}:\n{tail}")


def main(arguments: list[str]) -> int:
    """The command line described in the module's docstring; returns the exit code."""
    try:
        (name,) = arguments
        lay(name, os.environ)
    except ValueError:
        sys.stderr.write("usage: lay.py KIND\n")
        return 2
    except LayError as error:
        sys.stderr.write(f"lay.py: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
