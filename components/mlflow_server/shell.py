"""A shell round MLflow's web application: no assistant, and no way out for its pages.

The assistant runs commands on the server and talks to models elsewhere for whoever reaches
loopback, and no setting takes it away. The proxy of a mesh reaches a server from loopback for
everybody. Here its addresses do not exist and its panel is not shown; a page's headers tell the
browser to load from this server and send to this server alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

ASSISTANT = "/ajax-api/3.0/mlflow/assistant"

POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "form-action 'self'; frame-ancestors 'self'; object-src 'none'; base-uri 'self'"
)

# the panel opens on a browser's first visit unless it believes that it already did; the first page
# is about generative models unless the browser remembers a choice
_HEAD = """<style>[data-assistant-ui]{display:none!important}</style><script>
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
if (!localStorage.getItem("mlflow.workflowType_v1"))
  localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
</script></head>"""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def without_panel(page: str) -> str:
    """The one page that MLflow's interface consists of, without the assistant's panel."""
    return page.replace("</head>", _HEAD)


def without_assistant(application: Application) -> Application:
    """`application`, as an ASGI application without the assistant."""

    async def shell(scope: Message, receive: Receive, send: Send) -> None:
        async def closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message["headers"] = [*message.get("headers", ()), policy]
            await send(message)

        if scope["type"] == "http" and scope["path"].startswith(ASSISTANT):
            await closed({"type": "http.response.start", "status": 404})
            await send({"type": "http.response.body"})
            return
        await application(scope, receive, closed)

    return shell
