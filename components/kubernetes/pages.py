"""The way of people to a page that knows no users: a proxy in its pod, and a route to it.

The page listens on the pod's loopback alone, so that nobody comes past the proxy, whatever the
network lets through; the proxy (oauth2-proxy) sends whoever is not signed in to the identity
provider and lets in who is in one of the groups, or bears one of the addresses. The mesh alone
could only judge a token that a browser already has (`RequestAuthentication`), and browsers have
none. See ADR 0023.

That the proxy and the provider come to terms is not shown by any test here; on a cluster:
`curl -sI https://<host>/<path>/` answers 302 to the provider, and in a browser the page comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.kubernetes.pages_settings import PagesSettings
from components.kubernetes.pod_parts import container_security, room, variables
from components.kubernetes.secret_source import COOKIE_KEY, PLAIN

PORT, METRICS_PORT = 4180, 9090
CLIENT_SECRET = "client-secret"  # noqa: S105  # pragma: allowlist secret
COOKIE_SECRET = "cookie-secret"  # noqa: S105  # pragma: allowlist secret
"""Keys of a Secret."""
MEMORY_MIB, CPUS = 128, 0.05
WRITTEN = {
    CLIENT_SECRET: (CLIENT_SECRET, PLAIN),
    COOKIE_SECRET: (COOKIE_SECRET, COOKIE_KEY),
}
"""What its Secret holds, and how it comes of what was generated (`external_secret`)."""
_EMAILS = "/etc/falaj/people"


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page behind the proxy."""

    settings: PagesSettings
    path: str
    """Below the host, with a slash at the start and none at the end."""
    port: int
    """Of the page, on the pod's loopback."""
    secret: str
    """Name of the Secret with `WRITTEN`."""
    groups: Sequence[str] = ()
    """Who is in one of them may come in."""
    emails: str | None = None
    """Name of a ConfigMap whose key `people` lists addresses, one a line: they alone may come in,
    of `groups` where there are any."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a page that everybody with an account could open."""
        if not self.groups and self.emails is None:
            raise ValueError(f"{self.path}: names neither groups nor people, so all would come in")
        if not self.path.startswith("/") or self.path.endswith("/"):
            raise ValueError(f"{self.path}: begins with a slash and ends without")


def proxy(page: Page, image: pulumi.Input[str]) -> dict[str, Any]:
    """The container of the proxy."""
    settings = page.settings
    name = page.path.strip("/").replace("/", "-")
    people = (
        [f"--authenticated-emails-file={_EMAILS}/people"]
        if page.emails is not None
        else ["--email-domain=*"]
    )
    return {
        "name": "sign-in",
        "image": image,
        "args": [
            "--provider=oidc",
            f"--oidc-issuer-url={settings.issuer}",
            f"--oidc-groups-claim={settings.groups_claim}",
            f"--client-id={settings.client_id}",
            "--code-challenge-method=S256",
            "--skip-provider-button=true",
            *people,
            *(f"--allowed-group={group}" for group in page.groups),
            f"--http-address=0.0.0.0:{PORT}",
            f"--metrics-address=0.0.0.0:{METRICS_PORT}",
            f"--proxy-prefix={page.path}/oauth2",
            f"--redirect-url=https://{settings.host}{page.path}/oauth2/callback",
            f"--upstream=http://127.0.0.1:{page.port}",
            f"--cookie-name=__Secure-falaj-{name}",
            f"--cookie-path={page.path}",
            "--cookie-secure=true",
            "--cookie-httponly=true",
            "--cookie-samesite=lax",
            f"--cookie-expire={settings.session_hours}h0m0s",
            # whoever reads the cookie's key gets no token of a person by it
            "--session-cookie-minimal=true",
            "--silence-ping-logging=true",
        ],
        "env": variables(
            {},
            {
                "OAUTH2_PROXY_CLIENT_SECRET": (page.secret, CLIENT_SECRET),
                "OAUTH2_PROXY_COOKIE_SECRET": (page.secret, COOKIE_SECRET),
            },
        ),
        "ports": [
            {"name": "page", "containerPort": PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        "resources": room(cpus=CPUS, memory_mib=MEMORY_MIB),
        "securityContext": container_security(),
        "readinessProbe": {"httpGet": {"path": "/ping", "port": "page"}, "periodSeconds": 10},
        "livenessProbe": {"httpGet": {"path": "/ping", "port": "page"}, "periodSeconds": 20},
        **(
            {"volumeMounts": [{"name": "people", "mountPath": _EMAILS, "readOnly": True}]}
            if page.emails is not None
            else {}
        ),
    }


def volumes(page: Page) -> list[dict[str, Any]]:
    """What the proxy has mounted."""
    return [{"name": "people", "configMap": {"name": page.emails}}] if page.emails else []


def service_ports() -> list[dict[str, Any]]:
    """Of the Service before the pods."""
    return [
        {"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"},
        {
            "name": "http-metrics",
            "port": METRICS_PORT,
            "targetPort": METRICS_PORT,
            "protocol": "TCP",
        },
    ]


def route(page: Page, gateway: pulumi.Input[str], server: pulumi.Input[str]) -> dict[str, Any]:
    """The `spec` of the VirtualService that leads from the gateway to the Service `server`."""
    to = [{"destination": {"host": server, "port": {"number": PORT}}}]
    matches = [{"uri": {"exact": page.path}}, {"uri": {"prefix": f"{page.path}/"}}]
    return {
        "hosts": [page.settings.host],
        "gateways": [gateway],
        "http": [{"match": matches, "route": to}],
    }
