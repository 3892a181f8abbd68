"""The local model server: a thin ASGI shell around a workload's Seldon component.

Owns HTTP for one slot, on loopback. It speaks the Seldon protocol as `seldon-core-microservice`
does, at a quarter of its time per request.

    POST /api/v1.0/predictions    POST /api/v1.0/feedback    GET /openapi.json
    GET /live     200 while the process is up        GET /version   what the slot holds
    GET /ready    200 while a model is loaded        GET /metrics   for Prometheus
    POST /reload  loads what the registry's alias of the slot says now

`python -m workloads.delivery.server --workload credit-risk --slot a --port 9110`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import importlib
import json
import logging
import math
import os
from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus
from typing import Any

import anyio
import anyio.to_thread
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from workloads.delivery.component import ModelComponent, exposition
from workloads.delivery.errors import DeliveryError
from workloads.delivery.request import MAX_RECORDS, RequestError, clipped, failure
from workloads.delivery.whole_answers import WholeAnswers

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_BODY_BYTES = 1024 * 1024
SYNTHETIC_HEADER = "x-falaj-synthetic"
"""Borne by the requests that a release replays."""
ANSWER_SECONDS = 5.0
"""A model that takes longer has failed; the gateway then asks another worker."""
_DRAIN_SECONDS = 10
_RETRY_SECONDS = 2.0
_THREADS = 2


def application(
    component: ModelComponent,
    more: Sequence[BaseRoute] = (),
    *,
    follow_seconds: float | None = None,
) -> Starlette:
    """The ASGI application that serves `component`; it loads the model once it runs.

    `more` are addresses of another shell. With `follow_seconds` the registry is asked that often
    what the slot holds, where nobody can reach every server of it with a `/reload`.
    """
    # a model that takes its time has threads of its own: health checks must not wait for it
    threads = model_threads()

    async def predictions(asked: Request) -> Response:
        synthetic = SYNTHETIC_HEADER in asked.headers
        if synthetic:
            component.count_synthetic()
        answer = await scored(component, await read_json(asked), threads, synthetic=synthetic)
        code = answer["status"]["code"] if "status" in answer else 200
        # a slot may have been swapped or emptied since: the model that answered is named
        tags = answer.get("meta", {}).get("tags", {})
        return JSONResponse(answer, code, headers=_headers(component, tags.get("version")))

    async def feedback(asked: Request) -> Response:
        message = await read_json(asked)
        reward = _reward(message)
        if component.model is None:
            raise RequestError(f"slot {component.slot} holds no model", 503, "NO_MODEL")
        component.send_feedback(None, [], reward, message.get("truth"))
        return JSONResponse({"meta": {"tags": component.tags()}}, headers=_headers(component))

    async def live(_asked: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_asked: Request) -> Response:
        if component.model is None:
            return JSONResponse(
                failure(503, f"slot {component.slot} holds no model", "NO_MODEL"), 503
            )
        return JSONResponse({"status": "ready", "version": component.version})

    async def version(_asked: Request) -> Response:
        return JSONResponse(component.state())

    async def metrics(_asked: Request) -> Response:
        return Response(exposition(), media_type=CONTENT_TYPE_LATEST)

    async def reload(_asked: Request) -> Response:
        try:
            await asyncio.to_thread(component.reload)
        except DeliveryError as error:
            return JSONResponse(failure(503, str(error), "NOT_LOADED"), 503)
        return JSONResponse(component.state())

    async def openapi(_asked: Request) -> Response:
        return JSONResponse(_openapi(component))

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        loading = asyncio.create_task(_keep_loading(component, follow_seconds))
        yield
        loading.cancel()
        await asyncio.to_thread(component.close)

    def refused(asked: Request, error: RequestError) -> Response:
        if asked.url.path.startswith("/api/v1.0/predictions"):
            component.count(error.code, component.model)
        return JSONResponse(error.body(), error.code, headers=_headers(component))

    def no_route(_asked: Request, error: HTTPException) -> Response:
        reason = HTTPStatus(error.status_code).name
        return JSONResponse(
            failure(error.status_code, error.detail, reason), error.status_code, error.headers
        )

    def failed(_asked: Request, _error: Exception) -> Response:
        return JSONResponse(failure(500, "the server failed", "SERVER_FAILED"), 500)

    handlers: dict[Any, Callable[..., Any]] = {
        RequestError: refused,
        HTTPException: no_route,
        Exception: failed,
    }
    return Starlette(
        routes=[
            Route("/api/v1.0/predictions", predictions, methods=["POST"]),
            Route("/api/v1.0/feedback", feedback, methods=["POST"]),
            Route("/openapi.json", openapi),
            Route("/live", live),
            Route("/ready", ready),
            Route("/version", version),
            Route("/metrics", metrics),
            Route("/reload", reload, methods=["POST"]),
            *more,
        ],
        exception_handlers=handlers,
        lifespan=lifespan,
    )


def component_of(workload: str) -> ModelComponent:
    """The component in `serving.py` of the workload's folder. Raises `DeliveryError`."""
    name = f"workloads.{workload.replace('-', '_')}.serving"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and not name.startswith(error.name):
            raise
        raise DeliveryError(f"there is no {name}: is {workload!r} a workload?") from error
    found = [
        entry
        for entry in vars(module).values()
        if isinstance(entry, type)
        and issubclass(entry, ModelComponent)
        and entry.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise DeliveryError(f"{name} must define one ModelComponent, it defines {len(found)}")
    return found[0]()


def main() -> None:
    """Serves one slot of one workload until SIGTERM, then finishes what it has begun."""
    parser = argparse.ArgumentParser(prog="python -m workloads.delivery.server")
    parser.add_argument("--workload", required=True)
    parser.add_argument("--slot", required=True)
    parser.add_argument("--port", required=True, type=int)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    os.environ["FALAJ_WORKLOAD"], os.environ["FALAJ_SLOT"] = given.workload, given.slot
    try:
        component = component_of(given.workload)
    except DeliveryError as error:
        raise SystemExit(f"the model server cannot start: {error}") from error
    run(application(component), HOST, given.port)


def run(app: Starlette, host: str, port: int) -> None:
    """Serves `app` until SIGTERM, then finishes what it has begun."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=WholeAnswers,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        # longer than the gateway keeps an idle connection, so that it is the one to close
        timeout_keep_alive=60,
    )


async def _keep_loading(component: ModelComponent, follow_seconds: float | None) -> None:
    """Loads the slot's model; tries on while the registry cannot say which one it is."""
    await asyncio.to_thread(component.load)
    while True:
        if component.model is None and component.registry_is_down:
            await asyncio.sleep(_RETRY_SECONDS)
        elif follow_seconds is not None:
            await asyncio.sleep(follow_seconds)
        else:
            return
        with contextlib.suppress(DeliveryError):
            await asyncio.to_thread(component.reload)


def model_threads() -> anyio.CapacityLimiter:
    """Those of a model that is not compiled."""
    return anyio.CapacityLimiter(_THREADS)


async def scored(
    component: ModelComponent, message: Any, threads: anyio.CapacityLimiter, *, synthetic: bool
) -> Any:
    """The component's answer to a message of the Seldon protocol. Raises `RequestError`."""
    model = component.model
    ask = functools.partial(component.predict_raw, message, synthetic=synthetic)
    if model is not None and model.scoring.is_compiled:
        # to another thread and back takes as long as the answer
        return ask()
    return await _in_time(ask, threads)


async def _in_time(ask: Callable[[], Any], threads: anyio.CapacityLimiter) -> Any:
    """The component's answer, from a thread. Raises `RequestError` when it takes too long.

    What hangs is left to itself, so that a version that hangs shows as one that fails.
    """
    try:
        with anyio.fail_after(ANSWER_SECONDS):
            return await anyio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=threads)
    except TimeoutError as error:
        raise RequestError(
            f"the model did not answer within {ANSWER_SECONDS:g} s", 504, "NO_ANSWER_IN_TIME"
        ) from error


async def read_json(asked: Request) -> Any:
    """The body as JSON. Raises `RequestError` for every body that is none, or too large a one."""
    kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(
            f"content-type: is {kind[:60] or 'missing'}, expected application/json",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        )
    body = bytearray()
    try:
        async for chunk in asked.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise RequestError(
                    f"the body exceeds {MAX_BODY_BYTES} bytes", 413, "PAYLOAD_TOO_LARGE"
                )
    except ClientDisconnect as error:
        raise RequestError("the client went away") from error
    if not body:
        raise RequestError("the body is empty, expected JSON")
    try:
        return json.loads(body)
    except RecursionError as error:
        raise RequestError("the body is nested too deep") from error
    except ValueError as error:  # covers UnicodeDecodeError and numbers of thousands of digits
        where = str(error) if isinstance(error, json.JSONDecodeError) else "not readable"
        raise RequestError(f"the body is no JSON: {where}") from error


def _reward(message: Any) -> float:
    """Checks feedback of the Seldon protocol; returns its reward, 0 where it has none."""
    if not isinstance(message, dict):
        raise RequestError("the body is no object")
    for name, value in message.items():
        if name not in ("request", "response", "truth", "reward"):
            raise RequestError(
                f"{clipped(name)}: is no field of feedback, expected request, response, truth, "
                "reward"
            )
        if name != "reward" and not isinstance(value, dict):
            raise RequestError(f"{name}: expected an object")
    reward = message.get("reward", 0)
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        raise RequestError("reward: expected a number")
    with contextlib.suppress(OverflowError):
        if math.isfinite(reward):
            return float(reward)
    raise RequestError("reward: is not a finite number")


def _headers(component: ModelComponent, version: str | None = None) -> dict[str, str]:
    return {"x-falaj-slot": component.slot, "x-falaj-version": version or component.version}


def _openapi(component: ModelComponent) -> dict[str, Any]:
    """What the slot answers to, with the fields of the model that it holds."""
    schema = component.model.schema if component.model else None
    record: dict[str, Any] = {"type": "object", "additionalProperties": schema is None}
    rows: dict[str, Any] = {"type": "array", "minItems": 1, "maxItems": MAX_RECORDS}
    if schema:
        record |= {
            "properties": {field.name: field.json_schema() for field in schema.fields},
            "required": list(schema.names),
            "example": schema.typical(),
        }
    meta = {"type": "object", "properties": {"puid": {"type": "string", "maxLength": 128}}}
    message = {
        "type": "object",
        "additionalProperties": False,
        "oneOf": [{"required": ["jsonData"]}, {"required": ["data"]}],
        "properties": {
            "meta": meta,
            "jsonData": {
                "type": "object",
                "additionalProperties": False,
                "required": ["records"],
                "properties": {"records": rows | {"items": record}},
            },
            "data": {
                "type": "object",
                "additionalProperties": False,
                "required": ["names", "ndarray"],
                "properties": {
                    "names": {"type": "array", "items": {"type": "string"}},
                    "ndarray": rows | {"items": {"type": "array"}},
                },
            },
        },
    }
    problem = {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {
                "type": "object",
                "required": ["code", "info", "reason", "status"],
                "properties": {
                    "code": {"type": "integer"},
                    "info": {"type": "string"},
                    "reason": {"type": "string"},
                    "status": {"const": "FAILURE"},
                },
            }
        },
    }
    wrong = {"content": {"application/json": {"schema": problem}}}
    answers = {
        "200": {
            "description": "An answer in the form of the request.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        "400": wrong | {"description": "The message names the field that is wrong."},
        "413": wrong | {"description": "The body is too large."},
        "415": wrong | {"description": "The body is not application/json."},
        "503": wrong | {"description": "No model is loaded."},
        "504": wrong | {"description": "The model did not answer in time."},
    }
    feedback = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "request": {"type": "object"},
            "response": {"type": "object"},
            "truth": {"type": "object"},
            "reward": {"type": "number"},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": component.workload, "version": component.version},
        "paths": {
            f"/api/v1.0/{name}": {
                "post": {
                    "operationId": name,
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": body}},
                    },
                    "responses": answers,
                }
            }
            for name, body in (("predictions", message), ("feedback", feedback))
        },
    }


if __name__ == "__main__":
    main()
