"""What may be asked of signatures of images: who signs, parsed and checked, without Pulumi."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.section import Name, Section

ENFORCED = ("staging", "prod")
"""Environments that take no image without a signature."""

KmsKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:(key/[0-9a-f-]{36}|alias/[\w/-]+)$"
    ),
]
_PEM = r"-----BEGIN {0}-----\s[A-Za-z0-9+/=\s]+-----END {0}-----\s*"
PublicKey = Annotated[str, StringConstraints(pattern=f"^{_PEM.format('PUBLIC KEY')}$")]
Certificates = Annotated[str, StringConstraints(pattern=f"^({_PEM.format('CERTIFICATE')})+$")]
HttpsUrl = Annotated[str, StringConstraints(pattern=r"^https://[a-z0-9][a-z0-9.-]*(:\d+)?(/\S*)?$")]


class Keyless(Section):
    """An identity that signs with a certificate of minutes, from a Sigstore of one's own."""

    issuer: HttpsUrl
    """Who says who somebody is, such as the pipelines' identity provider."""
    subject: str = Field(min_length=3)
    """The identity itself, as the certificate names it; no pattern."""
    roots: Certificates
    """Of the authority that gives the certificates (Fulcio), PEM."""
    trust_mirror: HttpsUrl
    """The TUF repository with the keys of that Sigstore. Kyverno asks it before it verifies; the
    public one lies in the internet."""
    log: HttpsUrl
    """The transparency log (Rekor) that holds the signatures."""

    @model_validator(mode="after")
    def _is_ones_own(self) -> Self:
        problems = [
            f"{key}: {value} is the public Sigstore's, outside of the country: name one of your own"
            for key, value in (("trust_mirror", self.trust_mirror), ("log", self.log))
            if value.removeprefix("https://").partition("/")[0].endswith("sigstore.dev")
        ]
        if "*" in self.subject:
            problems.append(f"subject: {self.subject} holds a *, and an identity is one")
        if problems:
            raise ValueError("\n".join(problems))
        return self


class Signer(Section):
    """Whose signature counts: exactly one of the three."""

    kms_key: KmsKey | None = None
    """An asymmetric key of AWS KMS for signing."""
    public_key: PublicKey | None = None
    """PEM; the other half is where images are built."""
    keyless: Keyless | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        named = [key for key in type(self).model_fields if getattr(self, key) is not None]
        if len(named) != 1:
            raise ValueError(
                f"a signer is one of kms_key, public_key and keyless; here is {named or 'none'}"
            )
        return self


class SignatureSettings(Section):
    """Signatures of the images that run."""

    signers: dict[Name, Signer] = Field(default_factory=dict, max_length=8)
    """One of them has signed an image; while a key is replaced, the old one and the new."""
    sbom: Literal["cyclonedx", "spdx"] | None = None
    """The list of contents that a signer must have attested, too."""
    registry_login: Literal["amazon", "azure", "google"] | None = None
    """Whose identity opens the registry to the verifier; the place's own where none is said."""
    pull_secrets: tuple[Name, ...] = ()
    """Secrets in the verifier's namespace that open the registry, where no identity does."""


def problems_of_signatures(
    environment: str, settings: SignatureSettings, regions: Collection[str] = ()
) -> Iterator[str]:
    """What of `settings` cannot be; each begins with its key. `regions` are those allowed."""
    if environment in ENFORCED and not settings.signers:
        yield (
            f"signers: is empty, and {environment} takes no image that nobody signed: name the KMS "
            "key (kms_key) or public key (public_key) that signs in the country, and sign every "
            "image with it (cosign sign --tlog-upload=false --key awskms:///<arn> <image@digest>)"
        )
    for name, signer in settings.signers.items():
        if signer.kms_key is None or not regions:
            continue
        region = signer.kms_key.split(":")[3]
        if region not in regions:
            yield (
                f"signers.{name}.kms_key: is in {region}, and allowed are "
                f"{', '.join(sorted(regions))}: a signature would hang on a key outside"
            )
