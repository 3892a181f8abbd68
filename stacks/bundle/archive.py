"""The file of a bundle: what is in it, byte for byte the same for the same parts.

Order, times, owners and modes are set here, not taken from the machine. One thing is the machine's:
another implementation of zlib may pack the same bytes differently.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stacks.bundle import BundleError

MANIFEST = ".bundle/manifest.json"
FORMAT = 1
_LEVEL = 6


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file of a bundle."""

    path: str
    """In the bundle."""
    content: bytes | Path
    executable: bool = False
    link: str | None = None
    """Where a symbolic link leads; it has no content."""

    @property
    def size_bytes(self) -> int:
        """Of the content."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def open(self) -> io.BytesIO | io.BufferedReader:
        """The content, to be read once."""
        return (
            io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")
        )


def manifest(parts: Sequence[Part], facts: Mapping[str, Any]) -> bytes:
    """What is in a bundle and where it comes from, as JSON: `facts`, and path → sha256."""
    files = {}
    for part in parts:
        if part.link is None:
            with part.open() as opened:
                files[part.path] = hashlib.file_digest(opened, "sha256").hexdigest()
    told = {"format": FORMAT, **facts, "files": files}
    return json.dumps(told, indent=1, sort_keys=True).encode() + b"\n"


def read(file: Path) -> dict[str, Any]:
    """The manifest of the bundle in `file`. Raises `BundleError` where it is none."""
    try:
        # it comes first, so that nothing else is unpacked
        with tarfile.open(file, "r|gz") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.name == MANIFEST else None
                if content is None:
                    break
                return dict(json.load(content))
    except (OSError, tarfile.TarError, ValueError) as error:
        raise BundleError(f"{file} cannot be read as a bundle: {error}") from None
    raise BundleError(f"{file} is no bundle: `falaj bundle` makes one")


def write(
    parts: Sequence[Part], file: Path, *, seconds: int, progress: Callable[[int, int], None]
) -> str:
    """Packs `parts` into `file`, whole or not at all, and gives its sha256.

    `seconds` is the time that all of them carry; `progress` hears bytes done and bytes in all.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    total = sum(part.size_bytes for part in parts)
    done = 0
    try:
        with (
            partial.open("wb") as raw,
            gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for part in sorted(parts, key=lambda part: part.path):
                entry = tarfile.TarInfo(part.path)
                entry.mtime = seconds
                entry.mode = 0o755 if part.executable else 0o644
                if part.link is not None:
                    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, part.link, 0o777
                    tar.addfile(entry)
                    continue
                entry.size = part.size_bytes
                with part.open() as opened:
                    tar.addfile(entry, opened)
                done += entry.size
                progress(done, total)
        with partial.open("rb") as made:
            digest = hashlib.file_digest(made, "sha256").hexdigest()
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return digest
