"""Refuses to start a server on a damaged SQLite database.

    python -m components.local.database FILE -- COMMAND

checks FILE, if it is there, and becomes COMMAND.
"""

from __future__ import annotations

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


def main(arguments: list[str]) -> None:
    """The command line described in the module's docstring."""
    path, command = Path(arguments[0]), arguments[2:]
    wrong = damage(path)
    if wrong is not None:
        raise SystemExit(
            f"{path} is damaged ({wrong}): put back its last good copy, see "
            "'A damaged registry' in docs/operations.md"
        )
    os.execvp(command[0], command)  # noqa: S606 no shell is what we want


if __name__ == "__main__":
    main(sys.argv[1:])
