"""Dagster's configuration files: the instance, and the workspace put together from code locations.

A workload adds one file a code location to `<directory>/locations`; `assemble` joins them. Run as a
module it does so and then becomes the command that reads the result:

    python -m components.local.orchestration_files DIRECTORY -- dagster-webserver …
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path

import yaml

from components.local import files

RELOAD_SECONDS = 30
_RELOAD = "mutation { reloadWorkspace { __typename ... on PythonError { message } } }"

INSTANCE = """\
telemetry:
  enabled: false
# no page that asks for an e-mail address
nux:
  enabled: false
run_launcher:
  module: dagster
  class: DefaultRunLauncher
run_monitoring:
  enabled: true
"""


class OrchestratorError(Exception):
    """Dagster refuses to load its workspace."""


def location(name: str, host: str, port: int) -> str:
    """The content of a workload's file: one code location served over gRPC."""
    return json.dumps({"grpc_server": {"host": host, "port": port, "location_name": name}})


def assemble(directory: Path) -> Path:
    """Writes `workspace.yaml` from all `locations/*.json` and returns its path."""
    locations = sorted((directory / "locations").glob("*.json"))
    workspace = {"load_from": [json.loads(path.read_text()) for path in locations]}
    path = directory / "workspace.yaml"
    files.write(path, yaml.safe_dump(workspace))
    return path


def reload(address: str) -> None:
    """Lets the webserver at `address` read the workspace again. Raises `OrchestratorError`."""
    request = urllib.request.Request(  # noqa: S310 the address is made by our components
        f"{address}/graphql",
        data=json.dumps({"query": _RELOAD}).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=RELOAD_SECONDS) as answer:
        result = json.load(answer)
    outcome = (result.get("data") or {}).get("reloadWorkspace") or {}
    if outcome.get("__typename") != "Workspace":
        raise OrchestratorError(outcome.get("message") or json.dumps(result))


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606 no shell is what we want
