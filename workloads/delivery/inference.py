"""The Open Inference Protocol over a component: what clients of the engine `mlserver` speak.

    GET  /v2    /v2/health/live    /v2/health/ready    /v2/models/{name}    /v2/models/{name}/ready
    POST /v2/models/{name}/infer

A request has one input for each feature, of n values (`[n]` or `[n, 1]`); its answer has the
outputs `probability` and `decision`, of n values each. Tensors are JSON, not binary. Checks,
answers and counting are the component's, the same as under the Seldon protocol.
Source: github.com/kserve/open-inference-protocol, REST, version 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from workloads.delivery.component import COLUMNS, ModelComponent
from workloads.delivery.request import MAX_RECORDS, RequestError, clipped
from workloads.delivery.server import SYNTHETIC_HEADER, model_threads, read_json, scored

_OUTPUTS = dict(zip(COLUMNS, ("FP64", "INT64"), strict=True))
_TYPES = {"number": "FP64", "category": "BYTES"}
_FIELDS = {"id", "inputs", "outputs", "parameters"}


def routes(component: ModelComponent) -> Sequence[BaseRoute]:
    """The protocol's addresses; the one model is called like the workload."""
    threads = model_threads()

    async def server_metadata(_asked: Request) -> Response:
        return JSONResponse({"name": "falaj", "version": component.version, "extensions": []})

    async def live(_asked: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_asked: Request) -> Response:
        is_ready = component.model is not None
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    async def model_ready(asked: Request) -> Response:
        return _other(component, asked) or await ready(asked)

    async def model_metadata(asked: Request) -> Response:
        return _other(component, asked) or JSONResponse(metadata(component))

    async def infer(asked: Request) -> Response:
        if (other := _other(component, asked)) is not None:
            return other
        synthetic = SYNTHETIC_HEADER in asked.headers
        if synthetic:
            component.count_synthetic()
        try:
            given = await read_json(asked)
            message = to_message(given)
        except RequestError as error:
            component.count(error.code, component.model)
            return _error(str(error), error.code)
        try:
            answer = await scored(component, message, threads, synthetic=synthetic)
        except RequestError as error:
            component.count(error.code, component.model)
            return _error(str(error), error.code)
        if "status" in answer:
            return _error(answer["status"]["info"], answer["status"]["code"])
        return JSONResponse(from_answer(component.workload, given.get("id"), answer))

    named = "/v2/models/{name}"
    return [
        Route("/v2", server_metadata),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route(named, model_metadata),
        Route(f"{named}/ready", model_ready),
        Route(f"{named}/infer", infer, methods=["POST"]),
    ]


def metadata(component: ModelComponent) -> dict[str, Any]:
    """What the slot's model takes and gives."""
    fields = component.model.schema.fields if component.model else ()
    return {
        "name": component.workload,
        "versions": [component.version] if component.model else [],
        "platform": "falaj",
        "inputs": [
            {"name": field.name, "datatype": _TYPES[field.kind], "shape": [-1]} for field in fields
        ],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1]}
            for name, datatype in _OUTPUTS.items()
        ],
    }


def to_message(given: Any) -> dict[str, Any]:
    """A request as a message of the Seldon protocol. Raises `RequestError` naming the input."""
    if not isinstance(given, dict) or not isinstance(given.get("inputs"), list):
        raise RequestError("inputs: expected a list of tensors, one for each feature")
    if unknown := set(given) - _FIELDS:
        raise RequestError(f"{clipped(min(unknown))}: is no field of a request")
    columns: dict[str, list[Any]] = {}
    for place, tensor in enumerate(given["inputs"]):
        name, values = _column(f"inputs[{place}]", tensor)
        if name in columns:
            raise RequestError(f"inputs[{place}].name: {clipped(name)} stands there twice")
        columns[name] = values
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise RequestError("inputs: all must have as many values")
    message: dict[str, Any] = {
        "data": {
            "names": list(columns),
            "ndarray": [list(row) for row in zip(*columns.values(), strict=True)],
        }
    }
    if given.get("id") is not None:
        message["meta"] = {"puid": given["id"]}
    return message


def _column(where: str, tensor: Any) -> tuple[str, list[Any]]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise RequestError(f"{where}.name: expected the name of a feature")
    shape, values = tensor.get("shape"), tensor.get("data")
    if not isinstance(values, list) or len(values) > MAX_RECORDS:
        raise RequestError(f"{where}.data: expected a list of up to {MAX_RECORDS} values")
    if shape not in ([len(values)], [len(values), 1]):
        raise RequestError(f"{where}.shape: expected [{len(values)}], as there are values in data")
    if values and all(isinstance(value, list) and len(value) == 1 for value in values):
        values = [value[0] for value in values]
    kind = str(tensor.get("datatype"))
    if kind == "BYTES":
        fits = all(isinstance(value, str | None) for value in values)
    elif kind.startswith(("FP", "INT", "UINT")):
        fits = all(
            isinstance(value, int | float | None) and not isinstance(value, bool)
            for value in values
        )
    else:
        raise RequestError(f"{where}.datatype: is {clipped(kind)}, expected FP64, INT64 or BYTES")
    if not fits:
        raise RequestError(f"{where}.data: holds values that are no {kind}")
    return tensor["name"], values


def from_answer(name: str, asked_id: Any, answer: dict[str, Any]) -> dict[str, Any]:
    """The component's answer in rows, as outputs; its tags are parameters."""
    rows, meta = answer["data"]["ndarray"], answer["meta"]
    return {
        "model_name": name,
        "model_version": str(meta["tags"]["version"]),
        "id": asked_id or meta["puid"],
        "parameters": meta["tags"],
        "outputs": [
            {
                "name": column,
                "datatype": datatype,
                "shape": [len(rows)],
                "data": [row[place] for row in rows],
            }
            for place, (column, datatype) in enumerate(_OUTPUTS.items())
        ],
    }


def _other(component: ModelComponent, asked: Request) -> Response | None:
    """A 404 where another model than the workload's is asked for."""
    name = asked.path_params["name"]
    if name == component.workload:
        return None
    return _error(f"there is no model {clipped(name)}, there is {component.workload}", 404)


def _error(message: str, code: int) -> Response:
    return JSONResponse({"error": message}, code)
