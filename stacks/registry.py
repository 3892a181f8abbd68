"""What registries of others hold, asked over the OCI distribution API, and Helm repositories.

Owns the questions: which digest a tag has, what is attached to it, where a chart lies. What to ask
and what to keep of the answers is said by `stacks.images`. Source: the OCI distribution
specification 1.1 and, for tokens, the token authentication of the distribution project.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import httpx
import tenacity
import yaml

from components.images import Artifact, Attachment, Chart, Locked

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
"""Over all platforms; asked for first, so that one digest stands for each of them."""
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
PACKAGE = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
"""The media type of a chart's package."""

ATTEMPTS = 4
LONGEST_WAIT_SECONDS = 30.0
_TIMEOUT_SECONDS = 30.0
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOSTS = {"docker.io": "registry-1.docker.io"}
"""Where a registry answers, if not under its name."""
_BUSY = {429, 500, 502, 503, 504}
_COSIGN: Mapping[str, Literal["signature", "attestation", "sbom"]] = {
    "sig": "signature",
    "att": "attestation",
    "sbom": "sbom",
}
"""How the tags of cosign end, and what lies there."""


class RegistryError(Exception):
    """A registry did not say what was asked; the message says why."""


class UnreachableError(RegistryError):
    """The network does not let anything through to a host."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a tag or digest stands for."""

    digest: str
    media_type: str


class Registries:
    """Asks registries; remembers tokens, and hosts that cannot be reached. Safe between threads."""

    def __init__(
        self, client: httpx.Client | None = None, *, longest_wait_seconds: float | None = None
    ) -> None:
        self._client = client or httpx.Client(follow_redirects=True, timeout=_TIMEOUT_SECONDS)
        self._longest = (
            LONGEST_WAIT_SECONDS if longest_wait_seconds is None else longest_wait_seconds
        )
        self._tokens: dict[str, str] = {}
        self._unreachable: dict[str, str] = {}
        self._guard = threading.Lock()

    def look_up(self, name: str, artifact: Artifact) -> Locked:
        """What `artifact`, called `name`, is at its source now. Raises `RegistryError`."""
        if isinstance(artifact, Chart) and not artifact.source.startswith("oci://"):
            return self._package(name, artifact)
        source = artifact.source.removeprefix("oci://")
        tag = artifact.version.replace("+", "_")
        found = self.manifest(source, tag)
        if found is None:
            raise RegistryError(f"{source} has no tag {tag}: check the version")
        return Locked(
            source=artifact.source,
            version=artifact.version,
            digest=found.digest,
            media_type=found.media_type,
            attachments=tuple(self.attachments(source, found.digest)),
        )

    def manifest(self, source: str, reference: str) -> Manifest | None:
        """What `reference`, a tag or digest, stands for; `None` where there is none."""
        path = f"manifests/{reference}"
        accept = ", ".join((*INDEXES, *MANIFESTS))
        answer = self._of_repository("HEAD", source, path, accept)
        if answer.status_code == 404:
            return None
        if not _DIGEST.fullmatch(answer.headers.get("Docker-Content-Digest", "")):
            # the specification only recommends the header
            answer = self._of_repository("GET", source, path, accept)
            if answer.status_code == 404:
                return None
        digest = answer.headers.get("Docker-Content-Digest", "")
        if answer.request.method == "GET":
            computed = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
            if digest.startswith("sha256:") and digest != computed:
                raise RegistryError(f"{source} says {digest}, and serves {computed}")
            digest = computed
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        if media_type not in INDEXES + MANIFESTS:
            raise RegistryError(f"{source} answers with {media_type or 'no type'}, not an image")
        return Manifest(digest=digest, media_type=media_type)

    def attachments(self, source: str, digest: str) -> Iterator[Attachment]:
        """Signatures, attestations and lists of parts of the image `digest`.

        Those that refer to it (OCI 1.1), and those under the tags of cosign.
        """
        stem = digest.replace(":", "-")
        seen = set()
        for one in self._referrers(source, digest, stem):
            kind = str(one.get("artifactType", ""))
            seen.add(one["digest"])
            yield Attachment(kind=_kind_of(kind), digest=one["digest"])
        for ending, what in _COSIGN.items():
            found = self.manifest(source, f"{stem}.{ending}")
            if found is not None and found.digest not in seen:
                yield Attachment(kind=what, digest=found.digest, tag=f"{stem}.{ending}")

    def _referrers(self, source: str, digest: str, stem: str) -> list[Mapping[str, Any]]:
        # older registries keep the same list under a tag
        for path in (f"referrers/{digest}", f"manifests/{stem}"):
            answer = self._of_repository("GET", source, path, INDEXES[0])
            if answer.status_code == 200:
                try:
                    listed = answer.json().get("manifests") or []
                    return [one for one in listed if _DIGEST.fullmatch(one["digest"])]
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    raise RegistryError(f"{source} gives no list of referrers") from error
        return []

    def _package(self, name: str, chart: Chart) -> Locked:
        base = chart.source.rstrip("/") + "/"
        index = self._ask("GET", urljoin(base, "index.yaml"), {})
        if index.status_code != 200:
            raise RegistryError(f"{chart.source} has no index.yaml (status {index.status_code})")
        try:
            listed = _load(index.text)["entries"].get(name) or []
            entry = next((one for one in listed if str(one["version"]) == chart.version), None)
            where = urljoin(base, entry["urls"][0]) if entry else ""
        except (AttributeError, KeyError, IndexError, TypeError, yaml.YAMLError) as error:
            raise RegistryError(f"{chart.source} has an index.yaml that cannot be read") from error
        if entry is None:
            raise RegistryError(f"{chart.source} has no chart {name} {chart.version}")
        digest = f"sha256:{str(entry.get('digest', '')).removeprefix('sha256:')}"
        if not _DIGEST.fullmatch(digest):
            package = self._ask("GET", where, {})
            if package.status_code != 200:
                raise RegistryError(f"{where} cannot be had (status {package.status_code})")
            digest = f"sha256:{hashlib.sha256(package.content).hexdigest()}"
        return Locked(
            source=chart.source, version=chart.version, digest=digest, media_type=PACKAGE, url=where
        )

    def _of_repository(self, method: str, source: str, path: str, accept: str) -> httpx.Response:
        """Asks with the token of the repository, and gets one where it is asked for."""
        registry, _, repository = source.partition("/")
        host = _HOSTS.get(registry, registry)
        url = f"{_scheme(host)}://{host}/v2/{repository}/{path}"
        with self._guard:
            token = self._tokens.get(source)
        answer = self._ask(method, url, _headers(accept, token))
        if answer.status_code == 401:
            token = self._token(source, repository, answer.headers.get("WWW-Authenticate", ""))
            with self._guard:
                self._tokens[source] = token
            answer = self._ask(method, url, _headers(accept, token))
        if answer.status_code in (401, 403):
            raise RegistryError(f"{source} is not for everyone: the registry asks for a login")
        if answer.status_code not in (200, 404):
            raise RegistryError(f"{source} answers with status {answer.status_code}")
        return answer

    def _token(self, source: str, repository: str, challenge: str) -> str:
        scheme, _, rest = challenge.partition(" ")
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = asked.get("realm", "")
        if scheme.lower() != "bearer" or _scheme(urlsplit(realm).netloc) != urlsplit(realm).scheme:
            raise RegistryError(f"{source} is not for everyone: the registry asks for a login")
        parameters = {"scope": asked.get("scope") or f"repository:{repository}:pull"}
        if "service" in asked:
            parameters["service"] = asked["service"]
        answer = self._ask("GET", str(httpx.URL(realm, params=parameters)), {})
        try:
            body = answer.json()
            token = body.get("token") or body["access_token"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RegistryError(
                f"{source} is not for everyone: no token without a login "
                f"(status {answer.status_code})"
            ) from error
        return str(token)

    def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """The answer to one request; asks again while a registry is busy or a connection breaks."""
        host = urlsplit(url).netloc
        with self._guard:
            if host in self._unreachable:
                raise UnreachableError(self._unreachable[host])
        try:
            answer: httpx.Response = tenacity.Retrying(
                stop=tenacity.stop_after_attempt(ATTEMPTS),
                wait=self._wait,
                retry=tenacity.retry_if_exception_type(httpx.TransportError)
                | tenacity.retry_if_result(lambda one: one.status_code in _BUSY),
                # the last answer is looked at below
                retry_error_callback=lambda state: (
                    state.outcome.result() if state.outcome else None
                ),
            )(self._client.request, method, url, headers=dict(headers))
        except httpx.HTTPError as error:
            message = f"{host} cannot be reached from here: {error or type(error).__name__}"
            if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
                with self._guard:
                    self._unreachable[host] = message
            raise UnreachableError(message) from error
        if answer.status_code == 429:
            raise RegistryError(f"{host} asks to come back later: too many requests")
        if answer.status_code in _BUSY:
            raise RegistryError(f"{host} is out of order: status {answer.status_code}")
        return answer

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Seconds to wait: what the registry asks for, else longer each time; never too long."""
        outcome = state.outcome
        if outcome is not None and not outcome.failed:
            asked = outcome.result().headers.get("Retry-After", "")
            if asked.isdigit():
                return min(float(asked), self._longest)
        return min(tenacity.wait_exponential_jitter(initial=0.5)(state), self._longest)


def _headers(accept: str, token: str | None) -> dict[str, str]:
    return {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {})


def _scheme(host: str) -> str:
    """A registry is asked over TLS, but for one on this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    return "http" if name in ("localhost", "127.0.0.1", "::1") else "https"


def _kind_of(artifact_type: str) -> Literal["signature", "attestation", "sbom", "other"]:
    if re.search(r"spdx|cyclonedx|sbom|syft", artifact_type):
        return "sbom"
    if re.search(r"in-toto|attestation|provenance|slsa", artifact_type):
        return "attestation"
    if re.search(r"sigstore|cosign|signature|notary", artifact_type):
        return "signature"
    return "other"


def _load(text: str) -> Any:
    # an index may hold many megabytes, which libyaml reads ten times as fast
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
