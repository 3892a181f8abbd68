"""MLflow's web application on this machine, without its assistant.

See `components.mlflow_server.shell` for what is taken away and why.
"""

from __future__ import annotations

from pathlib import Path

from flask import Response
from mlflow.server import app as _pages
from mlflow.server.fastapi_app import app as _mlflow

from components.mlflow_server.shell import without_assistant

# the panel opens on a browser's first visit unless it believes that it already did; the first page
# is about generative models unless the browser remembers a choice
_HEAD = """<style>[data-assistant-ui]{display:none!important}</style><script>
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
if (!localStorage.getItem("mlflow.workflowType_v1"))
  localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
</script></head>"""


def _page() -> Response:
    """The one page that MLflow's interface consists of."""
    text = Path(str(_pages.static_folder), "index.html").read_text(encoding="utf-8")
    return Response(text.replace("</head>", _HEAD), mimetype="text/html")


_pages.view_functions["serve"] = _page

app = without_assistant(_mlflow)
"""The ASGI application that uvicorn runs."""
