"""A model as a Seldon component: the same class under every shell.

`workloads.delivery.server` runs it on one machine, `workloads.delivery.pod_server` in a pod, and
`seldon-core-microservice` can. It owns what an answer says and what is counted about it; the shell
owns HTTP. Which model it answers with
is the registry's word (`workloads.delivery.slot`).

Environment: FALAJ_WORKLOAD (unless the class says so), FALAJ_SLOT, FALAJ_STATE,
MLFLOW_TRACKING_URI. Where the shell does not serve `/metrics` itself, FALAJ_METRICS_ADDRESS
(`host:port`) says where the component does, and PROMETHEUS_MULTIPROC_DIR, an empty folder, makes it
count for all processes of the shell. Those of `workloads.delivery.capture` where predictions are
kept.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Summary,
    generate_latest,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector

from workloads.delivery import capture, request
from workloads.delivery.capture import NEGATIVE, POSITIVE
from workloads.delivery.connection import registered_name
from workloads.delivery.errors import DeliveryError
from workloads.delivery.request import Record, RequestError
from workloads.delivery.seldon import (
    SeldonComponent,
    SeldonMicroserviceException,
    SeldonNotImplementedError,
)
from workloads.delivery.slot import LoadedModel, RegistryDownError, SlotModels

log = logging.getLogger(__name__)

NO_VERSION = "none"
COLUMNS = ("probability", "decision")
"""Of an answer in rows: probability of the positive outcome, and 1 where the decision is for it."""

_WHO = ("workload", "slot", "version")
REQUESTS = Counter("falaj_requests", "Requests for predictions by HTTP status.", (*_WHO, "code"))
SYNTHETIC = Counter(
    "falaj_synthetic_requests",
    "Those of falaj_requests that a release replayed, by what they say of themselves.",
    _WHO,
)
SECONDS = Histogram(
    "falaj_request_seconds",
    "Time to answer a request for predictions, checks included.",
    _WHO,
    buckets=(
        *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05),
        *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    ),
)
PREDICTIONS = Counter("falaj_predictions", "Predicted records by decision.", (*_WHO, "decision"))
REWARD = Summary("falaj_feedback_reward", "Rewards that clients sent back.", _WHO)
MODEL = Gauge(
    "falaj_model_info",
    "1 for the version that is loaded.",
    (*_WHO, "digest"),
    multiprocess_mode="livemax",
)


def exposition() -> bytes:
    """What is counted, in Prometheus' text format."""
    return generate_latest(_counted())


def _counted() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    counted = CollectorRegistry()
    MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
    return counted


class ModelComponent(SeldonComponent):  # type: ignore[misc]  # seldon_core has no types
    """Answers with the model of a slot; a workload names itself in a subclass."""

    workload = ""

    def __init__(self) -> None:
        """Reads the environment; loads nothing yet. Raises `DeliveryError` naming what it lacks."""
        super().__init__()
        self.workload = self.workload or _variable("FALAJ_WORKLOAD")
        self.slot = _variable("FALAJ_SLOT")
        self._models = SlotModels(
            registered_name(self.workload, os.environ), self.slot, Path(_variable("FALAJ_STATE"))
        )
        self._model: LoadedModel | None = None
        self._loaded_at: datetime | None = None
        self._loading = threading.Lock()
        self._problem: str | None = None
        self._capture = capture.from_variables(os.environ, self.workload, self.slot)
        self.registry_is_down = False
        """Whether the registry could not be asked the last time."""

    # -- the model ---------------------------------------------------------------------------

    @property
    def model(self) -> LoadedModel | None:
        """The model that answers now."""
        return self._model

    @property
    def version(self) -> str:
        """Its version in the registry, `NO_VERSION` for an empty slot."""
        return self._model.version if self._model else NO_VERSION

    def load(self) -> None:
        """Loads what the registry has for the slot, or the last copy while the registry is down.

        Called once by every shell, before the first request. A failure leaves the slot empty and
        stands in `state`; the shell stays up, so that a later `reload` can mend it.
        """
        if address := os.environ.get("FALAJ_METRICS_ADDRESS"):
            host, _, port = address.rpartition(":")
            try:
                start_http_server(int(port), host, registry=_counted())
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                log.info("another process of this shell serves %s for all", address)
        if self._capture is not None:
            # a shell that forks has done so by now: no thread lives on in a child
            self._capture.start()
        try:
            self.reload()
        except RegistryDownError as error:
            self._load_copy(error)
        except DeliveryError:
            log.exception("the slot %s stays empty", self.slot)

    def close(self) -> None:
        """Writes what is still to be kept of the predictions; for a shell that stops."""
        if self._capture is not None:
            self._capture.close()

    def reload(self) -> str:
        """Loads what the registry says now and swaps when that has answered a first record.

        Returns the version, `NO_VERSION` when the slot was emptied. Raises `DeliveryError` when it
        cannot be done; the model that was there goes on answering.
        """
        with self._loading:
            try:
                assigned = self._models.assigned()
                if assigned is None:
                    self._models.forget()
                    self._swap(None)
                elif self._model is None or assigned != (self._model.version, self._model.digest):
                    self._swap(self._models.load(*assigned))
            except DeliveryError as error:
                self._problem = str(error)
                self.registry_is_down = isinstance(error, RegistryDownError)
                raise
            self._problem = None
            self.registry_is_down = False
            return self.version

    def _load_copy(self, reason: RegistryDownError) -> None:
        with self._loading:
            kept = self._models.remembered()
            if kept is None:
                log.error("no model and no copy of one: %s", reason)
                return
            try:
                self._swap(self._models.load(*kept))
                log.warning("serving the copy of version %s: %s", kept[0], reason)
            except DeliveryError:
                log.exception("the local copy is of no use")

    def _swap(self, model: LoadedModel | None) -> None:
        before, self._model = self._model, model
        self._loaded_at = datetime.now(UTC) if model else None
        if before:
            who = (self.workload, self.slot, before.version, before.digest)
            MODEL.labels(*who).set(0)
            if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
                MODEL.remove(*who)
        if model:
            MODEL.labels(self.workload, self.slot, model.version, model.digest).set(1)
            self._begin_counting(model)
        log.info("slot %s serves version %s", self.slot, self.version)

    def _begin_counting(self, model: LoadedModel) -> None:
        """Shows every counter at 0 before the first request: a rate needs where it began."""
        who = self._who(model)
        for code in ("200", "500"):
            REQUESTS.labels(*who, code)
        for decision in (POSITIVE, NEGATIVE):
            PREDICTIONS.labels(*who, decision)
        SECONDS.labels(*who)

    def state(self) -> dict[str, Any]:
        """What the slot holds, and the last problem of loading, for `/version`."""
        model = self._model
        return {
            "workload": self.workload,
            "slot": self.slot,
            "version": model.version if model else None,
            "digest": model.digest if model else None,
            "loaded_at": self._loaded_at.isoformat(timespec="seconds") if self._loaded_at else None,
            "loading": self._loading.locked(),
            "problem": self._problem,
            # null where the answers come from compiled arithmetic, else why they do not
            "uncompiled": model.scoring.refusal if model else None,
        }

    # -- the Seldon protocol -----------------------------------------------------------------

    def predict_raw(self, msg: Any, *, synthetic: bool = False) -> dict[str, Any]:
        """Answers a message of the Seldon protocol (JSON, decoded), in the form it came in.

        Never raises for what a client sent: a failure carries its HTTP status in `status.code`.
        What is `synthetic` says nothing about what is asked, and is not kept.
        """
        if not isinstance(msg, dict | list | str | int | float | bool | None):
            raise SeldonNotImplementedError("protobuf messages go through predict")
        started = time.perf_counter()
        model = self._model
        code = 200
        try:
            answer = self._answer(model, msg, keep=not synthetic)
        except RequestError as error:
            code = error.code
            answer = error.body()
        except Exception:
            log.exception("version %s failed on a valid request", self.version)
            code = 500
            answer = request.failure(500, "the model failed on this request", "MODEL_FAILED")
        self.count(code, model)
        SECONDS.labels(*self._who(model)).observe(time.perf_counter() - started)
        return answer

    def predict(
        self,
        X: Any,  # noqa: N803
        names: Iterable[str],
        meta: dict[str, Any] | None = None,
    ) -> Any:
        """Answers rows `X` (n by the number of `names`), or `{"records": [...]}` with a dict.

        The way of protobuf messages and of plain calls. Raises Seldon's exception with status 400.
        """
        del meta
        model = self._model
        try:
            if isinstance(X, dict):
                message: dict[str, Any] = {"jsonData": X}
            else:
                rows = [self._typed(row, list(names)) for row in X]
                message = {"data": {"names": list(names), "ndarray": rows}}
            answer = self._answer(model, message)
        except RequestError as error:
            self.count(error.code, model)
            raise SeldonMicroserviceException(
                str(error), error.code, reason=error.reason
            ) from error
        self.count(200, model)
        return answer["jsonData"] if isinstance(X, dict) else answer["data"]["ndarray"]

    def class_names(self) -> list[str]:
        """The columns of an answer in rows."""
        return list(COLUMNS)

    def tags(self) -> dict[str, Any]:
        """Who answers; on every answer in `meta.tags`."""
        return self._tags(self._model)

    def health_status(self) -> list[str]:
        """The version that answers. Raises Seldon's exception with status 503 in an empty slot."""
        if self._model is None:
            raise SeldonMicroserviceException(
                f"slot {self.slot} holds no model", 503, reason="NO_MODEL"
            )
        return [self._model.version]

    def send_feedback(
        self,
        features: Any,
        feature_names: Iterable[str],
        reward: float,
        truth: Any,
        routing: int | None = None,
    ) -> list[Any]:
        """Counts what a client learnt of an earlier answer; `reward` is finite."""
        del features, feature_names, truth, routing
        REWARD.labels(*self._who(self._model)).observe(reward)
        return []

    # -- inside ------------------------------------------------------------------------------

    def count(self, code: int, model: LoadedModel | None) -> None:
        """Counts an answer; a shell does so for what never reached `predict_raw`."""
        REQUESTS.labels(*self._who(model), str(code)).inc()

    def count_synthetic(self) -> None:
        """Counts a request that says of itself that it is synthetic."""
        SYNTHETIC.labels(*self._who(self._model)).inc()

    def _who(self, model: LoadedModel | None) -> tuple[str, str, str]:
        return self.workload, self.slot, model.version if model else NO_VERSION

    def _tags(self, model: LoadedModel | None) -> dict[str, Any]:
        workload, slot, version = self._who(model)
        tags: dict[str, Any] = {"workload": workload, "version": version, "slot": slot}
        if model:
            tags |= {"positive": model.schema.positive, "threshold": model.schema.threshold}
        return tags

    def _answer(
        self, model: LoadedModel | None, message: Any, *, keep: bool = True
    ) -> dict[str, Any]:
        if model is None:
            raise RequestError(f"slot {self.slot} holds no model", 503, "NO_MODEL")
        form, given = request.entries(message)
        records: list[Record] = model.schema.check(given)
        probabilities = model.scoring.score(records)
        if not all(0 <= probability <= 1 for probability in probabilities):
            raise ValueError(f"version {model.version} gave a probability outside 0 to 1")
        decided = [probability >= model.schema.threshold for probability in probabilities]
        labels = self._who(model)
        for decision, number in ((POSITIVE, sum(decided)), (NEGATIVE, decided.count(False))):
            PREDICTIONS.labels(*labels, decision).inc(number)
        meta: dict[str, Any] = {
            "puid": _puid(message),
            "tags": self._tags(model),
            "requestPath": {self.workload: model.version},
        }
        kept = self._capture if keep else None
        if kept is not None and kept.draws(meta["puid"], len(records)):
            kept.offer(
                capture.Seen(
                    version=model.version,
                    schema=model.schema,
                    request=meta["puid"],
                    records=records,
                    probabilities=probabilities,
                    decided=decided,
                )
            )
        if form == "records":
            predictions = [
                {"probability": probability, "decision": POSITIVE if positive else NEGATIVE}
                for probability, positive in zip(probabilities, decided, strict=True)
            ]
            return {"jsonData": {"predictions": predictions}, "meta": meta}
        rows = [[p, int(positive)] for p, positive in zip(probabilities, decided, strict=True)]
        return {"data": {"names": list(COLUMNS), "ndarray": rows}, "meta": meta}

    def _typed(self, row: Iterable[Any], names: Sequence[str]) -> list[Any]:
        """A row with its types again: one array of numbers and texts holds nothing but texts."""
        numbers = {
            field.name
            for field in (self._model.schema.fields if self._model else ())
            if field.kind == "number"
        }
        values = []
        for place, value in enumerate(row):
            plain = value.item() if hasattr(value, "item") else value
            if place < len(names) and names[place] in numbers and isinstance(plain, str):
                try:
                    plain = float(plain)
                except ValueError:
                    plain = None if plain in ("None", "") else plain
            values.append(None if plain == "None" else plain)
        return values


def _puid(message: dict[str, Any]) -> str:
    """The client's id of this request, else a new one."""
    given = message.get("meta", {}).get("puid")
    if given is None:
        return uuid.uuid4().hex
    if not isinstance(given, str) or not given.isascii() or not 0 < len(given) <= 128:
        raise RequestError("meta.puid: expected an ASCII text of up to 128 characters")
    return given


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise DeliveryError(f"the environment variable {name} is not set")
    return value
