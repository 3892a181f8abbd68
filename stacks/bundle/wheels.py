"""The Python packages of a bundle: a wheel for each line of a lock, by its hash.

Wheels are kept in a folder between runs, so that a run that was cut short goes on with what is
missing. A package of which there is no wheel is built here from its source, whose hash the lock
has; what is built is pure Python, or else refused, and comes out the same each time.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from stacks.bundle import BundleError
from stacks.bundle.target import PYTHON, Target

AT_ONCE = 12
"""So many packages are fetched before the next line of progress, and kept if it ends there."""
_EPOCH = "315532800"
"""1980-01-01, the oldest date that a wheel can carry."""
_LINES_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Locked:
    """One package of a lock."""

    name: str
    version: str
    sha256: frozenset[str]
    """Of every file of this version."""

    @property
    def line(self) -> str:
        """As pip reads it."""
        hashes = " ".join(f"--hash=sha256:{one}" for one in sorted(self.sha256))
        return f"{self.name}=={self.version} {hashes}"


def locked(lock: str, target: Target) -> list[Locked]:
    """The packages of the lock `lock` that `target` needs.

    Raises `BundleError` where a line has no version or no hash.
    """
    found = []
    for line in lock.replace("\\\n", " ").splitlines():
        text, *hashes = re.split(r"\s--hash=sha256:", line.strip())
        if not text or text.startswith("#"):
            continue
        requirement = Requirement(text.strip())
        versions = [one.version for one in requirement.specifier if one.operator == "=="]
        if len(versions) != 1 or not hashes:
            raise BundleError(f"the lock does not pin {text[:80]} with a hash: run `make lock`")
        if requirement.marker is None or requirement.marker.evaluate(dict(target.markers)):
            found.append(
                Locked(
                    name=canonicalize_name(requirement.name),
                    version=versions[0],
                    sha256=frozenset(one.strip() for one in hashes),
                )
            )
    return found


def collect(
    wanted: Sequence[Locked], target: Target, folder: Path, say: Callable[[str], None]
) -> dict[str, Path]:
    """A wheel of each package, by name, fetched into `folder` where it is not there yet.

    Raises `BundleError` where one cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = dict(_present(wanted, folder))
    missing = [one for one in wanted if one.name not in found]
    if missing:
        say(f"  packages: {len(found)} of {len(wanted)} are here, fetching the others")
    for start in range(0, len(missing), AT_ONCE):
        batch = missing[start : start + AT_ONCE]
        if _fetch(batch, target, folder) is not None:
            for one in batch:
                if _fetch([one], target, folder) is not None:
                    _build(one, folder)
        found |= dict(_present(batch, folder))
        say(f"  packages: {len(found)} of {len(wanted)}")
    lacking = [one for one in wanted if one.name not in found]
    if lacking:
        raise BundleError(f"no wheel arrived of {', '.join(one.name for one in lacking)}")
    return found


def lock_of(wheels: Iterable[Path]) -> str:
    """A lock of exactly these files; those that were built here are in no other."""
    lines = []
    for wheel in wheels:
        name, version, _, _ = parse_wheel_filename(wheel.name)
        lines.append(f"{name}=={version} --hash=sha256:{sha256(wheel)}\n")
    return "".join(sorted(lines))


def sha256(file: Path) -> str:
    """Of a file's content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _present(wanted: Iterable[Locked], folder: Path) -> Iterator[tuple[str, Path]]:
    by_key = {(one.name, one.version): one for one in wanted}
    for wheel in sorted(folder.glob("*.whl")):
        try:
            name, version, _, _ = parse_wheel_filename(wheel.name)
        except InvalidWheelFilename:
            continue
        one = by_key.get((name, str(version)))
        if one is not None and sha256(wheel) in one.sha256:
            yield one.name, wheel
    for one in by_key.values():
        for wheel in sorted(_built(one, folder).glob("*.whl")):
            yield one.name, wheel


def _built(one: Locked, folder: Path) -> Path:
    """Where the wheel of a package lies that was built here from what the lock names."""
    return folder / "built" / hashlib.sha256(one.line.encode()).hexdigest()


def _fetch(batch: Sequence[Locked], target: Target, folder: Path) -> str | None:
    """Fetches wheels; what pip said where that failed."""
    platforms = (part for name in target.platforms for part in ("--platform", name))
    abis = (part for name in ("cp312", "abi3", "none") for part in ("--abi", name))
    return _pip(
        "download",
        *("--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON),
        *platforms,
        *abis,
        *("--dest", str(folder)),
        lines=[one.line for one in batch],
    )


def _build(one: Locked, folder: Path) -> None:
    """Builds a wheel from the source of a package. Raises `BundleError`."""
    # on the file system of the folder, so that what is made moves there in one step
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as scratch:
        source, made = Path(scratch) / "source", Path(scratch) / "made"
        # the source is built with the locked setuptools of this environment, not with another
        told = ("--no-binary", ":all:", "--no-build-isolation")
        failed = _pip("download", *told, "--dest", str(source), lines=[one.line])
        if failed is not None:
            raise BundleError(f"{one.name} {one.version} cannot be fetched:\n{failed}")
        (archive,) = source.iterdir()
        made.mkdir()
        failed = _pip(
            "wheel",
            *("--no-index", "--no-build-isolation", "--wheel-dir", str(made), str(archive)),
        )
        if failed is not None:
            raise BundleError(
                f"{one.name} {one.version} has no wheel, nor can one be built:\n{failed}"
            )
        (wheel,) = made.iterdir()
        if not wheel.name.endswith("-none-any.whl"):
            raise BundleError(
                f"{one.name} {one.version} has no wheel for the runner, and what is built of its "
                "source here is for this machine alone"
            )
        place = _built(one, folder)
        place.mkdir(parents=True, exist_ok=True)
        wheel.replace(place / wheel.name)


def _pip(command: str, *arguments: str, lines: Sequence[str] = ()) -> str | None:
    """Runs pip on packages by hash; the end of what it said where it failed."""
    with tempfile.TemporaryDirectory(prefix="falaj-bundle-") as scratch:
        asked: tuple[str, ...] = ()
        if lines:
            file = Path(scratch) / "wanted.txt"
            file.write_text("\n".join(lines), encoding="utf-8")
            asked = ("--require-hashes", "--requirement", str(file))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", command, "--quiet", "--no-deps", "--no-input"),
                *("--disable-pip-version-check", *arguments, *asked),
            ],
            env=os.environ | {"SOURCE_DATE_EPOCH": _EPOCH, "PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode == 0:
        return None
    return "\n".join(f"    {line}" for line in done.stdout.splitlines()[-_LINES_SHOWN:])
