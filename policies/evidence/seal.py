"""Writes the auditor pack as files that can be told from altered ones, and checks them.

`manifest.json` holds the hash of each file; its signature (Ed25519, RFC 8032) is `manifest.sig`. A
key on the machine that made the pack says who had the key, not who that was: where there is a KMS
or Sigstore, sign `manifest.json` with it as well (``cosign sign-blob``).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

EVIDENCE, CONTROLS, REPORT = "evidence.json", "controls.csv", "report.html"
MANIFEST, SIGNATURE, PUBLIC_KEY = "manifest.json", "manifest.sig", "evidence.pub"


class SealError(Exception):
    """The pack cannot be written, or is not what was signed."""


def new_key(path: Path) -> None:
    """Writes a private key, for its owner alone, and beside it ``<name>.pub``.

    Raises `SealError` where there is a file already.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise SealError(f"{path} exists: a key is not written over") from error
    except OSError as error:
        raise SealError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)
    path.with_suffix(".pub").write_bytes(_public(key.public_key()))


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key in `path`. Raises `SealError`, also where others may read it."""
    try:
        if path.stat().st_mode & 0o077:
            raise SealError(f"{path} may be read by others: chmod 600 {path}")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SealError(
            f"{path} holds no private key: {error}; make one: falaj evidence key {path}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SealError(f"{path} holds no Ed25519 key; make one: falaj evidence key FILE")
    return key


def write(folder: Path, evidence: Mapping[str, Any], report: str, key: Ed25519PrivateKey) -> None:
    """Writes the pack to `folder`, which must not be there; whole or not at all.

    Raises `SealError`.
    """
    if folder.exists():
        raise SealError(f"{folder} exists: evidence is not written over")
    contents = {
        EVIDENCE: json.dumps(evidence, indent=2, ensure_ascii=False).encode() + b"\n",
        CONTROLS: _controls(evidence).encode(),
        REPORT: report.encode(),
        PUBLIC_KEY: _public(key.public_key()),
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


def verify(folder: Path, public_key: Path) -> dict[str, Any]:
    """The evidence in `folder`, as it was when the owner of `public_key` signed it.

    Raises `SealError`, which says what is missing, altered or too much.
    """
    try:
        key = serialization.load_pem_public_key(public_key.read_bytes())
        manifest = (folder / MANIFEST).read_bytes()
        signature = (folder / SIGNATURE).read_bytes()
        there = {file.name for file in folder.iterdir()}
    except (OSError, ValueError) as error:
        raise SealError(f"{folder} cannot be verified: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SealError(f"{public_key} holds no Ed25519 key")
    try:
        key.verify(signature, manifest)
    except InvalidSignature as error:
        raise SealError(f"{folder / MANIFEST} was not signed with the key {public_key}") from error
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


def _public(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _controls(evidence: Mapping[str, Any]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("control", "framework", "outcome", "rules"))
    for one in evidence["controls"]:
        table.writerow((one["control"], one["framework"], one["outcome"], " ".join(one["rules"])))
    return text.getvalue()
