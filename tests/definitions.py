"""The definitions of others' kinds, as their own Go modules hold them (`cluster/*.ini`)."""

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

_FOLDER = Path(__file__).with_name("cluster")
_ESTABLISHED_SECONDS = 60.0


def define(api: Api, project: str) -> list[str]:
    """Defines the kinds of a project and waits until they are served; their definitions' names."""
    definitions = modules("crds.ini")[project].definitions()
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
class Module:
    """A Go module of somebody else's project."""

    module: str
    version: str
    sum: str
    files: str
    """A pattern of paths inside."""

    def folder(self) -> Path:
        """Where Go's module cache has it, fetched if need be."""
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
        return Path(found["Dir"])

    def definitions(self) -> list[Object]:
        """The definitions of kinds in its files."""
        texts = [path.read_text() for path in sorted(self.folder().glob(self.files))]
        return [
            document
            for text in texts
            for document in yaml.load_all(text, Loader=_Loader)
            if document and document["kind"] == "CustomResourceDefinition"
        ]


def modules(file: str) -> dict[str, Module]:
    """Those that a file in `cluster` lists, by name."""
    listed = configparser.ConfigParser(interpolation=None)
    listed.read(_FOLDER / file)
    return {name: Module(**listed[name]) for name in listed.sections()}


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
