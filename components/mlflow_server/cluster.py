"""MLflow's server on a cluster: `python -m uvicorn components.mlflow_server.cluster:app`.

People sign in at the identity provider, pods with the token of their service account; both get what
`grants` says (mlflow-oidc-auth). The figures for Prometheus have a port of their own: on MLflow's,
a scraper that calls a pod by its address would be refused for its `Host`.
"""

from __future__ import annotations

import os
import time

from prometheus_client import Histogram, start_http_server

from components.mlflow_server.environment import METRICS_PORT, SIGN_IN
from components.mlflow_server.shell import (
    Application,
    Message,
    Receive,
    Send,
    without_assistant,
    without_panel,
)
from components.mlflow_server.sign_in import sign_in_by_iam

_AREAS = (
    *("experiments", "runs", "metrics", "logged-models", "registered-models", "model-versions"),
    *("mlflow-artifacts", "traces", "users", "permissions"),
)
"""What a path can be about: few, since each is a series of its own."""

_SECONDS = Histogram(
    "mlflow_request_seconds",
    "Time until an answer of MLflow's server is sent",
    ("area", "method", "status"),
)


def area_of(path: str) -> str:
    """What a request is about."""
    parts = path.split("/")
    return next((area for area in _AREAS if area in parts), "other")


def measured(application: Application) -> Application:
    """`application`, with its answers counted and timed."""

    async def measuring(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        began, status = time.perf_counter(), "none"

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await application(scope, receive, noting)
        finally:
            _SECONDS.labels(area_of(scope["path"]), scope["method"], status).observe(
                time.perf_counter() - began
            )

    return measuring


def _made() -> Application:
    if region := os.environ.get(SIGN_IN):
        sign_in_by_iam(region)
    # reads its settings, and the database, as it is imported
    from mlflow_oidc_auth.app import app as mlflow

    _without_panel()
    if port := os.environ.get(METRICS_PORT):
        start_http_server(int(port))
    return measured(without_assistant(mlflow))


def _without_panel() -> None:
    from flask import Response, make_response
    from mlflow.server import app as pages

    handed_out = pages.view_functions["serve"]

    def page() -> Response:
        response = make_response(handed_out())
        response.set_data(without_panel(response.get_data(as_text=True)))
        return response

    pages.view_functions["serve"] = page


def __getattr__(name: str) -> Application:
    """The application is made when the web server asks for it, and not by who imports a name."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = made = _made()
    return made
