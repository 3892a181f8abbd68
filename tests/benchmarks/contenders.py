"""Bare servers round the same model, to compare with: no checks of a request, no metrics.

    python tests/benchmarks/contenders.py --model FOLDER --port 9000 [--compiled]

serves `POST /predict` with a list of records by FastAPI, FOLDER being a fetched model's. `Bare` is
the same for MLServer, in an environment of its own.
"""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workloads.delivery import compiled
from workloads.delivery.request import Record


def scorer_of(folder: Path, *, is_compiled: bool) -> compiled.Scorer:
    """The scorer of the model in `folder`."""
    # the model that this environment registered itself
    pipeline = pickle.loads((folder / "model.pkl").read_bytes())  # noqa: S301
    if is_compiled:
        return compiled.compile_pipeline(pipeline)
    return compiled.pipeline_scorer(pipeline, list(pipeline.feature_names_in_))


def fastapi(score: compiled.Scorer) -> Any:
    """A FastAPI application with one path."""
    from fastapi import FastAPI, Request

    application = FastAPI()

    async def predict(asked: Request) -> Any:
        records: Sequence[Record] = await asked.json()
        return {"probabilities": score(records)}

    # the annotations of a nested function are texts that FastAPI cannot resolve
    predict.__annotations__ = {"asked": Request, "return": Any}
    application.post("/predict")(predict)
    return application


try:
    from mlserver import MLModel  # type: ignore[import-not-found]
    from mlserver.codecs import StringCodec  # type: ignore[import-not-found]
    from mlserver.types import (  # type: ignore[import-not-found]
        InferenceRequest,
        InferenceResponse,
        ResponseOutput,
    )
except ImportError:
    pass
else:
    import json

    class Bare(MLModel):  # type: ignore[misc]
        """One text per record; one probability each."""

        async def load(self) -> bool:
            folder = Path(os.environ["FALAJ_BENCH_MODEL"])
            self._score = scorer_of(folder, is_compiled=bool(os.environ["FALAJ_BENCH_COMPILED"]))
            return True

        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            texts = StringCodec.decode_input(payload.inputs[0])
            found = self._score([json.loads(text) for text in texts])
            output = ResponseOutput(
                name="probabilities", shape=[len(found)], datatype="FP64", data=found
            )
            return InferenceResponse(model_name=self.name, outputs=[output])


def main() -> None:
    """The command line described in the module's docstring."""
    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--compiled", action="store_true")
    given = parser.parse_args()
    score = scorer_of(given.model, is_compiled=given.compiled)
    uvicorn.run(
        fastapi(score), host="127.0.0.1", port=given.port, access_log=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
