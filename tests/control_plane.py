"""A Kubernetes control plane of its own on loopback: etcd, API server, controllers, scheduler.

Owns the processes, their certificates and an identity provider whose tokens the API server trusts.
There is no node: a pod is admitted and scheduled, and never runs. The executables come from
`tools/etcd` and `tools/kubernetes`, which `make test` builds.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import functools
import http.server
import ipaddress
import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import tenacity
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from kubernetes_api import Api, ApiError

READY_SECONDS = 120.0
STOP_SECONDS = 20.0
VERSION = "1.36"
EXECUTABLES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
AUDIENCE = "falaj"

_HOST = "127.0.0.1"
_DAY = datetime.timedelta(days=1)


class NotReadyError(Exception):
    """A process ended or did not answer; the message holds the end of its log."""


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, both PEM."""

    certificate: str
    key: str

    @property
    def pem(self) -> str:
        """Both, as servers read them from one file."""
        return self.certificate + self.key


@dataclass(frozen=True)
class Authority:
    """Signs certificates that hold for a day."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Authority:
        """One that nobody else trusts."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("falaj tests", ())
        builder = (
            _builder(name, key)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> str:
        """Its certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, user: str, groups: Sequence[str] = (), *, server: bool = False) -> Issued:
        """The certificate of a client, or of a server on loopback."""
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if server:  # etcd calls itself with it too
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = (
            _builder(_name(user, groups), key)
            .issuer_name(self.certificate.subject)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )
        if server:
            names = [x509.IPAddress(ipaddress.ip_address(_HOST)), x509.DNSName("localhost")]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self.key, hashes.SHA256())
        return Issued(signed.public_bytes(serialization.Encoding.PEM).decode(), _pem(key))


@dataclass
class IdentityProvider:
    """Issues tokens with a user's groups, and answers for its key over HTTPS."""

    authority: Authority
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=functools.partial(ec.generate_private_key, ec.SECP256R1())
    )

    @contextlib.contextmanager
    def serving(self, folder: Path) -> Iterator[str]:
        """Serves discovery until the context ends; gives the issuer's address."""
        certificate = _written(
            folder / "identity-provider.pem", self.authority.issue("idp", server=True).pem
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        documents: dict[str, Any] = {"/keys": {"keys": [self._public_key()]}}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                document = documents.get(self.path)
                self.send_response(200 if document else 404)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(document or {}).encode())

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        server = http.server.ThreadingHTTPServer((_HOST, 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.issuer = f"https://{_HOST}:{server.server_port}"
        documents["/.well-known/openid-configuration"] = {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self.issuer
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def token(self, user: str, groups: Sequence[str]) -> str:
        """A token that holds for a day (RFC 7519, signed by ES256)."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": user,
            "groups": list(groups),
            "iat": now,
            "exp": now + int(_DAY.total_seconds()),
        }
        head = {"alg": "ES256", "kid": "1", "typ": "JWT"}
        text = ".".join(_base64url(json.dumps(part).encode()) for part in (head, claims))
        r, s = utils.decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_base64url(r.to_bytes(32) + s.to_bytes(32))}"

    def _public_key(self) -> dict[str, str]:
        numbers = self.key.public_key().public_numbers()
        return {
            "kty": "EC",
            "crv": "P-256",
            "use": "sig",
            "alg": "ES256",
            "kid": "1",
            "x": _base64url(numbers.x.to_bytes(32)),
            "y": _base64url(numbers.y.to_bytes(32)),
        }


@dataclass(frozen=True)
class ControlPlane:
    """One that answers."""

    server: str
    authority: Authority
    identity_provider: IdentityProvider
    folder: Path
    """Holds `<process>.log`."""
    processes: dict[str, subprocess.Popen[bytes]]

    def kubeconfig(self, user: str = "admin", groups: Sequence[str] = ("system:masters",)) -> str:
        """For a client certificate: the administrator, where nobody else is named."""
        return _kubeconfig(self.server, self.authority, self.authority.issue(user, groups))

    def token_for(self, user: str, groups: Sequence[str] = ()) -> str:
        """A token of the identity provider for a person in `groups`."""
        return self.identity_provider.token(user, groups)

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> str:
        """For a person who logged in at the identity provider."""
        return self.kubeconfig_with(self.token_for(user, groups))

    def kubeconfig_with(self, token: str) -> str:
        """For whoever holds `token`, a service account too."""
        return _kubeconfig(self.server, self.authority, token)

    @contextlib.contextmanager
    def api(self, kubeconfig: str | None = None) -> Iterator[Api]:
        """A client, the administrator's where no kubeconfig is given."""
        with contextlib.closing(Api(kubeconfig or self.kubeconfig())) as api:
            yield api


@contextlib.contextmanager
def control_plane(
    folder: Path, more: Mapping[str, Sequence[str]] | None = None
) -> Iterator[ControlPlane]:
    """Starts everything with its data in `folder`; stops it whatever happens.

    `more` holds further arguments of the processes, by their names. Raises `NotReadyError`.
    """
    programs = {name: program(name) for name in EXECUTABLES}
    authority = Authority.new()
    files = _Files(folder, authority)
    with contextlib.ExitStack() as stack:
        identity_provider = IdentityProvider(authority)
        files.authentication(stack.enter_context(identity_provider.serving(folder)))
        etcd_port, api_port = free_ports(2)
        plane = ControlPlane(
            f"https://{_HOST}:{api_port}", authority, identity_provider, folder, {}
        )

        def start(name: str, *arguments: str) -> None:
            plane.processes[name] = stack.enter_context(
                running(
                    [programs[name], *arguments, *(more or {}).get(name, ())],
                    folder / f"{name}.log",
                )
            )

        start("etcd", *_etcd(files, etcd_port))
        start("kube-apiserver", *_api_server(files, f"https://{_HOST}:{etcd_port}", api_port))
        with plane.api() as api:
            _until(plane, lambda: api.request("GET", "/readyz") == "ok")
            for name in ("kube-controller-manager", "kube-scheduler"):
                config = plane.kubeconfig(f"system:{name}", ())
                files.write(f"{name}.kubeconfig", config)
            start("kube-controller-manager", *_controllers(files))
            start("kube-scheduler", *_scheduler(files))
            account = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": "default"},
            }
            _until(plane, lambda: api.get(account) is not None)
        yield plane


class _Files:
    """What the processes read, and where they keep their data."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self._authority = authority
        self.authority = self.write("authority.pem", authority.pem)
        self.server = self.write("server.pem", authority.issue("falaj", server=True).pem)
        self.client = self.write("client.pem", authority.issue("kube-apiserver").pem)
        key = ec.generate_private_key(ec.SECP256R1())
        self.accounts_key = self.write("accounts-key.pem", _pem(key))

    def write(self, name: str, content: str) -> str:
        return _written(self.folder / name, content)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def authentication(self, issuer: str) -> None:
        """People log in at `issuer`; claims are taken as they are, as EKS does with no prefix."""
        settings = {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [
                {
                    "issuer": {
                        "url": issuer,
                        "audiences": [AUDIENCE],
                        "certificateAuthority": self._authority.pem,
                    },
                    "claimMappings": {
                        "username": {"claim": "sub", "prefix": ""},
                        "groups": {"claim": "groups", "prefix": ""},
                    },
                }
            ],
        }
        self.write("authentication.yaml", yaml.safe_dump(settings))


def _etcd(files: _Files, port: int) -> list[str]:
    url = f"https://{_HOST}:{port}"
    return [
        f"--data-dir={files.path('etcd')}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls=http://{_HOST}:0",
        "--client-cert-auth",
        f"--trusted-ca-file={files.authority}",
        f"--cert-file={files.server}",
        f"--key-file={files.server}",
        "--unsafe-no-fsync",  # the data is thrown away
        "--log-level=warn",
    ]


def _api_server(files: _Files, etcd: str, port: int) -> list[str]:
    return [
        f"--etcd-servers={etcd}",
        f"--etcd-cafile={files.authority}",
        f"--etcd-certfile={files.client}",
        f"--etcd-keyfile={files.client}",
        f"--bind-address={_HOST}",
        f"--advertise-address={_HOST}",
        f"--secure-port={port}",
        "--endpoint-reconciler-type=none",  # loopback is no address for pods
        f"--tls-cert-file={files.server}",
        f"--tls-private-key-file={files.server}",
        f"--client-ca-file={files.authority}",
        f"--authentication-config={files.path('authentication.yaml')}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",  # beside those that are on by themselves
        "--allow-privileged=true",  # so that policies refuse it, as they must on EKS
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={files.accounts_key}",
        f"--service-account-key-file={files.accounts_key}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--profiling=false",
    ]


def _controllers(files: _Files) -> list[str]:
    kubeconfig = files.path("kube-controller-manager.kubeconfig")
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--root-ca-file={files.authority}",
        f"--service-account-private-key-file={files.accounts_key}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--secure-port=0",
        "--concurrent-namespace-syncs=20",
    ]


def _scheduler(files: _Files) -> list[str]:
    kubeconfig = files.path("kube-scheduler.kubeconfig")
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
    ]


def program(name: str) -> str:
    """Where an executable is. Raises `NotReadyError`."""
    found = shutil.which(name)
    if found is None:
        raise NotReadyError(
            f"there is no {name}: `python3 -m tools.setup --with-tests` builds it (with Go), and "
            "`make test` runs that"
        )
    return found


@contextlib.contextmanager
def running(
    command: list[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process until the context ends; on Linux it ends with us even if we are killed."""
    if (guard := shutil.which("setpriv")) is not None:
        command = [guard, "--pdeathsig", "KILL", "--", *command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(plane: ControlPlane, holds: Any) -> None:
    """Waits until `holds()`. Raises `NotReadyError` when a process ends or time runs out."""
    patience = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((httpx.TransportError, ApiError))
        | tenacity.retry_if_result(lambda it: not it),
        wait=tenacity.wait_fixed(0.1),
        stop=tenacity.stop_after_delay(READY_SECONDS),
        reraise=True,
    )

    def attempt() -> Any:
        for name, process in plane.processes.items():
            if process.poll() is not None:
                raise NotReadyError(f"{name} ended with {process.returncode}: {_end(plane, name)}")
        return holds()

    try:
        patience(attempt)
    except (httpx.TransportError, ApiError, tenacity.RetryError) as error:
        ends = "\n".join(f"{name}: {_end(plane, name)}" for name in plane.processes)
        raise NotReadyError(f"not ready in {READY_SECONDS:.0f} s: {error}\n{ends}") from error


def _end(plane: ControlPlane, name: str) -> str:
    return (plane.folder / f"{name}.log").read_text(errors="replace")[-2000:]


def _kubeconfig(server: str, authority: Authority, login: Issued | str) -> str:
    """For whoever has the certificate or the token `login`."""
    if isinstance(login, Issued):
        user = {
            "client-certificate-data": _base64(login.certificate),
            "client-key-data": _base64(login.key),
        }
    else:
        user = {"token": login}
    cluster = {"server": server, "certificate-authority-data": _base64(authority.pem)}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "falaj", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "falaj", "context": {"cluster": "falaj", "user": "user"}}],
            "current-context": "falaj",
        }
    )


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((_HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def _builder(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _name(user: str, groups: Sequence[str]) -> x509.Name:
    """As Kubernetes reads a certificate: the common name is the user, organisations are groups."""
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,  # Kubernetes reads no PKCS 8
        serialization.NoEncryption(),
    ).decode()


def _written(path: Path, content: str) -> str:
    path.touch(mode=0o600)
    path.write_text(content)
    return str(path)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
