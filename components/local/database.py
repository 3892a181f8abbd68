"""Refuses to start a server on a damaged SQLite database, and keeps a copy of a sound one.

    python -m components.local.database FILE -- COMMAND

checks FILE, if it is there, copies it to FILE's `copy_of` and becomes COMMAND.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from pathlib import Path


def damage(path: Path) -> str | None:
    """What is wrong with the database at `path`, `None` for a sound one or none."""
    if not path.exists():
        return None
    try:
        with sqlite3.connect(path) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == "ok" else str(found).splitlines()[0]


def copy_of(path: Path) -> Path:
    """Where the copy of the database at `path` is: what it held when its server last started."""
    return path.with_name(f"{path.stem}-copy{path.suffix}")


def keep_copy(path: Path) -> None:
    """Copies the database at `path`, if it is there; the copy is whole or the one before."""
    if not path.exists():
        return
    temporary = path.with_name(f".{copy_of(path).name}")
    temporary.unlink(missing_ok=True)
    temporary.touch(0o600)
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(temporary)) as target,
    ):
        source.backup(target)
    temporary.replace(copy_of(path))


def main(arguments: list[str]) -> None:
    """The command line described in the module's docstring."""
    path, command = Path(arguments[0]), arguments[2:]
    wrong = damage(path)
    if wrong is not None:
        raise SystemExit(
            f"{path} is damaged ({wrong}): put back its last good copy, see "
            "'A damaged registry' in docs/operations.md"
        )
    try:
        keep_copy(path)
    except (OSError, sqlite3.Error) as error:
        # a full disk is no reason not to serve what is there
        sys.stderr.write(f"{copy_of(path)} could not be written: {error}\n")
    os.execvp(command[0], command)  # noqa: S606 no shell is what we want


if __name__ == "__main__":
    main(sys.argv[1:])
