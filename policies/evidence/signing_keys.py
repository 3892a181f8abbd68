"""The keys that evidence is signed with: one in a file, or one that never leaves AWS KMS.

| named by | algorithm |
|---|---|
| a file | Ed25519 (RFC 8032) |
| ``awskms:///ARN``, as for cosign | ECDSA (FIPS 186-5), SHA-256 or SHA-384 by the key's curve |

Whoever has a file can sign. A key of KMS signs for those whom its policy lets, and CloudTrail says
which of them it was. It is asked in the region of its ARN and nowhere else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    SECP384R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from policies.common.arns import arn_of

KMS = "awskms:///"

type PublicKey = Ed25519PublicKey | EllipticCurvePublicKey

_HASHES: dict[str, hashes.SHA256 | hashes.SHA384] = {
    SECP256R1.name: hashes.SHA256(),
    SECP384R1.name: hashes.SHA384(),
}
"""Curve → hash, which is how KMS pairs them."""


class SigningKeyError(Exception):
    """A key cannot be used."""


class SigningKey(Protocol):
    """Signs, and says who can check it."""

    def public(self) -> bytes:
        """The public half, as PEM."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Of at most 4,096 bytes, which is what KMS takes. Raises `SigningKeyError`."""
        ...


def new_key(path: Path) -> None:
    """Writes a private key, for its owner alone, and beside it ``<name>.pub``.

    Raises `SigningKeyError` where there is a file already.
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
        raise SigningKeyError(f"{path} exists: a key is not written over") from error
    except OSError as error:
        raise SigningKeyError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)
    path.with_suffix(".pub").write_bytes(_pem(key.public_key()))


def signing_key(name: str) -> SigningKey:
    """The key in the file `name`, or that of KMS. Raises `SigningKeyError`."""
    return KmsKey.of(name.removeprefix(KMS)) if name.startswith(KMS) else FileKey.of(Path(name))


@dataclass(frozen=True)
class FileKey:
    """A private key that lies in a file."""

    private: Ed25519PrivateKey

    @classmethod
    def of(cls, path: Path) -> FileKey:
        """That in `path`. Raises `SigningKeyError`, also where others may read it."""
        try:
            if path.stat().st_mode & 0o077:
                raise SigningKeyError(f"{path} may be read by others: chmod 600 {path}")
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise SigningKeyError(
                f"{path} holds no private key: {error}; make one: falaj evidence key {path}"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyError(f"{path} holds no Ed25519 key; make one: falaj evidence key FILE")
        return cls(key)

    def public(self) -> bytes:
        """The public half, as PEM."""
        return _pem(self.private.public_key())

    def sign(self, message: bytes) -> bytes:
        """Ed25519."""
        return self.private.sign(message)


@dataclass(frozen=True)
class KmsKey:
    """A key of KMS; the right `kms:Sign` and `kms:GetPublicKey` on it are asked for."""

    arn: str
    client: Any
    key: EllipticCurvePublicKey

    @classmethod
    def of(cls, name: str) -> KmsKey:
        """That of the ARN `name`, of a key or an alias. Raises `SigningKeyError`."""
        arn = arn_of(name)
        if arn is None or arn.service != "kms" or not arn.region:
            raise SigningKeyError(
                f"{KMS}{name} names no key: {KMS}arn:aws:kms:me-central-1:<account>:key/<id>"
            )
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise SigningKeyError(
                f"{KMS} needs boto3: pip install 'falaj-policies[aws]'"
            ) from error
        client = boto3.client(
            "kms", region_name=arn.region, config=Config(retries={"mode": "standard"})
        )
        said = _asked(name, client.get_public_key, KeyId=name)
        key = serialization.load_der_public_key(said["PublicKey"])
        if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _HASHES:
            raise SigningKeyError(
                f"{name} is no key on the curve P-256 or P-384; make one of ECC_NIST_P256"
            )
        return cls(name, client, key)

    def public(self) -> bytes:
        """The public half, as PEM."""
        return _pem(self.key)

    def sign(self, message: bytes) -> bytes:
        """ECDSA, DER."""
        algorithm = f"ECDSA_SHA_{_HASHES[self.key.curve.name].digest_size * 8}"
        said = _asked(
            self.arn,
            self.client.sign,
            KeyId=self.arn,
            Message=message,
            MessageType="RAW",
            SigningAlgorithm=algorithm,
        )
        return bytes(said["Signature"])


def public_key(path: Path) -> PublicKey:
    """The public key in `path`. Raises `SigningKeyError`."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SigningKeyError(f"{path} holds no public key: {error}") from error
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in _HASHES:
        return key
    raise SigningKeyError(f"{path} holds a key of a kind that evidence is not signed with")


def is_signed(message: bytes, signature: bytes, key: PublicKey) -> bool:
    """Whether the owner of `key` signed `message`."""
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ECDSA(_HASHES[key.curve.name]))
    except InvalidSignature:
        return False
    return True


def _asked(arn: str, operation: Any, **given: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return operation(**given)
    except (BotoCoreError, ClientError) as error:
        raise SigningKeyError(f"{arn} cannot be used: {error}") from error


def _pem(key: PublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
