"""Writes the auditor pack as files that can be told from altered ones, and checks them.

`manifest.json` holds the hash of each file; its signature is `manifest.sig`, by a key of
`policies.evidence.signing_keys`. Where there is Sigstore, sign `manifest.json` with it as well
(``cosign sign-blob``).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policies.evidence.signing_keys import SigningKey, is_signed, public_key

EVIDENCE, CONTROLS, REPORT = "evidence.json", "controls.csv", "report.html"
MANIFEST, SIGNATURE, PUBLIC_KEY = "manifest.json", "manifest.sig", "evidence.pub"


class SealError(Exception):
    """The pack cannot be written, or is not what was signed."""


def write(folder: Path, evidence: Mapping[str, Any], report: str, key: SigningKey) -> None:
    """Writes the pack to `folder`, which must not be there; whole or not at all.

    Raises `SealError` and `SigningKeyError`.
    """
    if folder.exists():
        raise SealError(f"{folder} exists: evidence is not written over")
    contents = {
        EVIDENCE: json.dumps(evidence, indent=2, ensure_ascii=False).encode() + b"\n",
        CONTROLS: _controls(evidence).encode(),
        REPORT: report.encode(),
        PUBLIC_KEY: key.public(),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = json.dumps({"files": hashes}, indent=2, sort_keys=True).encode() + b"\n"
    contents |= {MANIFEST: manifest, SIGNATURE: key.sign(manifest)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for name, content in contents.items():
                (unfinished / name).write_bytes(content)
            unfinished.chmod(0o755)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise SealError(f"{folder} cannot be written: {error}") from error


def verify(folder: Path, key: Path) -> dict[str, Any]:
    """The evidence in `folder`, as it was when the owner of the public key in `key` signed it.

    Raises `SealError`, which says what is missing, altered or too much, and `SigningKeyError`.
    """
    signer = public_key(key)
    try:
        manifest = (folder / MANIFEST).read_bytes()
        signature = (folder / SIGNATURE).read_bytes()
        there = {file.name for file in folder.iterdir()}
    except OSError as error:
        raise SealError(f"{folder} cannot be verified: {error}") from error
    if not is_signed(manifest, signature, signer):
        raise SealError(f"{folder / MANIFEST} was not signed with the key {key}")
    hashes = json.loads(manifest)["files"]
    problems = [f"{name} is too much" for name in sorted(there - {*hashes, MANIFEST, SIGNATURE})]
    for name, expected in sorted(hashes.items()):
        if name not in there:
            problems.append(f"{name} is missing")
        elif hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            problems.append(f"{name} was altered")
    if problems:
        raise SealError(f"{folder} is not what was signed: {'; '.join(problems)}")
    return dict(json.loads((folder / EVIDENCE).read_text(encoding="utf-8")))


def _controls(evidence: Mapping[str, Any]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("control", "framework", "outcome", "rules"))
    for one in evidence["controls"]:
        table.writerow((one["control"], one["framework"], one["outcome"], " ".join(one["rules"])))
    return text.getvalue()
