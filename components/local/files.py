"""Private files, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

TAIL_LINES = 30


def write(path: str | Path, content: str) -> None:
    """Writes `content` to `path` by rename; only the owner can read it."""
    path = Path(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def tail(path: str | Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, each indented; a sentence when there is none."""
    try:
        text = Path(path).read_text(errors="replace")
    except OSError:
        return f"    (no log at {path})"
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (empty log)"
