"""Files written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as JSON for the owner alone; a kill or a power cut leaves the old file."""
    write_bytes(path, f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` for the owner alone; a kill or a power cut leaves the old file, or none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append_json(path: Path, content: Any) -> None:
    """Adds `content` as a line of JSON, on the disk when it returns.

    A line that a full disk or a kill cut short stays one bad line: the next one begins anew.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        line = ("\n" if is_cut else "") + json.dumps(content) + "\n"
        # one write at the end of the file is whole or not there, but on a disk that is full
        if os.write(descriptor, line.encode()) < len(line.encode()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any | None:
    """The content of a JSON file, `None` when it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
