"""The images and charts of others that the platform runs: which they are, and at which digest.

Owns the catalogue `images.yaml`, which people edit, and the lock `images.lock.json`, which `falaj
images lock` writes. The repositories that hold the copies in the country are made by
`components/aws/image_registry.py`. Imports no Pulumi, so that commands read it fast.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Collection, Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from components.section import Section

CATALOGUE = Path(__file__).with_name("images.yaml")
LOCK = Path(__file__).with_name("images.lock.json")

Kind = Literal["images", "charts"]

_NAME = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
_HOST = r"[a-z0-9][a-z0-9.-]*(?::\d{1,5})?"
_REPOSITORY = rf"{_HOST}(?:/{_NAME})+"
_MOVING = re.compile(r"(?i)(latest|stable|edge|nightly|main|master|dev)|[^0-9]*")
"""Tags that are moved on purpose, or hold no number at all."""

ArtifactName = Annotated[str, StringConstraints(pattern=rf"^{_NAME}$", max_length=100)]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class CatalogueError(Exception):
    """The catalogue or the lock cannot be used; the message lists everything that is wrong."""


class NotLockedError(Exception):
    """Something has no digest, so nothing can say what would run."""


class Registry(Protocol):
    """Where the copies lie."""

    @property
    def registry(self) -> str:
        """Its host."""

    def repository(self, path: str) -> str:
        """The name of the environment's repository `path`."""


class Artifact(Section):
    """Something of others: an image, or a chart."""

    source: str
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}$")]
    """The tag upstream."""
    licence: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$")]
    """An SPDX identifier."""
    used_by: tuple[ArtifactName, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _stays_what_it_is(self) -> Self:
        if _MOVING.fullmatch(self.version):
            raise ValueError(f"version {self.version!r} moves: name a release")
        return self


class Image(Artifact):
    """A container image; `source` is registry and repository, such as ``ghcr.io/mlflow/mlflow``."""

    source: Annotated[str, StringConstraints(pattern=rf"^{_REPOSITORY}$")]


class Chart(Artifact):
    """A Helm chart, in an OCI registry (``oci://…``) or in a Helm repository (``https://…``)."""

    source: Annotated[
        str, StringConstraints(pattern=rf"^(oci://{_REPOSITORY}|https?://{_HOST}(/[\w.~-]+)*)$")
    ]


class Catalogue(Section):
    """Everything that is copied into the country."""

    images: dict[ArtifactName, Image] = Field(min_length=1)
    charts: dict[ArtifactName, Chart] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        problems = [
            f"charts.{name}: the last part of {chart.source} must be the chart's name"
            for name, chart in self.charts.items()
            if chart.source.startswith("oci://") and chart.source.rpartition("/")[2] != name
        ]
        seen: dict[tuple[str, str], str] = {}
        for name, image in self.images.items():
            first = seen.setdefault((image.source, image.version), name)
            if first != name:
                problems.append(f"images.{name}: is the same image as images.{first}")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def artifacts(self) -> list[tuple[Kind, str, Artifact]]:
        """Each image and chart: (kind, name, what is known of it)."""
        images: list[tuple[Kind, str, Artifact]] = [
            ("images", name, image) for name, image in self.images.items()
        ]
        return [*images, *(("charts", name, chart) for name, chart in self.charts.items())]

    def repositories(self) -> list[str]:
        """The path of each repository in the country, below the environment's own."""
        return [path_of(kind, name) for kind, name, _ in self.artifacts()]


class Attachment(Section):
    """What upstream publishes about an image: who signed it, what is in it, how it was built."""

    kind: Literal["signature", "attestation", "sbom", "other"]
    digest: Digest
    tag: str | None = None
    """Where it has a tag of its own; `None` where it is found by what it refers to."""


class Locked(Section):
    """What one version of one artifact was when it was looked up."""

    source: str
    version: str
    digest: Digest
    """Of the index over all platforms where there is one; of the package of a Helm repository."""
    media_type: str
    url: str | None = None
    """Where a Helm repository keeps the package."""
    attachments: tuple[Attachment, ...] = ()

    def is_of(self, artifact: Artifact) -> bool:
        """Whether it was looked up for what the catalogue says now."""
        return (self.source, self.version) == (artifact.source, artifact.version)


class Lock(Section):
    """The digests that were looked up."""

    images: dict[ArtifactName, Locked] = Field(default_factory=dict)
    charts: dict[ArtifactName, Locked] = Field(default_factory=dict)

    def of(self, kind: Kind, name: str, artifact: Artifact) -> Locked | None:
        """The entry of `artifact` as the catalogue says it now, `None` where there is none."""
        found: Locked | None = getattr(self, kind).get(name)
        return found if found is not None and found.is_of(artifact) else None

    def with_entry(self, kind: Kind, name: str, entry: Locked) -> Lock:
        """A lock in which `name` is `entry`."""
        return self.model_copy(update={kind: {**getattr(self, kind), name: entry}})


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Where a copy lies in the country; as text ``registry/repository:version@digest``."""

    registry: str
    repository: str
    version: str
    digest: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.version}@{self.digest}"


def image(
    name: str,
    registry: Registry,
    catalogue: Catalogue | None = None,
    lock: Lock | None = None,
    *,
    cached: Collection[str] = (),
) -> str:
    """The image `name` in the registry of the environment, pinned by digest.

    `cached` names the registries that the environment has a pull-through cache of: their images
    are taken through it, where they need no copy. Raises `CatalogueError` where there is no such
    image and `NotLockedError` where it has no digest yet.
    """
    catalogue = catalogue or _catalogue()
    found = reference("images", name, registry, catalogue, lock)
    source = catalogue.images[name].source
    if source.partition("/")[0] in cached:
        found = replace(found, repository=registry.repository(source))
    return str(found)


def chart(
    name: str, registry: Registry, catalogue: Catalogue | None = None, lock: Lock | None = None
) -> tuple[str, str]:
    """Address (``oci://…``) and version of the chart `name`; raises as `image` does."""
    catalogue = catalogue or _catalogue()
    found = reference("charts", name, registry, catalogue, lock)
    return f"oci://{found.registry}/{found.repository}", catalogue.charts[name].version


def reference(
    kind: Kind,
    name: str,
    registry: Registry,
    catalogue: Catalogue | None = None,
    lock: Lock | None = None,
) -> Reference:
    """The parts of that address, for charts that ask for them one by one; raises the same."""
    catalogue = catalogue or _catalogue()
    known: dict[str, Any] = getattr(catalogue, kind)
    if name not in known:
        raise CatalogueError(f"{CATALOGUE.name} has no {name} among its {kind}")
    found = (lock or _lock()).of(kind, name, known[name])
    if found is None:
        raise NotLockedError(
            f"{kind} {name} {known[name].version} has no digest: run `falaj images lock {name}` "
            f"where {known[name].source} can be reached, and commit {LOCK.name}"
        )
    return Reference(
        registry=registry.registry,
        repository=registry.repository(path_of(kind, name)),
        version=tag_of(found.version),
        digest=found.digest,
    )


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """The images and charts as one environment has them."""

    registry: Registry
    lock: Lock

    def image(self, name: str) -> str:
        """As `image` does."""
        return image(name, self.registry, lock=self.lock)

    def chart(self, name: str) -> tuple[str, str]:
        """As `chart` does."""
        return chart(name, self.registry, lock=self.lock)

    def unlocked(self) -> list[str]:
        """What of the catalogue has no digest, such as ``images ray``."""
        return [
            f"{kind} {name}"
            for kind, name, artifact in _catalogue().artifacts()
            if self.lock.of(kind, name, artifact) is None
        ]


def made_up(lock: Lock) -> Lock:
    """`lock` with a digest for everything that has none, for plans that nothing is made of.

    The same artifact has the same digest in every plan, so that plans can be compared.
    """
    for kind, name, artifact in _catalogue().artifacts():
        if lock.of(kind, name, artifact) is None:
            named = f"{artifact.source}:{artifact.version}".encode()
            lock = lock.with_entry(
                kind,
                name,
                Locked(
                    source=artifact.source,
                    version=artifact.version,
                    digest=f"sha256:{hashlib.sha256(named).hexdigest()}",
                    media_type="application/vnd.oci.image.index.v1+json",
                ),
            )
    return lock


@functools.cache
def _catalogue() -> Catalogue:
    """Read once: a program asks for dozens of images."""
    return read_catalogue()


@functools.cache
def _lock() -> Lock:
    return read_lock()


def path_of(kind: Kind, name: str) -> str:
    """Where an artifact lies below the repositories of an environment."""
    # Helm takes the last part of an address for the chart's name
    return name if kind == "images" else f"charts/{name}"


def tag_of(version: str) -> str:
    """`version` as a tag: Helm writes the plus of a version, which no tag may hold, as ``_``."""
    return version.replace("+", "_")


def read_catalogue(path: Path = CATALOGUE) -> Catalogue:
    """The catalogue at `path`. Raises `CatalogueError`, all problems at once."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506
        return Catalogue.model_validate(raw)
    except (OSError, yaml.YAMLError) as error:
        raise CatalogueError(f"{path}: {error}") from error
    except ValidationError as error:
        raise CatalogueError(_listed(path, error)) from error


def read_lock(path: Path = LOCK) -> Lock:
    """The lock at `path`, empty where nothing was looked up yet. Raises `CatalogueError`."""
    try:
        return Lock.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Lock()
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path}: {error}") from error
    except ValidationError as error:
        raise CatalogueError(_listed(path, error)) from error


def write_lock(lock: Lock, path: Path = LOCK) -> None:
    """Writes the lock whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    content = lock.model_dump(mode="json", exclude_defaults=True)
    try:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _listed(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        said = problem["msg"].removeprefix("Value error, ").split("\n")
        lines += [f"{where}: {line}" if where else line for line in said]
    listed = "\n".join(f"  {number}. {line}" for number, line in enumerate(lines, 1))
    return f"{path} has {len(lines)} problem{'s' if len(lines) > 1 else ''}:\n{listed}"


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"stands twice: {', '.join(twice)}", node.start_mark
            )
        return super().construct_mapping(node, deep)
