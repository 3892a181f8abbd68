"""Where a person looks: each page's address, at the place that shows the workload.

A part that does not answer is no error: its page is named all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.delivery.connection import Connection

if TYPE_CHECKING:
    import httpx

_TIMEOUT_SECONDS = 2.0
_SERVING = "/consoles/serving.html"


def pages(connection: Connection) -> dict[str, str]:
    """Name → URL; what a page asks for before it shows anything stands in `notes`."""
    import httpx

    with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
        tracking, metrics = connection.tracking_uri, connection.metrics_url
        experiment = _experiment(client, connection)
        # Debian's Prometheus has the classic pages alone, newer ones have no classic pages
        classic = "/classic" if _status(client, f"{metrics}/targets") == 404 else ""
        return {
            "serving": serving(connection),
            "trainings": f"{tracking}/#/experiments/{experiment}/runs" if experiment else tracking,
            "versions": f"{tracking}/#/models/{connection.registered_name}",
            "jobs": f"{connection.ray_address}/#/jobs",
            "assets": f"{connection.orchestrator_url}/asset-groups",
            "targets": f"{metrics}{classic}/targets",
            "alerts": f"{metrics}{classic}/alerts",
            "API": f"{connection.endpoint}/openapi.json",
            "endpoint": f"{connection.endpoint}/api/v1.0/predictions",
        }


def serving(connection: Connection) -> str:
    """The page that shows serving and release at a glance."""
    return f"{connection.metrics_url}{_SERVING}"


def notes(connection: Connection) -> dict[str, str]:
    """Name of a page → what it asks for. No secret is in it."""
    token = connection.variables.get("RAY_AUTH_TOKEN_PATH")
    return {"jobs": f"asks for the token: the content of {token}"} if token else {}


def _status(client: httpx.Client, url: str) -> int | None:
    import httpx

    try:
        return client.get(url).status_code
    except httpx.HTTPError:
        return None


def _experiment(client: httpx.Client, connection: Connection) -> str | None:
    """The id of the workload's experiment; asked without MLflow, whose import takes a second."""
    import httpx

    if not connection.tracking_uri.startswith("http"):
        return None
    try:
        answer: Any = client.get(
            f"{connection.tracking_uri}/api/2.0/mlflow/experiments/get-by-name",
            params={"experiment_name": connection.registered_name},
        ).json()
        return str(answer["experiment"]["experiment_id"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
