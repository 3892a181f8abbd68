"""The definitions of others' kinds, as their own Go modules hold them (`cluster/crds.ini`)."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes_api import Api, Object

_LISTED = Path(__file__).with_name("cluster") / "crds.ini"
_ESTABLISHED_SECONDS = 60.0


def define(api: Api, project: str) -> list[str]:
    """Defines the kinds of a project and waits until they are served; their definitions' names."""
    listed = configparser.ConfigParser(interpolation=None)
    listed.read(_LISTED)
    definitions = Definitions(**listed[project]).read()
    assert definitions, f"no file of {project} defines a kind"
    for definition in definitions:
        api.create(definition)
    for definition in definitions:
        _wait_until_established(api, definition)
    return [definition["metadata"]["name"] for definition in definitions]


class _Loader(yaml.CSafeLoader):
    """Takes `=` for a text, as Kubernetes does."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


@dataclass(frozen=True)
class Definitions:
    """The definitions of one project's kinds, as its Go module holds them."""

    module: str
    version: str
    sum: str
    files: str

    def read(self) -> list[Object]:
        """From Go's module cache, where they are fetched to if need be."""
        fetched = subprocess.run(
            ["go", "mod", "download", "-json", f"{self.module}@{self.version}"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"GOFLAGS": "-mod=mod"},
        )
        assert fetched.returncode == 0, fetched.stdout + fetched.stderr
        found = json.loads(fetched.stdout)
        assert found["Sum"] == self.sum, f"{self.module} {self.version} is not what it was"
        texts = [path.read_text() for path in sorted(Path(found["Dir"]).glob(self.files))]
        return [
            document
            for text in texts
            for document in yaml.load_all(text, Loader=_Loader)
            if document and document["kind"] == "CustomResourceDefinition"
        ]


def _wait_until_established(api: Api, definition: Object) -> None:
    conditions: dict[str, Any] = {}
    for seen in api.watch(definition, seconds=_ESTABLISHED_SECONDS):
        assert seen is not None, f"{definition['metadata']['name']} is gone"
        conditions = {
            condition["type"]: condition
            for condition in seen.get("status", {}).get("conditions") or []
        }
        if conditions.get("Established", {}).get("status") == "True":
            return
    raise AssertionError(f"{definition['metadata']['name']} is not established: {conditions}")
