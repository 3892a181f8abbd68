"""Prepares the stack files that belong to one machine and are therefore not in git.

Pulumi writes the salt of its encryption into a stack's file. Of the local environment that is
different on every machine, so `Pulumi.local.yaml` is made from a template, and a salt that belongs
to a passphrase which is gone is taken out.
"""

from __future__ import annotations

import re
from pathlib import Path

from stacks import environment
from tools.install import write

LOCAL = Path("stacks/config/Pulumi.local.yaml")
TEMPLATE = Path("stacks/config/templates/Pulumi.local.yaml")
_SALT = re.compile(r"^encryptionsalt:.*\n?", re.MULTILINE)


def prepare(root: Path) -> list[str]:
    """Makes the local stack file and the passphrase where missing; returns what was done."""
    done = []
    if not (root / ".state" / "passphrase").exists():
        done += [f"{path}: stale salt removed" for path in _drop_salts(root)]
        environment.passphrase_file(root)
    local = root / LOCAL
    if not local.exists():
        write(local, (root / TEMPLATE).read_text(encoding="utf-8"))
        done.append(f"{LOCAL}: made from its template; your settings go there")
    return done


def _drop_salts(root: Path) -> list[Path]:
    """Takes the salt out of every stack file of this machine."""
    changed = []
    for path in [root / LOCAL, *sorted((root / "workloads/config").glob("Pulumi.*.local.yaml"))]:
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        without = _SALT.sub("", text)
        if without != text:
            write(path, without)
            changed.append(path.relative_to(root))
    return changed
