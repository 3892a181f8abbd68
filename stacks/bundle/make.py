"""Making a bundle: the tracked files of a commit, its locked packages, the programs that it needs.

What a bundle holds, below the root of the clone that it becomes: the tracked files; the wheels with
a lock of their own and the manifest in `.bundle`; programs where `make setup` puts them.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stacks import environment
from stacks.bundle import BundleError
from stacks.bundle.archive import MANIFEST, Part, manifest, write
from stacks.bundle.programs import (
    find_cli,
    find_plugins,
    plugin_files,
    plugins_needed,
    uv_of,
    version_of_cli,
)
from stacks.bundle.target import PYTHON, Target
from stacks.bundle.wheels import collect, lock_of, locked

LOCKS = ("requirements.lock", "tools/pip/requirements.txt", "tools/uv/requirements.txt")
"""Of whose packages a bundle holds the wheels."""


PLUGINS = ".tools/pulumi/home/plugins/"
"""Where a bundle holds plugins, in a home of Pulumi that `stacks.environment` names to it."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be made."""

    target: Target
    to: Path | None = None
    """The file; by default in `dist`, named by commit and processor."""
    plugins: Path | None = None
    """A folder with Pulumi's plugins or the archives of their releases."""
    pulumi: Path | None = None
    """A folder with the Pulumi CLI for the target."""
    without_plugins: bool = False
    allow_dirty: bool = False
    root: Path = environment.ROOT


@dataclass(frozen=True, kw_only=True)
class Made:
    """A bundle that is there."""

    file: Path
    sha256: str
    commit: str
    machine: str
    size_bytes: int
    packages: int
    versions: dict[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What of the repository goes in."""

    id: str
    seconds: int
    """When it was made."""
    dirty: bool
    tree: str
    """What is packed: the commit, or one of the changed tracked files that no branch holds."""


def make(wanted: Wanted, say: Callable[[str], None]) -> Made:
    """Makes the bundle; `say` hears lines of progress. Raises `BundleError`."""
    commit = commit_of(wanted.root, allow_dirty=wanted.allow_dirty)
    kept = environment.state_directory(wanted.root) / "bundle"
    say(
        f"bundle of {commit.id[:12]}{' with changes' if commit.dirty else ''} for Linux on "
        f"{wanted.target.machine}"
    )
    with tempfile.TemporaryDirectory(prefix="falaj-bundle-") as scratch:
        # what can be missing is looked for before anything long begins
        cli = find_cli(wanted.target, wanted.pulumi, wanted.root)
        needed = [] if wanted.without_plugins else plugins_needed()
        plugins = find_plugins(needed, wanted.target, wanted.plugins, Path(scratch))
        tracked = list(_tracked(wanted.root, commit))
        texts = {part.path: part for part in tracked}
        asked = [package for lock in LOCKS for package in locked(_text(texts[lock]), wanted.target)]
        wheels = collect(asked, wanted.target, kept / f"wheels-{wanted.target.machine}", say)
        uv = wheels.pop("uv")
        versions: dict[str, str | None] = {
            "pulumi": version_of_cli(cli),
            "python": PYTHON,
            "uv": uv.name.split("-")[1],
            **{f"plugin {plugin.name}": plugin.version for plugin in plugins},
        }
        parts = [
            *tracked,
            *(Part(path=f".bundle/wheels/{one.name}", content=one) for one in wheels.values()),
            Part(path=".bundle/wheels.lock", content=lock_of(wheels.values()).encode()),
            Part(path=".tools/bin/uv", content=uv_of(uv), executable=True),
            *(_program(f".tools/pulumi/bin/{name}", file) for name, file in cli.items()),
            *(
                _program(f"{PLUGINS}{path}", file)
                for plugin, folder in plugins.items()
                for path, file in plugin_files(plugin, folder)
            ),
        ]
        facts = {
            "commit": commit.id,
            "uncommitted": commit.dirty,
            "machine": wanted.target.machine,
            "versions": versions,
        }
        parts.append(Part(path=MANIFEST, content=manifest(parts, facts)))
        name = f"falaj-{commit.id[:12]}{'-changed' if commit.dirty else ''}"
        file = wanted.to or wanted.root / "dist" / f"{name}-{wanted.target.machine}.tar.gz"
        digest = write(parts, file, seconds=commit.seconds, progress=_every_tenth(say))
    return Made(
        file=file,
        sha256=digest,
        commit=commit.id,
        machine=wanted.target.machine,
        size_bytes=file.stat().st_size,
        packages=len(wheels),
        versions=versions,
    )


def commit_of(root: Path, *, allow_dirty: bool) -> Commit:
    """The present commit. Raises `BundleError` where files differ from it and may not."""
    changed = _git(root, "status", "--porcelain").decode().splitlines()
    if changed and not allow_dirty:
        shown = "\n".join(f"  {line}" for line in changed[:10])
        raise BundleError(
            "this clone differs from its commit, and nobody could say later what was deployed; "
            "commit first (--allow-dirty takes tracked files as they are, others are left out):\n"
            f"{shown}{'' if len(changed) <= 10 else f'{chr(10)}  and {len(changed) - 10} more'}"
        )
    head = _git(root, "rev-parse", "HEAD").decode().strip()
    seconds = int(_git(root, "show", "--no-patch", "--format=%ct", head))
    stashed = _git(root, "stash", "create").decode().strip() if changed else ""
    return Commit(id=head, seconds=seconds, dirty=bool(changed), tree=stashed or head)


def _tracked(root: Path, commit: Commit) -> Iterator[Part]:
    packed = _git(root, "archive", "--format=tar", commit.tree)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar:
            if member.issym():
                yield Part(path=member.name, content=b"", link=member.linkname)
            elif member.isfile():
                content = tar.extractfile(member)
                assert content is not None, member.name  # noqa: S101 - a file has content
                yield Part(
                    path=member.name,
                    content=content.read(),
                    executable=bool(member.mode & 0o100),
                )


def _git(root: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise BundleError("git is missing, which tells what the commit holds") from None
    except subprocess.CalledProcessError as error:
        raise BundleError(f"git {arguments[0]}: {error.stderr.decode().strip()}") from None


def _text(part: Part) -> str:
    assert isinstance(part.content, bytes), part.path  # noqa: S101 - tracked files are read whole
    return part.content.decode()


def _program(path: str, file: Path) -> Part:
    return Part(path=path, content=file, executable=bool(file.stat().st_mode & 0o100))


def _every_tenth(say: Callable[[str], None]) -> Callable[[int, int], None]:
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        tenth = done * 10 // max(total, 1)
        if tenth > told:
            told = tenth
            say(f"  packing: {done >> 20} of {total >> 20} MiB")

    return progress
