"""Whether a part answers as a healthy one does. Needs nothing but the standard library."""

from __future__ import annotations

import http.client
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

REQUEST_SECONDS = 5.0


def is_healthy(health: Mapping[str, Any] | None) -> bool:
    """Whether a process answers as its `Health` inputs say; one without is healthy."""
    if health is None:
        return True
    url = urlsplit(health["url"])
    try:
        if url.scheme == "tcp":
            with socket.create_connection((str(url.hostname), int(url.port or 0)), REQUEST_SECONDS):
                return True
        body = health.get("body")
        request = urllib.request.Request(  # noqa: S310 the address is made by our components
            health["url"],
            data=body.encode() if body else None,
            headers={"Content-Type": "application/json", **(health.get("headers") or {})},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=REQUEST_SECONDS) as answer:
            text = answer.read().decode(errors="replace")
            return answer.status == 200 and bool(re.search(health.get("expect") or "", text))
    except (OSError, urllib.error.URLError, http.client.HTTPException):
        return False


def is_alive(health: Mapping[str, Any]) -> bool:
    """Whether a process that may be busy, such as one that loads a model, is there at all."""
    if health.get("alive_url"):
        health = {"url": health["alive_url"], "headers": health.get("headers")}
    return is_healthy(health)
