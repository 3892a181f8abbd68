"""`falaj images` against a registry that answers on loopback: digests, signatures, faults."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from components.images import Catalogue, Lock, read_catalogue, read_lock
from stacks.images import app, resolve
from stacks.registry import INDEXES, MANIFESTS, PACKAGE, Registries, RegistryError, UnreachableError

INDEX, MANIFEST = INDEXES[0], MANIFESTS[0]


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class World:
    """What the registry holds, and how it behaves."""

    address: str = ""
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Path below ``/v2/`` → media type and content."""
    referrers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pages: dict[str, bytes] = field(default_factory=dict)
    """Anything that is no part of the distribution API."""
    asks_for_token: bool = True
    gives_tokens: bool = True
    says_digest: bool = True
    knows_referrers: bool = True
    busy: list[int] = field(default_factory=list)
    """Statuses that the next answers have before it works again."""
    requests: Counter[str] = field(default_factory=Counter)

    def image(self, repository: str, tag: str, content: bytes, kind: str = INDEX) -> str:
        """Puts an image there; gives its digest."""
        digest = digest_of(content)
        for reference in (tag, digest):
            self.manifests[f"{repository}/manifests/{reference}"] = (kind, content)
        return digest


class Handler(BaseHTTPRequestHandler):
    """The part of the distribution API that is asked."""

    world: World

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, *, body: bool = True) -> None:
        world, address = self.world, urllib.parse.urlsplit(self.path)
        path = address.path
        world.requests[f"{self.command} {path}"] += 1
        if world.busy:
            self.answer(world.busy.pop(0), b"", {"Retry-After": "0"})
        elif path == "/token":
            query = dict(urllib.parse.parse_qsl(address.query))
            given = {"token": query["scope"]} if world.gives_tokens else {"details": "who are you"}
            self.answer(200 if world.gives_tokens else 401, json.dumps(given).encode())
        elif path in world.pages:
            self.answer(200, world.pages[path])
        elif not path.startswith("/v2/"):
            self.answer(404, b"")
        else:
            self.of_repository(path.removeprefix("/v2/"), body)

    def of_repository(self, path: str, body: bool) -> None:
        world = self.world
        repository = path.rsplit("/", 2)[0]
        scope = f"repository:{repository}:pull"
        if world.asks_for_token and self.headers.get("Authorization") != f"Bearer {scope}":
            challenge = (
                f'Bearer realm="http://{world.address}/token",service="test",scope="{scope}"'
            )
            self.answer(401, b"", {"WWW-Authenticate": challenge})
        elif "/referrers/" in path and world.knows_referrers:
            listed = {"manifests": world.referrers.get(path.rpartition("/")[2], [])}
            self.answer(200, json.dumps(listed).encode(), {"Content-Type": INDEX})
        elif path in world.manifests:
            kind, content = world.manifests[path]
            headers = {"Content-Type": kind}
            if world.says_digest:
                headers["Docker-Content-Digest"] = digest_of(content)
            self.answer(200, content if body else b"", headers)
        else:
            self.answer(404, b'{"errors": []}' if body else b"")

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def world() -> Iterator[World]:
    state = World()
    handler = type("Bound", (Handler,), {"world": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    state.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def registries() -> Registries:
    return Registries(longest_wait_seconds=0)


def of(name: str, source: str, *, kind: str = "images", version: str = "1.0") -> Catalogue:
    entry = {"source": source, "version": version, "licence": "MIT", "used_by": ["tracking"]}
    unasked = {**entry, "source": "nowhere.test/unasked"}
    content: dict[str, Any] = {"images": {"unasked": unasked}}
    content.setdefault(kind, {})[name] = entry
    return Catalogue.model_validate(content)


def looked_up(registries: Registries, name: str, source: str, **more: Any) -> Any:
    catalogue = of(name, source, **more)
    (artifact,) = (one for _, known, one in catalogue.artifacts() if known == name)
    return registries.look_up(name, artifact)


# --- what is asked --------------------------------------------------------------------------------


def test_a_tag_is_resolved_to_the_digest_of_its_index_with_a_token(
    world: World, registries: Registries
) -> None:
    digest = world.image("mlflow/mlflow", "1.0", b'{"manifests": []}')
    found = looked_up(registries, "mlflow", f"{world.address}/mlflow/mlflow")

    assert (found.digest, found.media_type) == (digest, INDEX)
    assert world.requests["GET /token"] == 1, "one token serves all questions about a repository"


def test_a_registry_without_tokens_is_asked_plainly(world: World, registries: Registries) -> None:
    world.asks_for_token = False
    digest = world.image("mlflow", "1.0", b"{}", MANIFEST)

    assert looked_up(registries, "mlflow", f"{world.address}/mlflow").digest == digest
    assert world.requests["GET /token"] == 0


def test_a_registry_that_does_not_say_the_digest_has_it_computed(
    world: World, registries: Registries
) -> None:
    world.says_digest = False
    digest = world.image("mlflow", "1.0", b'{"layers": []}')

    assert looked_up(registries, "mlflow", f"{world.address}/mlflow").digest == digest


def test_a_signature_an_attestation_and_a_list_of_parts_are_found(
    world: World, registries: Registries
) -> None:
    digest = world.image("mlflow", "1.0", b"{}")
    stem = digest.replace(":", "-")
    signature = world.image("mlflow", f"{stem}.sig", b'{"sig": 1}', MANIFEST)
    attestation = world.image("mlflow", f"{stem}.att", b'{"att": 1}', MANIFEST)
    parts = digest_of(b"spdx")
    world.referrers[digest] = [{"digest": parts, "artifactType": "application/spdx+json"}]
    found = looked_up(registries, "mlflow", f"{world.address}/mlflow")

    assert {(one.kind, one.digest, one.tag) for one in found.attachments} == {
        ("sbom", parts, None),
        ("signature", signature, f"{stem}.sig"),
        ("attestation", attestation, f"{stem}.att"),
    }


@pytest.mark.parametrize(
    ("artifact_type", "kind"),
    [
        ("application/vnd.dev.cosign.artifact.sig.v1+json", "signature"),
        ("application/vnd.cncf.notary.signature", "signature"),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "signature"),
        ("application/vnd.in-toto+json", "attestation"),
        ("application/vnd.cyclonedx+json", "sbom"),
        ("application/x-other", "other"),
    ],
)
def test_what_refers_to_an_image_is_told_apart(
    world: World, registries: Registries, artifact_type: str, kind: str
) -> None:
    digest = world.image("mlflow", "1.0", b"{}")
    world.referrers[digest] = [{"digest": digest_of(b"x"), "artifactType": artifact_type}]
    (found,) = looked_up(registries, "mlflow", f"{world.address}/mlflow").attachments

    assert found.kind == kind


def test_an_older_registry_keeps_what_refers_under_a_tag(
    world: World, registries: Registries
) -> None:
    world.knows_referrers = False
    digest = world.image("mlflow", "1.0", b"{}")
    listed = {"manifests": [{"digest": digest_of(b"s"), "artifactType": "application/spdx+json"}]}
    world.image("mlflow", digest.replace(":", "-"), json.dumps(listed).encode())
    (found,) = looked_up(registries, "mlflow", f"{world.address}/mlflow").attachments

    assert (found.kind, found.digest) == ("sbom", digest_of(b"s"))


def test_a_chart_of_a_helm_repository_has_the_digest_of_its_index(
    world: World, registries: Registries
) -> None:
    package = digest_of(b"package")
    entry = {"version": "1.0", "digest": package[7:], "urls": ["kueue-1.0.tgz"]}
    world.pages["/charts/index.yaml"] = yaml.safe_dump({"entries": {"kueue": [entry]}}).encode()
    found = looked_up(registries, "kueue", f"http://{world.address}/charts", kind="charts")

    assert (found.digest, found.media_type) == (package, PACKAGE)
    assert found.url == f"http://{world.address}/charts/kueue-1.0.tgz"


def test_a_chart_whose_index_has_no_digest_is_fetched(world: World, registries: Registries) -> None:
    entry = {"version": 1.0, "urls": [f"http://{world.address}/files/kueue.tgz"]}
    world.pages["/index.yaml"] = yaml.safe_dump({"entries": {"kueue": [entry]}}).encode()
    world.pages["/files/kueue.tgz"] = b"package"
    found = looked_up(registries, "kueue", f"http://{world.address}", kind="charts")

    assert found.digest == digest_of(b"package")


def test_an_oci_chart_is_asked_for_like_an_image(world: World, registries: Registries) -> None:
    digest = world.image("charts/kueue", "1.0_2", b"{}", MANIFEST)
    source = f"oci://{world.address}/charts/kueue"
    found = looked_up(registries, "kueue", source, kind="charts", version="1.0+2")

    assert found.digest == digest


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_registry_is_asked_again(world: World, registries: Registries, status: int) -> None:
    digest = world.image("mlflow", "1.0", b"{}")
    world.busy = [status, status]

    assert looked_up(registries, "mlflow", f"{world.address}/mlflow").digest == digest


def test_a_registry_that_stays_busy_is_given_up(world: World, registries: Registries) -> None:
    world.busy = [429] * 20
    with pytest.raises(RegistryError, match="asks to come back later"):
        looked_up(registries, "mlflow", f"{world.address}/mlflow")
    assert len(world.busy) == 16


def test_a_version_that_does_not_exist_is_told(world: World, registries: Registries) -> None:
    world.image("mlflow", "1.1", b"{}")
    with pytest.raises(RegistryError, match=r"mlflow has no tag 1\.0: check the version"):
        looked_up(registries, "mlflow", f"{world.address}/mlflow")


def test_a_chart_that_does_not_exist_is_told(world: World, registries: Registries) -> None:
    world.pages["/index.yaml"] = yaml.safe_dump({"entries": {}}).encode()
    with pytest.raises(RegistryError, match=r"has no chart kueue 1\.0"):
        looked_up(registries, "kueue", f"http://{world.address}", kind="charts")


def test_a_registry_that_wants_a_login_is_told(world: World, registries: Registries) -> None:
    world.gives_tokens = False
    with pytest.raises(RegistryError, match="no token without a login"):
        looked_up(registries, "mlflow", f"{world.address}/mlflow")


def test_a_page_that_is_no_manifest_is_no_image(world: World, registries: Registries) -> None:
    world.image("mlflow", "1.0", b"<html>", "text/html")
    with pytest.raises(RegistryError, match="answers with text/html, not an image"):
        looked_up(registries, "mlflow", f"{world.address}/mlflow")


def test_a_host_that_cannot_be_reached_is_asked_once_for_all_its_images() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        registries = Registries(longest_wait_seconds=0)
        with pytest.raises(UnreachableError, match=f"{address} cannot be reached from here"):
            looked_up(registries, "mlflow", f"{address}/mlflow")
        assert address in registries._unreachable
        with pytest.raises(UnreachableError):
            looked_up(registries, "other", f"{address}/other")


# --- the lock -------------------------------------------------------------------------------------


@pytest.fixture
def files(world: World, tmp_path: Path) -> tuple[Path, Path]:
    """A catalogue of three images of the registry, and where its lock will be."""
    images = {
        name: {
            "source": f"{world.address}/{name}",
            "version": "1.0",
            "licence": "MIT",
            "used_by": ["tracking"],
        }
        for name in ("first", "second", "third")
    }
    path = tmp_path / "images.yaml"
    path.write_text(yaml.safe_dump({"images": images}))
    return path, tmp_path / "images.lock.json"


def falaj(files: tuple[Path, Path], *arguments: str) -> Any:
    return CliRunner().invoke(
        app, [*arguments, "--catalogue", str(files[0]), "--lock", str(files[1])]
    )


def test_digests_are_written_and_not_asked_for_twice(
    world: World, files: tuple[Path, Path]
) -> None:
    digests = {
        name: world.image(name, "1.0", name.encode()) for name in ("first", "second", "third")
    }
    assert falaj(files, "lock").exit_code == 0
    assert {name: one.digest for name, one in read_lock(files[1]).images.items()} == digests

    world.requests.clear()
    done = falaj(files, "lock", "--json")
    assert {one["outcome"] for one in json.loads(done.stdout)} == {"unchanged"}
    assert not world.requests


def test_what_fails_leaves_the_rest_and_is_done_at_the_next_try(
    world: World, files: tuple[Path, Path]
) -> None:
    world.image("first", "1.0", b"1")
    world.image("third", "1.0", b"3")
    done = falaj(files, "lock")
    assert done.exit_code == 1
    assert "second: " in done.output
    assert "has no tag 1.0" in done.output
    assert "2 of 3 have a digest" in done.output
    assert read_lock(files[1]).images.keys() == {"first", "third"}

    world.image("second", "1.0", b"2")
    world.requests.clear()
    assert falaj(files, "lock").exit_code == 0
    assert not [path for path in world.requests if "first" in path]
    assert read_lock(files[1]).images.keys() == {"first", "second", "third"}


def test_answers_are_kept_although_the_rest_is_cut_short(
    world: World, registries: Registries, files: tuple[Path, Path]
) -> None:
    for name in ("first", "second", "third"):
        world.image(name, "1.0", name.encode())
    kept: list[Lock] = []
    answers = resolve(read_catalogue(files[0]).artifacts(), Lock(), registries.look_up, kept.append)
    next(answers)
    answers.close()

    assert kept
    assert kept[-1].images


def test_a_tag_that_moved_is_an_error_and_not_taken_over(
    world: World, files: tuple[Path, Path]
) -> None:
    old = {name: world.image(name, "1.0", name.encode()) for name in ("first", "second", "third")}
    assert falaj(files, "lock").exit_code == 0
    new = world.image("second", "1.0", b"something else")

    done = falaj(files, "lock", "--again")
    assert done.exit_code == 1
    assert f"was {old['second']} and is now {new}" in done.output
    assert read_lock(files[1]).images["second"].digest == old["second"]


def test_only_what_is_named_is_asked_for(world: World, files: tuple[Path, Path]) -> None:
    world.image("first", "1.0", b"1")
    assert falaj(files, "lock", "first").exit_code == 0
    assert not [path for path in world.requests if "second" in path]
    strange = falaj(files, "lock", "fourth")
    assert strange.exit_code == 1
    assert "the catalogue has no fourth" in str(strange.exception)


# --- the copy plan --------------------------------------------------------------------------------

DESTINATION = "123456789012.dkr.ecr.me-central-1.amazonaws.com/falaj-dev"


def test_the_plan_copies_each_image_by_digest_with_what_is_attached_to_it(
    world: World, files: tuple[Path, Path]
) -> None:
    digests = {
        name: world.image(name, "1.0", name.encode()) for name in ("first", "second", "third")
    }
    stem = digests["first"].replace(":", "-")
    signature = world.image("first", f"{stem}.sig", b"signed", MANIFEST)
    parts = digest_of(b"parts")
    world.referrers[digests["first"]] = [{"digest": parts, "artifactType": "application/spdx+json"}]
    falaj(files, "lock")
    rows = [
        line.split("\t") for line in falaj(files, "plan", "-s", "dev", "--list").stdout.splitlines()
    ]
    upstream = f"{world.address}/first"

    assert rows[:3] == [
        [f"{upstream}@{digests['first']}", f"{DESTINATION}/first:1.0", "image", digests["first"]],
        [f"{upstream}@{parts}", f"{DESTINATION}/first@{parts}", "sbom", parts],
        [f"{upstream}@{signature}", f"{DESTINATION}/first:{stem}.sig", "signature", signature],
    ]
    assert len(rows) == 5


def test_a_list_for_a_mirror_job_is_complete_or_an_error(files: tuple[Path, Path]) -> None:
    done = falaj(files, "plan", "-s", "dev", "--list")
    assert done.exit_code == 1
    assert "3 of 3 have no digest" in str(done.exception)
    assert not done.stdout


def test_the_table_says_what_has_no_digest_yet(files: tuple[Path, Path]) -> None:
    done = falaj(files, "plan", "-s", "dev")
    assert done.exit_code == 0
    assert "3 have no digest yet: run `falaj images lock`" in " ".join(done.stdout.split())


def test_the_plan_of_the_real_catalogue_leads_into_the_country_alone() -> None:
    done = CliRunner().invoke(app, ["plan", "-s", "dev", "--json"])
    found = json.loads(done.stdout)
    names = {(one["kind"] in ("chart", "package"), one["name"]) for one in found}

    assert all(one["destination"].startswith(f"{DESTINATION}/") for one in found)
    assert len(names) == len(read_catalogue().artifacts())


def test_an_environment_on_one_machine_needs_no_copies() -> None:
    done = CliRunner().invoke(app, ["plan", "-s", "local"])
    assert "needs no copies" in str(done.exception)
