"""Runs what an image is for, in its root, as its user, with nothing to write to but its volumes.

The environment is the Dockerfile's and what the pods of the kind add. Where a part has no answer
without a platform, such as a registry, it shows that it knows so.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.images import lay, root
from tools.images.dockerfile import Image

SECONDS = 240.0
"""Four times what a start takes on a busy machine."""


class ProofError(Exception):
    """The image does not do what it is for; the message has what it said."""


def prove(kind: str, at: Path, image: Image) -> list[str]:
    """What was seen, a line each. Raises `ProofError`."""
    owner = os.getuid(), os.getgid()
    if found := root.problems(at, shells=lay.KINDS[kind].shells, owner=owner):
        raise ProofError("\n".join(found))
    return _TRIALS[kind](at, image)


def _training(at: Path, image: Image) -> list[str]:
    helped = ended(at, image, ["falaj", "--help"])
    if "Train, govern, release" not in helped:
        raise ProofError(helped)
    ran = ended(at, image, ["python", "-c", _RAY], scratch=("spill",))
    if "the cluster says 42" not in ran:
        raise ProofError(ran)
    ended(at, image, ["python", "-c", "import workloads.delivery.hand_in"], user=8888)
    ended(at, image, ["/bin/bash", "-c", "ulimit -n && ray --version"])
    return ["falaj --help answers", "a task runs on Ray", "KubeRay's shell finds ray"]


_RAY = """
import ray
# a store of objects in /tmp, where /dev/shm is small
ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20, _temp_dir="/tmp/ray")

@ray.remote
def answer():
    import mlflow, sklearn, xgboost, workloads.delivery.tuning
    return 42

print("the cluster says", ray.get(answer.remote()))
"""


def _serving(at: Path, image: Image) -> list[str]:
    seen = []
    for http, metrics, live, ready in (
        (
            "PREDICTIVE_UNIT_HTTP_SERVICE_PORT",
            "PREDICTIVE_UNIT_METRICS_SERVICE_PORT",
            "/health/ping",
            "/health/status",
        ),
        ("MLSERVER_HTTP_PORT", "MLSERVER_METRICS_PORT", "/v2/health/live", "/v2/health/ready"),
    ):
        port, counted = _free_port(), _free_port()
        told = {
            http: str(port),
            metrics: str(counted),
            "FALAJ_WORKLOAD": "credit-risk",
            "FALAJ_SLOT": "a",
            "FALAJ_STATE": "/var/lib/falaj",
            # nobody: the slot stays empty, and the server up
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{_free_port()}",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
        with serving(at, image, told, scratch=("var/lib/falaj",)) as has_ended:
            _until(lambda: _asked(port, live)[0] == 200, live, has_ended)  # noqa: B023 in its turn
            code, _ = _asked(port, ready)
            _until(lambda: _asked(counted, "/metrics")[0] == 200, "/metrics", has_ended)  # noqa: B023
            if code != 503:
                raise ProofError(f"{ready} of an empty slot answers {code}")
        seen.append(f"{live} answers 200, {ready} of an empty slot 503, /metrics 200")
    return seen


def _tracking(at: Path, image: Image) -> list[str]:
    port = _free_port()
    told = {
        "_MLFLOW_SERVER_FILE_STORE": "sqlite:////tmp/runs.db",
        "OIDC_USERS_DB_URI": "sqlite:////tmp/users.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "/tmp/artifacts",  # noqa: S108 in the root
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{port}",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "SECRET_KEY": "of this proof alone",  # pragma: allowlist secret
        "OIDC_DISCOVERY_URL": "https://127.0.0.1:1/.well-known/openid-configuration",
        "OIDC_CLIENT_ID": "mlflow",
        "OIDC_CLIENT_SECRET": "of this proof alone",  # pragma: allowlist secret
        "DEFAULT_MLFLOW_PERMISSION": "NO_PERMISSIONS",
    }
    ended(at, image, ["python", "-c", "import psycopg, boto3; print(psycopg.pq.__impl__)"])
    words = [str(port) if word == "5000" else word for word in image.default]
    with serving(at, image, told, words=words) as has_ended:
        _until(lambda: _asked(port, "/health")[0] == 200, "/health", has_ended)
        code, _ = _asked(port, "/api/2.0/mlflow/experiments/search?max_results=1")
    if code != 401:
        raise ProofError(f"nobody who has signed in gets {code}, not 401")
    return ["/health answers 200, who has not signed in gets 401"]


_TRIALS: Mapping[str, Callable[[Path, Image], list[str]]] = {
    "training": _training,
    "serving": _serving,
    "tracking": _tracking,
}


def ended(
    at: Path,
    image: Image,
    words: list[str],
    *,
    user: int | None = None,
    scratch: tuple[str, ...] = (),
) -> str:
    """What `words` say, once they have ended well. Raises `ProofError`."""
    done = root.inside(at, words, image.environment, **_how(image, user, scratch))
    if done.returncode:
        raise ProofError(f"{' '.join(words)[:80]} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


@contextlib.contextmanager
def serving(
    at: Path,
    image: Image,
    told: Mapping[str, str],
    *,
    words: list[str] | None = None,
    scratch: tuple[str, ...] = (),
    shared: Mapping[str, Path] | None = None,
) -> Iterator[Callable[[], str | None]]:
    """The image's own command, which must not end; gives what tells what it said when it did."""
    how = _how(image, None, scratch)
    command = root.command(at, words or [*image.entry, *image.default], shared=shared, **how)
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            env={**image.environment, **told},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

        def said() -> str | None:
            if process.poll() is None:
                return None
            log.seek(0)
            return log.read()

        try:
            yield said
        finally:
            process.kill()
            process.wait()


def _how(image: Image, user: int | None, scratch: tuple[str, ...]) -> dict[str, Any]:
    own, group = (int(number) for number in image.user.split(":"))
    return {
        "user": own if user is None else user,
        "group": group,
        "scratch": ("tmp", *scratch),
        "folder": image.folder,
    }


def _until(condition: Callable[[], bool], what: str, has_ended: Callable[[], str | None]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if (said := has_ended()) is not None:
            raise ProofError(f"the command ended:\n{said[-4000:]}")
        if time.monotonic() > deadline:
            raise ProofError(f"{what} never answered")
        time.sleep(0.1)


def _asked(port: int, path: str) -> tuple[int, str]:
    """Status and body; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError:
        return 0, ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
