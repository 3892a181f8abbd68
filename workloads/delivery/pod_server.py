"""The model server of a pod: what the image of the models' servers runs.

    python -m workloads.delivery.pod_server

The shell of `workloads.delivery.server` on every interface, with the addresses that the platform's
serving engine asks for. The variables that engine sets for its ports say which it is: the Seldon
protocol with Seldon's probes, or the Open Inference Protocol as MLServer answers it
(`workloads.delivery.inference`). A release moves the registry's alias and cannot reach each pod, so
the registry is asked what the slot holds every `FALAJ_FOLLOW_SECONDS`.

Environment: FALAJ_WORKLOAD, FALAJ_SLOT, FALAJ_STATE, MLFLOW_TRACKING_URI, and the three ports of
one engine, of which nothing listens on that of gRPC.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from workloads.delivery import inference, server
from workloads.delivery.component import ModelComponent
from workloads.delivery.errors import DeliveryError
from workloads.delivery.request import failure

HOST = "0.0.0.0"  # noqa: S104 of the pod, whose network policies say who comes in
FOLLOW = "FALAJ_FOLLOW_SECONDS"
FOLLOW_SECONDS = 15.0


@dataclass(frozen=True)
class Ports:
    """Where an engine wants its server."""

    engine: str
    http: int
    metrics: int


_VARIABLES = {
    "seldon": ("PREDICTIVE_UNIT_HTTP_SERVICE_PORT", "PREDICTIVE_UNIT_METRICS_SERVICE_PORT"),
    "mlserver": ("MLSERVER_HTTP_PORT", "MLSERVER_METRICS_PORT"),
}


def ports(variables: Mapping[str, str]) -> Ports:
    """What `variables` ask for. Raises `DeliveryError` unless they are of exactly one engine."""
    asked = [engine for engine, (http, _) in _VARIABLES.items() if variables.get(http)]
    if len(asked) != 1:
        names = " or ".join(http for http, _ in _VARIABLES.values())
        raise DeliveryError(f"{names} says for which engine this serves; here is {asked or 'none'}")
    (engine,) = asked
    numbers = []
    for name in _VARIABLES[engine]:
        value = variables.get(name, "")
        if not value.isdecimal() or not 0 < int(value) < 65536:
            raise DeliveryError(f"{name} is {value or 'missing'}, expected a port")
        numbers.append(int(value))
    return Ports(engine, *numbers)


def routes(engine: str, component: ModelComponent) -> Sequence[BaseRoute]:
    """What `engine` asks for beside the shell's own addresses."""
    if engine == "mlserver":
        return inference.routes(component)

    async def ping(_asked: Request) -> Response:
        return JSONResponse("pong")

    async def status(_asked: Request) -> Response:
        if component.model is None:
            return JSONResponse(
                failure(503, f"slot {component.slot} holds no model", "NO_MODEL"), 503
            )
        return JSONResponse({"data": {"names": [], "ndarray": [component.version]}})

    return [Route("/health/ping", ping), Route("/health/status", status)]


def main() -> None:
    """Serves the slot that the variables name until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asked = ports(os.environ)
        component = server.component_of(os.environ.get("FALAJ_WORKLOAD", ""))
        follow = float(os.environ.get(FOLLOW, FOLLOW_SECONDS))
    except (DeliveryError, ValueError) as error:
        raise SystemExit(f"the model server cannot start: {error}") from error
    # of its own, so that Prometheus needs no way to what answers clients
    os.environ["FALAJ_METRICS_ADDRESS"] = f"{HOST}:{asked.metrics}"
    app = server.application(component, routes(asked.engine, component), follow_seconds=follow)
    server.run(app, HOST, asked.http)


if __name__ == "__main__":
    main()
