"""`falaj images`: which images of others to copy into the country, and at which digests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stacks.table import show

if TYPE_CHECKING:
    from components.images import Artifact, Catalogue, Kind, Lock, Locked, Registry

app = typer.Typer(
    no_args_is_help=True,
    help="What is copied into the account's own registry: images, charts, signatures.",
)

_AT_ONCE = 8
"""Registries are asked for so many images side by side."""

CatalogueFile = Annotated[
    Path | None, typer.Option("--catalogue", help="Another file than components/images.yaml.")
]
LockFile = Annotated[
    Path | None, typer.Option("--lock", help="Another file than components/images.lock.json.")
]


class ImagesError(Exception):
    """What was asked for cannot be done."""


# --- the copy plan --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One thing to copy."""

    name: str
    kind: Literal["image", "chart", "package", "signature", "attestation", "sbom", "other"]
    """`package`: a chart's file out of a Helm repository, to be pushed with `helm push`."""
    source: str
    """By digest where it is known, else by tag."""
    destination: str
    """With a tag, but for what has none."""
    digest: str | None
    """What must arrive; `None` until it was looked up."""
    version: str
    licence: str


def copies(catalogue: Catalogue, lock: Lock, registry: Registry) -> list[Copy]:
    """Everything to copy for an environment, each image before what is attached to it."""
    found: list[Copy] = []
    for kind, name, artifact in catalogue.artifacts():
        found += _copies(kind, name, artifact, lock.of(kind, name, artifact), registry)
    return found


def _copies(
    kind: Kind, name: str, artifact: Artifact, locked: Locked | None, registry: Registry
) -> Iterator[Copy]:
    from components.images import path_of, tag_of

    source = artifact.source.removeprefix("oci://")
    repository = f"{registry.registry}/{registry.repository(path_of(kind, name))}"
    common: dict[str, Any] = {
        "name": name,
        "version": artifact.version,
        "licence": artifact.licence,
    }
    digest = locked.digest if locked else None
    destination = f"{repository}:{tag_of(artifact.version)}"
    if source.startswith("http"):
        where = locked.url if locked and locked.url else f"{source}#{name}-{artifact.version}"
        yield Copy(kind="package", source=where, destination=destination, digest=digest, **common)
        return
    at = f"@{digest}" if digest else f":{tag_of(artifact.version)}"
    yield Copy(
        kind="image" if kind == "images" else "chart",
        source=source + at,
        destination=destination,
        digest=digest,
        **common,
    )
    for one in locked.attachments if locked else ():
        at = f":{one.tag}" if one.tag else f"@{one.digest}"
        yield Copy(
            kind=one.kind,
            source=f"{source}@{one.digest}",
            destination=repository + at,
            digest=one.digest,
            **common,
        )


@app.command(epilog="Example:  falaj images plan -s prod --list > copies.tsv")
def plan(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The environment to copy for.")],
    *,
    as_list: Annotated[
        bool,
        typer.Option(
            "--list",
            help="Print source, destination, kind and digest, separated by tabs, one copy a line, "
            "for a mirror job; an error while a digest is missing.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the copies as JSON.")] = False,
    catalogue: CatalogueFile = None,
    lock: LockFile = None,
) -> None:
    """Say what to copy from where to where, with signatures and lists of parts.

    Every index is copied whole (skopeo copy --all, crane copy, oras copy): another choice of
    platforms would have another digest. Repositories refuse a tag that they hold, so a mirror job
    asks first which digests have arrived. What has no tag of its own refers to its image by
    digest: oras copies it.
    """
    from components.images import CATALOGUE, LOCK, read_catalogue, read_lock

    found = copies(
        read_catalogue(catalogue or CATALOGUE), read_lock(lock or LOCK), _registry_of(stack)
    )
    missing = [one.name for one in found if one.digest is None]
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
    elif as_list:
        if missing:
            raise ImagesError(
                f"{len(missing)} of {len(found)} have no digest, such as {missing[0]}: run "
                "`falaj images lock` where their registries can be reached"
            )
        for one in found:
            typer.echo("\t".join((one.source, one.destination, one.kind, str(one.digest))))
    else:
        _show(stack, found, missing)


def _show(stack: str, found: list[Copy], missing: list[str]) -> None:
    host = found[0].destination.partition("/")[0]
    rows = [
        (
            one.source.partition("@")[0],
            one.destination.partition("/")[2],
            one.kind,
            one.licence,
            one.digest.removeprefix("sha256:")[:12] if one.digest else "—",
        )
        for one in found
    ]
    note = (
        f"{len(missing)} have no digest yet: run `falaj images lock` where their registries "
        "can be reached, and commit components/images.lock.json."
    )
    show(
        f"{stack}: {len(found)} copies into {host}",
        ("from", "to", "what", "licence", "digest"),
        rows,
        notes=[note] if missing else [],
    )


def _registry_of(environment: str) -> Registry:
    from components.aws.scope import Scope
    from stacks import settings

    found = settings.read_file(environment)
    if found.kubernetes is not None:
        return found.kubernetes
    if found.aws is None:
        raise ImagesError(f"{environment} runs on no cluster, and needs no copies")
    return Scope(environment=environment, account_id=found.aws.account_id, region=found.aws.region)


# --- digests --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of one artifact."""

    kind: Kind
    name: str
    outcome: Literal["locked", "unchanged", "moved", "failed"]
    digest: str | None = None
    message: str = ""


def resolve(
    wanted: Iterable[tuple[Kind, str, Artifact]],
    lock: Lock,
    look_up: Callable[[str, Artifact], Locked],
    keep: Callable[[Lock], None],
    *,
    again: bool = False,
) -> Iterator[Answer]:
    """Looks up what has no digest yet and keeps each answer at once, so that it can be cut short.

    With `again` those that have one are asked for too: a tag that has moved is told, and not taken
    over. `look_up` raises `RegistryError`.
    """
    from stacks.registry import RegistryError

    guard = threading.Lock()
    known = lock

    def ask(kind: Kind, name: str, artifact: Artifact) -> Answer:
        nonlocal known
        old = known.of(kind, name, artifact)
        if old is not None and not again:
            return Answer(kind=kind, name=name, outcome="unchanged", digest=old.digest)
        try:
            new = look_up(name, artifact)
        except RegistryError as error:
            return Answer(kind=kind, name=name, outcome="failed", message=str(error))
        if old is not None and old.digest != new.digest:
            return Answer(
                kind=kind,
                name=name,
                outcome="moved",
                digest=old.digest,
                message=f"{artifact.version} was {old.digest} and is now {new.digest}",
            )
        with guard:
            if known.of(kind, name, artifact) != new:
                known = known.with_entry(kind, name, new)
                keep(known)
        outcome: Literal["locked", "unchanged"] = "unchanged" if old is not None else "locked"
        return Answer(kind=kind, name=name, outcome=outcome, digest=new.digest)

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        asked = [pool.submit(ask, *one) for one in wanted]
        try:
            yield from (one.result() for one in as_completed(asked))
        finally:
            pool.shutdown(cancel_futures=True)


@app.command("lock", epilog="Example:  falaj images lock mlflow ray")
def lock_digests(
    names: Annotated[
        list[str] | None, typer.Argument(help="Images and charts; all where none is named.")
    ] = None,
    *,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Ask for those that have a digest too: a tag that moved is an error."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
    catalogue: CatalogueFile = None,
    lock: LockFile = None,
) -> None:
    """Look the digests up that the catalogue's versions have, where the network allows.

    Can be stopped and started again: what was answered is kept. Exit status 1 when one has no
    digest, or another than before; to take a moved tag over, remove its entry from the lock.
    """
    from components.images import CATALOGUE, LOCK, read_catalogue, read_lock, write_lock
    from stacks.registry import Registries

    file = lock or LOCK
    all_of_them = read_catalogue(catalogue or CATALOGUE).artifacts()
    wanted = [one for one in all_of_them if not names or one[1] in names]
    strangers = set(names or ()) - {name for _, name, _ in wanted}
    if strangers:
        raise ImagesError(f"the catalogue has no {', '.join(sorted(strangers))}")

    answers = []
    for answer in resolve(
        wanted,
        read_lock(file),
        Registries().look_up,
        lambda known: write_lock(known, file),
        again=again,
    ):
        answers.append(answer)
        if not as_json and answer.outcome != "unchanged":
            _tell(answer)
    bad = [one for one in answers if one.outcome in ("failed", "moved")]
    if as_json:
        answers.sort(key=lambda one: (one.kind, one.name))
        typer.echo(json.dumps([asdict(one) for one in answers], indent=2))
    else:
        typer.echo(f"{len(answers) - len(bad)} of {len(answers)} have a digest in {file.name}.")
    if bad:
        raise typer.Exit(1)


def _tell(answer: Answer) -> None:
    what = answer.name if answer.kind == "images" else f"chart {answer.name}"
    if answer.outcome == "locked":
        typer.echo(f"{what}: {answer.digest}")
    else:
        typer.secho(f"{what}: {answer.message}", err=True, fg=typer.colors.RED)
