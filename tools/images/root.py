"""The root file system of an image, made without an engine, looked at, and run in.

The Dockerfile's own command lays it down, in a root of its own, as root of a user namespace. What
an engine would pull as the base is made of this machine: its Python 3.12, with the libraries that
it and the packages load. So it proves what the layers above a base hold and that they run, and
nothing about the base itself.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.images import lay
from tools.images.dockerfile import Image, read

ROOT = Path(__file__).resolve().parents[2]
BASE = f"this-machine@sha256:{'0' * 64}"
"""Stands for the base's address."""
PREFIX = "usr/local"
"""Where Python lies in it, as in most bases."""
_SHELLS = ("sh", "bash")
_LIBRARIES = frozenset(
    (
        *("libgcc_s.so.1", "libstdc++.so.6", "libnss_files.so.2", "libnss_dns.so.2"),
        *("libdl.so.2", "librt.so.1", "libpthread.so.0", "libutil.so.1", "libm.so.6"),
    )
)
"""That packages load beside what the interpreter does; every Debian has them."""
_LEFT_OUT = ("__pycache__", "test", "tests", "idlelib", "tkinter", "site-packages", "turtledemo")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class RootError(Exception):
    """The root cannot be made; the message says why."""


def dockerfile(kind: str, given: Mapping[str, str]) -> Image:
    """What the kind's Dockerfile says with the arguments `given`. Raises `DockerfileError`."""
    return read(ROOT / lay.KINDS[kind].folder / "Dockerfile", given)


# --- making ---------------------------------------------------------------------------------------


def make(
    kind: str, out: Path, *, given: Mapping[str, str], uv: Path, cache: Path | None = None
) -> Image:
    """Lays the image `kind` down at `out`, which must not exist. Raises `RootError`.

    `given` are the build's arguments. With `cache`, uv's, nothing is fetched.
    """
    image = dockerfile(kind, given)
    stand_in(out)
    mounts = {mount["target"].lstrip("/"): ROOT for mount in image.mounts if "target" in mount}
    told = {name: given[name] for name in image.arguments if name in given}
    told |= {"PATH": f"/{PREFIX}/bin:/usr/bin:/bin", "UV": "/run/uv/uv"}
    mounts["run/uv"] = uv.resolve().parent
    shared = {}
    if cache is not None:
        shared["run/cache"] = cache
        told |= {"UV_OFFLINE": "1", "UV_CACHE_DIR": "/run/cache", "UV_LINK_MODE": "copy"}
    done = inside(out, image.command, told, mounts=mounts, shared=shared, writable=True)
    if done.returncode:
        raise RootError(done.stdout.strip())
    for target in (*mounts, *shared):
        (out / target).rmdir()
    return image


def uv_here() -> dict[str, Path]:
    """The uv of this clone and its cache, for `make`. Raises `RootError`."""
    found = shutil.which("uv", path=f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise RootError("uv is missing: run make setup")
    told = subprocess.run([found, "cache", "dir"], capture_output=True, text=True, check=True)
    return {"uv": Path(found), "cache": Path(told.stdout.strip())}


def stand_in(out: Path) -> None:
    """Makes a base at `out` of this machine's Python."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (out / "usr" / name).mkdir(parents=True, exist_ok=True)
        if (Path("/") / name).is_symlink():
            (out / name).symlink_to(f"usr/{name}")
    for folder in ("etc", "run", "tmp", "root", "proc", "dev", "sys", "var/tmp"):
        (out / folder).mkdir(parents=True)
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(
        library,
        out / PREFIX / "lib" / library.name,
        symlinks=True,
        ignore=shutil.ignore_patterns(*_LEFT_OUT, "config-*"),
    )
    python = Path(sys.base_prefix) / "bin" / "python3.12"
    (out / PREFIX / "bin").mkdir()
    shutil.copy2(python, out / PREFIX / "bin" / python.name)
    (out / PREFIX / "bin" / "python3").symlink_to(python.name)
    shells = [found for name in _SHELLS if (found := shutil.which(name, path="/usr/bin:/bin"))]
    named = [Path(found) for found in shells]
    for shell in named:
        _copy(out, shell)
    for path in needed([python, *library.glob("lib-dynload/*.so"), *named]) | _extra():
        if path.is_relative_to(sys.base_prefix):
            # the loader looks here without being told
            shutil.copy2(path, out / "usr" / "lib")
        else:
            _copy(out, path)
    if _CERTIFICATES.exists():
        _copy(out, _CERTIFICATES)
    (out / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (out / "etc" / "group").write_text("root:x:0:\nusers:x:100:\n")
    (out / "etc" / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    (out / "etc" / "hosts").write_text("127.0.0.1 localhost\n")


def needed(programs: Iterable[Path]) -> set[Path]:
    """The shared libraries that `programs` load, as the loader finds them."""
    told = subprocess.run(
        ["ldd", *map(str, programs)], capture_output=True, text=True, check=False
    ).stdout
    return {Path(path) for path in re.findall(r"(/\S+\.so[\w.]*)", told) if Path(path).exists()}


def _extra() -> set[Path]:
    cached = subprocess.run(
        ["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"^\s*(\S+) \([^)]*x86-64[^)]*\) => (\S+)$", cached, re.MULTILINE)
    return {Path(path) for name, path in found if name in _LIBRARIES}


def _copy(out: Path, path: Path) -> None:
    """Copies what is at `path` to where the same path leads to in `out`."""
    target = out / path.parent.resolve().relative_to("/") / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(path, target)


# --- running --------------------------------------------------------------------------------------


def command(
    root: Path,
    words: Sequence[str],
    *,
    user: int = 0,
    group: int = 0,
    mounts: Mapping[str, Path] | None = None,
    shared: Mapping[str, Path] | None = None,
    scratch: Sequence[str] = (),
    writable: bool = False,
    folder: str = "/",
) -> list[str]:
    """The command line that runs `words` in `root`, in namespaces of their own.

    `mounts` is folder below the root → what is seen there, read-only, `shared` the same to be
    written; `scratch` names folders that are empty and may be written. All processes end with the
    first.
    """
    ways = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        ways += ["--user", f"--map-user={user}", f"--map-group={group}", "--keep-caps"]
    enter = [sys.executable, "-B", str(Path(__file__).with_name("enter.py")), str(root)]
    enter += [f"--as={user}:{group}", f"--in={folder}", *(["--writable"] if writable else [])]
    enter += [f"--see={target}={source}" for target, source in (mounts or {}).items()]
    enter += [f"--share={target}={source}" for target, source in (shared or {}).items()]
    enter += [f"--scratch={target}" for target in scratch]
    return [*ways, *enter, "--", *words]


def inside(
    root: Path, words: Sequence[str], variables: Mapping[str, str], **how: Any
) -> subprocess.CompletedProcess[str]:
    """Runs `words` as `command` says, to their end."""
    for target in (*(how.get("mounts") or ()), *(how.get("shared") or ())):
        (root / target).mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        command(root, words, **how),
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


# --- looking --------------------------------------------------------------------------------------


def problems(root: Path, *, shells: bool = False, owner: tuple[int, int] = lay.OWNER) -> list[str]:
    """What of the files at `root` must not be in an image."""
    found = []
    for path in lay.walk(root):
        name, status = path.relative_to(root), path.lstat()
        if (status.st_uid, status.st_gid) != owner:
            found.append(f"{name}: is of {status.st_uid}:{status.st_gid}, not of root")
        if stat.S_ISLNK(status.st_mode):
            continue
        if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
            found.append(f"{name}: runs as its owner, whoever starts it")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and str(name) not in lay.WRITABLE:
            found.append(f"{name}: can be written by others than root")
        if stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
            found.append(f"{name}: is a device")
        if name.parent.name in ("bin", "sbin") and lay.is_idle(name.name, shells=shells):
            found.append(f"{name}: is of no use to a server, and of use to who breaks in")
    return found


def digest(root: Path) -> str:
    """sha256 over every name, mode, owner, time and content at `root`."""
    total = hashlib.sha256()
    for path in sorted(lay.walk(root)):
        status = path.lstat()
        said = [path.relative_to(root), oct(status.st_mode), status.st_uid, status.st_gid]
        total.update(f"{said} {int(status.st_mtime)}\n".encode())
        if path.is_symlink():
            total.update(str(path.readlink()).encode())
        elif path.is_file():
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
