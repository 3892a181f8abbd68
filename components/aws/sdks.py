"""By what images sign in to AWS: an SDK that is older than Pod Identity never does.

Data in `sdks.yaml`, kept by hand, since nobody sees into an image from outside. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import StringConstraints, model_validator

from components.section import Section

FILE = Path(__file__).with_name("sdks.yaml")

Version = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]


class Least(Section):
    """The oldest version that knows Pod Identity."""

    version: Version
    because: str | None = None
    """Where the user guide does not say it."""


class Sdk(Section):
    """What an image has."""

    sdk: str
    version: Version | None = None
    read: str | None = None
    """Where the version was read, or of which release of the image."""
    unread: str | None = None
    """The command that tells the version, where nobody here could read it."""

    @model_validator(mode="after")
    def _is_read_or_not(self) -> Self:
        if (self.version is None) != (self.read is None) or bool(self.read) == bool(self.unread):
            raise ValueError("has either version and read, or unread")
        return self


class Sdks(Section):
    """What `sdks.yaml` holds."""

    least: dict[str, Least]
    others: dict[str, Sdk]
    ours: dict[str, str]
    none: tuple[str, ...]


@cache
def sdks() -> Sdks:
    """The SDKs of the images that run as somebody to AWS."""
    return Sdks.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def problems_of_sdks(images: Iterable[str], locked: Mapping[str, str]) -> Iterator[str]:
    """Which of `images`, by name, would be nobody to AWS; `locked` is package → locked version.

    What is unread is no problem: docs/first-deployment.md has it among what nobody has verified.
    """
    known = sdks()
    for image in images:
        if image in known.none:
            continue
        if image not in known.others and image not in known.ours:
            yield (
                f"{image}: nobody says by what it signs in to AWS: add it to "
                f"components/aws/{FILE.name}"
            )
            continue
        sdk = known.ours.get(image) or known.others[image].sdk
        has = locked[sdk] if image in known.ours else known.others[image].version
        least = known.least[sdk].version
        if has is not None and _parts(has) < _parts(least):
            yield (
                f"{image}: {sdk} {has} is older than Pod Identity, which {least} is the first with"
            )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
