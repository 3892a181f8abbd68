"""MLflow's web application on this machine, without its assistant.

See `components.mlflow_server.shell` for what is taken away and why.
"""

from __future__ import annotations

from pathlib import Path

from flask import Response
from mlflow.server import app as _pages
from mlflow.server.fastapi_app import app as _mlflow

from components.mlflow_server.shell import without_assistant, without_panel


def _page() -> Response:
    """The one page that MLflow's interface consists of."""
    text = Path(str(_pages.static_folder), "index.html").read_text(encoding="utf-8")
    return Response(without_panel(text), mimetype="text/html")


_pages.view_functions["serve"] = _page

app = without_assistant(_mlflow)
"""The ASGI application that uvicorn runs."""
