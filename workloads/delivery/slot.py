"""The model of one slot: which version the registry puts there, and a local copy of it.

Owns the folder `<state>/slots/<slot>`: the files of the last version that was loaded, so that a
model server starts when the registry is down. The registry's alias `slot-<slot>` is only read here;
releases write it.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from workloads.delivery import compiled, files, registry
from workloads.delivery.compiled import Served
from workloads.delivery.errors import DeliveryError, NotUpError
from workloads.delivery.request import Schema

log = logging.getLogger(__name__)

METADATA = "falaj"
"""The key of what Falaj says about a model in the metadata of the logged model."""

_LOCK_SECONDS = 120


def alias_of(slot: str) -> str:
    """The registry alias that says which version sits in `slot`."""
    return f"slot-{slot}"


@dataclass(frozen=True)
class LoadedModel:
    """A model that has answered a first record."""

    version: str
    digest: str
    schema: Schema
    scoring: Served


class RegistryDownError(NotUpError):
    """The registry does not answer, so nobody knows what it says."""


class SlotModels:
    """Finds, fetches and loads the versions of one slot."""

    def __init__(self, model: str, slot: str, state: Path) -> None:
        """`model` is the registered one's name, `state` the workload's private folder. MLflow's
        address is MLFLOW_TRACKING_URI.
        """
        self.model = model
        self.slot = slot
        self._folder = state / "slots" / slot

    def assigned(self) -> tuple[str, str] | None:
        """Version and digest that the registry has for this slot now, `None` for an empty slot.

        Raises `RegistryDownError`, and `DeliveryError` for a version without a digest.
        """
        # asked by a server that has something else to do than to wait
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            client = MlflowClient()
            alias = client.get_registered_model(self.model).aliases.get(alias_of(self.slot))
            if alias is None:
                return None
            tags = client.get_model_version(self.model, alias).tags
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise RegistryDownError(
                f"the registry does not answer: {_first_line(error)}"
            ) from error
        digest = tags.get(registry.TAG_DIGEST)
        if not digest:
            raise DeliveryError(
                f"{self.model} version {alias} has no tag {registry.TAG_DIGEST}: "
                "it was not registered by the chain"
            )
        return str(alias), str(digest)

    def remembered(self) -> tuple[str, str] | None:
        """Version and digest of the local copy, `None` when there is none."""
        kept = files.read_json(self._folder / "loaded.json")
        if not isinstance(kept, dict) or not {"version", "digest"} <= set(kept):
            return None
        return str(kept["version"]), str(kept["digest"])

    def load(self, version: str, digest: str) -> LoadedModel:
        """Loads a version from its local copy, fetched first when missing or altered.

        Raises `DeliveryError` when the files are not those that were registered, cannot be had, or
        do not make a model that answers.
        """
        try:
            with self._alone():
                folder = self._copy(version, digest)
                if folder is None:
                    folder = self._fetch(version, digest)
            model = _open(folder, version, digest)
        except DeliveryError:
            raise
        except Exception as error:
            raise DeliveryError(
                f"{self.model} version {version} cannot be loaded: "
                f"{type(error).__name__}: {_first_line(error)}"
            ) from error
        with self._alone():
            if self._is_noted(version, digest):
                for other in self._folder.glob("model-*"):
                    if other != folder:
                        shutil.rmtree(other, ignore_errors=True)
        return model

    def _is_noted(self, version: str, digest: str) -> bool:
        """Notes what the slot holds; a disk that is full is no reason not to serve it."""
        if self.remembered() == (version, digest):
            return True
        try:
            files.write_json(self._folder / "loaded.json", {"version": version, "digest": digest})
        except OSError as error:
            log.warning("slot %s holds version %s, not noted: %s", self.slot, version, error)
            return False
        return True

    def forget(self) -> None:
        """Drops the local copy, so that an emptied slot stays empty."""
        (self._folder / "loaded.json").unlink(missing_ok=True)

    def _alone(self) -> FileLock:
        """Keeps the slot's other workers from the folder: they load the same files."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(self._folder / "lock", timeout=_LOCK_SECONDS)

    def _place(self, version: str, digest: str) -> Path:
        # a registry that was made anew counts its versions anew
        return self._folder / f"model-{version}-{digest[:16]}"

    def _copy(self, version: str, digest: str) -> Path | None:
        folder = self._place(version, digest)
        if not folder.is_dir():
            return None
        if registry.model_digest(folder) == digest:
            return folder
        log.warning("the local copy of version %s was altered; fetching it again", version)
        shutil.rmtree(folder)
        return None

    def _fetch(self, version: str, digest: str) -> Path:
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        import mlflow

        fetched = self._folder / f".fetch-{os.getpid()}"
        shutil.rmtree(fetched, ignore_errors=True)
        fetched.mkdir()
        try:
            mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{self.model}/{version}", dst_path=str(fetched)
            )
            found = registry.model_digest(fetched)
            if found != digest:
                raise DeliveryError(
                    f"{self.model} version {version}: the stored model's digest is "
                    f"{found[:12]}…, registered was {digest[:12]}…: its files were altered"
                )
            folder = self._place(version, digest)
            fetched.replace(folder)
        except DeliveryError:
            raise
        except Exception as error:
            raise DeliveryError(
                f"{self.model} version {version} cannot be fetched: {_first_line(error)}"
            ) from error
        finally:
            shutil.rmtree(fetched, ignore_errors=True)
        return folder


def _open(folder: Path, version: str, digest: str) -> LoadedModel:
    from mlflow.models import Model

    metadata = (Model.load(str(folder)).metadata or {}).get(METADATA)
    if metadata is None:
        raise ValueError(f"its metadata has no {METADATA!r}")
    schema = Schema.from_metadata(metadata)
    served = compiled.scorer(registry.load_model(folder), schema)
    (probability,) = served.score([schema.typical()])
    if not 0 <= probability <= 1:
        raise ValueError(f"it gives {probability} as a probability")
    return LoadedModel(version, digest, schema, served)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
