"""The way to a cluster's API server, as whoever runs the command: a pod, a job or a person.

A pod goes as its account. Everybody else goes by a kubeconfig, the files that `KUBECONFIG` names or
`~/.kube/config`, in the context whose server is the one that the workload's stack names: the
current context may be of another cluster, and a release must not end there. Where the same server
is called otherwise from here, `FALAJ_KUBE_CONTEXT` names the context. No token is ever an argument
of a command.

What a kubeconfig is: kubernetes.io, "kubeconfig (v1)" and "client-go credential plugins".
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from workloads.delivery.errors import DeliveryError, NotUpError

CONTEXT = "FALAJ_KUBE_CONTEXT"
"""Names the context of the kubeconfig, where no context has the server's own address."""
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_SECONDS = 10.0
_COMMAND_SECONDS = 60

Token = Callable[[], str]


class DownError(NotUpError):
    """The API server does not answer."""


class RefusedError(DeliveryError):
    """It answers that it does not do what was asked."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        """The HTTP status."""


class AccessError(NotUpError):
    """Nothing here says how to reach the cluster; the message says what to do."""


def ask(
    client: httpx.Client,
    method: str,
    path: str,
    *,
    what: str,
    role: str = "",
    may_lack: bool = False,
    **more: Any,
) -> Any:
    """The object that the API server answers with; `None` for one that is not there and `may_lack`.

    `what` is the object that it is about, `role` the Role whose holders may do it. Raises
    `DownError` and `RefusedError`.
    """
    try:
        answer = client.request(method, path, **more)
    except httpx.TransportError as error:
        raise DownError(
            f"the API server does not answer at {client.base_url} ({error!r})"
        ) from error
    lacks = answer.status_code == httpx.codes.NOT_FOUND
    if lacks and may_lack and _is_object(answer):
        return None
    if not answer.is_success:
        said = f"{what}: {method} {path} is refused: {_message(answer)}"
        if answer.status_code == httpx.codes.FORBIDDEN and role:
            said += f"; the Role {role} gives this right: have yourself bound to it"
        elif answer.status_code == httpx.codes.UNAUTHORIZED:
            said += "; the token or certificate that was shown is not, or no longer, known there"
        elif lacks and not _is_object(answer) and path.startswith("/apis/networking.istio.io/"):
            said += "; the cluster has no VirtualService (networking.istio.io/v1): Istio is missing"
        raise RefusedError(said, answer.status_code)
    return answer.json()


def client_of(server: str) -> httpx.Client:
    """A client for the API server at `server`. Raises `AccessError`, a `NotUpError`."""
    if os.environ.get("KUBERNETES_SERVICE_HOST") and (_ACCOUNT / "token").exists():
        return client_of_pod()
    return client_by_kubeconfig(server)


def client_of_pod() -> httpx.Client:
    """A client for the API server of the cluster that this process runs in, as its own account.

    Raises `NotUpError` outside of a cluster, or where the pod has no token.
    """
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{end}") for end in ("HOST", "PORT"))
    try:
        trusted = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))
        if not host or not port:
            raise FileNotFoundError("KUBERNETES_SERVICE_HOST")
    except OSError as error:
        raise AccessError(
            f"no cluster is around this process, or its pod has no token ({error})"
        ) from error
    address = f"[{host}]" if ":" in host else host
    # the kubelet renews the token in place
    return _client(f"https://{address}:{port}", trusted, _of_file(_ACCOUNT / "token"))


def client_by_kubeconfig(server: str) -> httpx.Client:
    """A client for `server` as the kubeconfig's user. Raises `AccessError`."""
    folder, context, content = _context(server)
    try:
        cluster = _named(content, "cluster", context.get("cluster"))
        user = _named(content, "user", context.get("user"))
        if cluster.get("insecure-skip-tls-verify"):
            raise AccessError(
                f"the kubeconfig trusts whoever answers at {server} (insecure-skip-tls-verify): "
                "give its certificate-authority-data instead"
            )
        trusted = _trust(folder, cluster, user)
        return _client(str(cluster["server"]), trusted, _token(folder, user))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AccessError(f"the kubeconfig for {server} cannot be used: {error}") from error


def _client(server: str, trusted: ssl.SSLContext, token: Token | None) -> httpx.Client:
    return httpx.Client(
        base_url=server,
        verify=trusted,
        auth=None if token is None else _Bearer(token),
        timeout=_TIMEOUT_SECONDS,
        trust_env=False,
    )


class _Bearer(httpx.Auth):
    """A token, asked for anew for each request; and once more where it is not taken any more."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {self._token()}"
        answer = yield request
        if answer.status_code == httpx.codes.UNAUTHORIZED and isinstance(self._token, _Command):
            self._token.forget()
            request.headers["Authorization"] = f"Bearer {self._token()}"
            yield request


class _Command:
    """The token that a command prints, such as `aws eks get-token`, kept until it is refused."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        self._run = run
        self._known = ""

    def __call__(self) -> str:
        self._known = self._known or self._asked()
        return self._known

    def forget(self) -> None:
        """It has run out."""
        self._known = ""

    def _asked(self) -> str:
        command = str(self._run["command"])
        about: dict[str, Any] = {
            "apiVersion": self._run.get("apiVersion"),
            "kind": "ExecCredential",
            "spec": {},
        }
        added = {str(one["name"]): str(one["value"]) for one in self._run.get("env") or ()}
        try:
            printed = subprocess.run(
                [command, *map(str, self._run.get("args") or ())],
                capture_output=True,
                text=True,
                check=True,
                timeout=_COMMAND_SECONDS,
                env={**os.environ, **added, "KUBERNETES_EXEC_INFO": json.dumps(about)},
            ).stdout
            return str(json.loads(printed)["status"]["token"])
        except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            said = str(getattr(error, "stderr", "") or repr(error)).strip()[:300]
            raise AccessError(
                f"the kubeconfig's command `{command}` gives no token: {said}"
            ) from error


def _of_file(path: Path) -> Token:
    return lambda: path.read_text(encoding="utf-8").strip()


def _token(folder: Path, user: Mapping[str, Any]) -> Token | None:
    """How `user` shows who it is, beside a certificate; `None` where by that alone."""
    if "exec" in user:
        return _Command(user["exec"])
    if "tokenFile" in user:
        return _of_file(folder / str(user["tokenFile"]))
    if "token" in user:
        said = str(user["token"])
        return lambda: said
    return None


def _trust(folder: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    authority = _content(folder, cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority or None)
    pair = [_content(folder, user, f"client-{half}") for half in ("certificate", "key")]
    if all(pair):
        with tempfile.TemporaryDirectory(prefix="falaj-") as place:  # OpenSSL reads files alone
            path = Path(place) / "client.pem"
            path.touch(mode=0o600)
            path.write_text("\n".join(pair), encoding="utf-8")
            context.load_cert_chain(path)
    return context


def _content(folder: Path, part: Mapping[str, Any], key: str) -> str:
    """PEM that a kubeconfig holds, or names the file of; empty where it does neither."""
    if within := part.get(f"{key}-data"):
        return base64.b64decode(str(within), validate=True).decode()
    return (folder / str(part[key])).read_text(encoding="utf-8") if part.get(key) else ""


def _context(server: str) -> tuple[Path, Mapping[str, Any], Mapping[str, Any]]:
    """The folder of the file, the context for `server` and all of the file."""
    wanted, seen = os.environ.get(CONTEXT), []
    for path, content in _kubeconfigs():
        for one in content.get("contexts") or ():
            name, context = one.get("name"), one.get("context") or {}
            address = _address(content, context)
            if name == wanted or (wanted is None and address == server.rstrip("/")):
                return path.parent, context, content
            seen.append(f"{name} ({address or 'of no cluster'})")
    among = f"{', '.join(seen) or 'none'}"
    if wanted is not None:
        raise AccessError(f"{CONTEXT} is {wanted}, no context of the kubeconfig; there are {among}")
    raise AccessError(
        f"no kubeconfig here is for {server}, the cluster that the workload's stack names: point "
        f"KUBECONFIG at one, or, where that server has another address from here, let {CONTEXT} "
        f"name its context; there are {among}"
    )


def _kubeconfigs() -> Iterator[tuple[Path, Mapping[str, Any]]]:
    named = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    for path in map(Path, filter(None, named.split(os.pathsep))):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:  # as kubectl does
            continue
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise AccessError(f"the kubeconfig {path} cannot be read: {error}") from error
        if not isinstance(content, Mapping):
            raise AccessError(f"the kubeconfig {path} is no mapping")
        yield path, content


def _address(content: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    try:
        return str(_named(content, "cluster", context.get("cluster"))["server"]).rstrip("/")
    except (KeyError, DeliveryError):
        return ""


def _named(content: Mapping[str, Any], noun: str, name: Any) -> Mapping[str, Any]:
    for one in content.get(f"{noun}s") or ():
        if one.get("name") == name:
            found: Mapping[str, Any] = one.get(noun) or {}
            return found
    raise AccessError(f"the kubeconfig has no {noun} {name!r}")


def _is_object(answer: httpx.Response) -> bool:
    """Whether it is the object that lacks, and not its kind."""
    try:
        return bool(answer.json().get("details", {}).get("name"))
    except (ValueError, AttributeError):
        return False


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code}: {answer.text[:200]}"
