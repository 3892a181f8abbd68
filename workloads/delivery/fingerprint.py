"""What a model is made of, in one digest: data, code, settings and libraries.

The same fingerprint means that training again would give the same model.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
from pathlib import Path

from workloads.delivery.connection import PROJECT
from workloads.delivery.spec import Workload

SHARED_CODE = (
    "evaluate.py",
    "gate.py",
    "ingest.py",
    "source.py",
    "spec.py",
    "split.py",
    "tabular.py",
    "tuning.py",
    "validate.py",
)
"""The modules of the chain that decide which model comes out and how it is judged."""

WORKLOAD_CODE = ("features.py", "model.py")

LIBRARIES = ("numpy", "pandas", "scikit-learn")


def fingerprint(workload: Workload, source_sha256: str) -> str:
    """sha256 over everything that decides the model."""
    content = {
        "source": source_sha256,
        "spec": workload.spec.digest(),
        "code": code_digest(workload),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def code_digest(workload: Workload) -> str:
    """sha256 over the names and contents of the code that decides the model."""
    total = hashlib.sha256()
    for folder, names in ((PROJECT / "delivery", SHARED_CODE), (workload.folder, WORKLOAD_CODE)):
        for name in names:
            file = folder / name
            digest = hashlib.sha256(file.read_bytes() if file.exists() else b"").hexdigest()
            total.update(f"{folder.name}/{name} {digest}\n".encode())
    return total.hexdigest()


def code_commit(workload: Workload, root: Path = PROJECT) -> str:
    """The commit of the code in `workloads/`; `uncommitted+<digest>` where it differs from it."""
    try:
        changed = _git(root, "status", "--porcelain", "--", ".")
        commit = _git(root, "rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return f"uncommitted+{code_digest(workload)[:12]}"
    return commit if not changed else f"uncommitted+{code_digest(workload)[:12]}"


def _git(folder: Path, *arguments: str) -> str:
    asked = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=True
    )
    return asked.stdout.strip()
