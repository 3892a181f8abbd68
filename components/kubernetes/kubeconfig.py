"""What a kubeconfig says of a cluster and of who asks: parsed and checked, without reaching it."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml

_INSIDE_ALONE = "kubectl config view --raw --flatten --minify"
_FILES = {
    "cluster": ("certificate-authority",),
    "user": ("client-certificate", "client-key", "tokenFile"),
}


class KubeconfigError(Exception):
    """A kubeconfig cannot be used; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Kubeconfig:
    """The current context."""

    server: str
    """Such as ``https://10.0.0.10:6443``."""
    authority: str
    """Certificate of the authority, PEM."""
    certificate: str = ""
    """Of the client with its key, PEM; empty where it logs in otherwise."""
    token: str = ""
    command: str = ""
    """What is run for a token; empty where none is."""
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of `command`."""
    protocol: str = ""
    """In which `command` answers, such as ``client.authentication.k8s.io/v1``."""

    @property
    def host(self) -> str:
        """Name or address in `server`."""
        return urlsplit(self.server).hostname or ""

    @property
    def port(self) -> int:
        """The port in `server`."""
        return urlsplit(self.server).port or 443

    @classmethod
    def of(cls, text: str) -> Kubeconfig:
        """Parses a kubeconfig that carries everything in itself. Raises `KubeconfigError`."""
        if not text.strip():
            raise KubeconfigError("the kubeconfig is empty")
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise KubeconfigError(f"the kubeconfig is no YAML: {error}") from error
        if not isinstance(content, Mapping):
            raise KubeconfigError("the kubeconfig is no mapping")
        current = content.get("current-context")
        if not current:
            raise KubeconfigError(
                f"the kubeconfig has no current-context; write it with: {_INSIDE_ALONE}"
            )
        context = _named(content, "context", current)
        cluster = _named(content, "cluster", context.get("cluster"))
        user = _named(content, "user", context.get("user"))
        _refuse_files({"cluster": cluster, "user": user})
        if cluster.get("insecure-skip-tls-verify"):
            raise KubeconfigError(
                "the kubeconfig has insecure-skip-tls-verify: whoever stands in between could take "
                "the cluster's place; give its certificate-authority-data instead"
            )
        server = str(cluster.get("server", ""))
        if urlsplit(server).scheme != "https" or not urlsplit(server).hostname:
            raise KubeconfigError(f"the kubeconfig's server is {server!r}, which is no https://…")
        run = user.get("exec") or {}
        pair = [_decoded(user, f"client-{half}-data") for half in ("certificate", "key")]
        return cls(
            server=server,
            authority=_decoded(cluster, "certificate-authority-data"),
            certificate="".join(pair) if all(pair) else "",
            token=str(user.get("token", "")),
            command=str(run.get("command", "")),
            arguments=tuple(map(str, run.get("args") or ())),
            variables={str(one["name"]): str(one["value"]) for one in run.get("env") or ()},
            protocol=str(run.get("apiVersion", "")),
        )


def public(addresses: list[str]) -> list[str]:
    """Those of `addresses` that the whole internet reaches."""
    return [one for one in addresses if ipaddress.ip_address(one).is_global]


def _named(content: Mapping[str, Any], noun: str, name: Any) -> Mapping[str, Any]:
    listed = content.get(f"{noun}s") or []
    for one in listed:
        if isinstance(one, Mapping) and one.get("name") == name:
            found = one.get(noun)
            return found if isinstance(found, Mapping) else {}
    known = ", ".join(str(one.get("name")) for one in listed if isinstance(one, Mapping))
    raise KubeconfigError(f"the kubeconfig has no {noun} {name!r}; there are: {known or 'none'}")


def _refuse_files(parts: Mapping[str, Mapping[str, Any]]) -> None:
    for noun, keys in _FILES.items():
        for key in keys:
            if key in parts[noun]:
                raise KubeconfigError(
                    f"the kubeconfig's {key} names a file of one machine ({parts[noun][key]}); "
                    f"write everything into it with: {_INSIDE_ALONE}"
                )


def _decoded(part: Mapping[str, Any], key: str) -> str:
    try:
        return base64.b64decode(str(part.get(key, "")), validate=True).decode()
    except ValueError as error:
        raise KubeconfigError(f"the kubeconfig's {key} is no base64") from error
