"""Cases of `policies/encryption/clients.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import Cases, mutated
from rule_cases.pods import NOT_KNOWN, POD, everywhere, of, pod


def told(value: Any, name: str = "MLFLOW_TRACKING_URI") -> list[Resource]:
    """A container that is told an address."""
    return pod((("containers", 0, "env"), [{"name": name, "value": value}]))


def logged(url: Any) -> list[Resource]:
    """A model below another, whose requests are logged."""
    child = {"name": "two", "logger": {"mode": "all", "url": url}}
    graph = {"name": "one", "children": [child]}
    predictors = [{"componentSpecs": [{"spec": POD}], "graph": graph}]
    return of("machinelearning.seldon.io/v1:SeldonDeployment", {"spec": {"predictors": predictors}})


PLAIN = [{"name": "AWS_ENDPOINT_URL", "value": "http://s3.example.org"}]

CASES = (
    Cases(
        rule="client-uri-is-not-plaintext",
        baseline=told("https://mlflow.example.ae"),
        fails={
            "in plain text": told("http://mlflow.example.ae"),
            "in odd case": told("HTTP://mlflow.example.ae"),
            "with a port": told("http://mlflow.example.ae:5000/path"),
            "with a password": told("http://user:word@mlflow.example.ae"),
            "an address": told("http://10.1.2.3:5000"),
            "without a scheme": told("10.1.2.3:6379", "RAY_ADDRESS"),
            "Ray": told("ray://head.example.ae:10001", "RAY_ADDRESS"),
            "with a name that looks right": told("http://mlflow.svc.example.ae"),
            "a log": logged("http://logs.example.ae"),
            **everywhere(mutated(POD, (("containers", 0, "env"), PLAIN))),
        },
        passes={
            "inside": told("http://mlflow.tracking.svc:5000"),
            "inside, by its whole name": told("http://mlflow.tracking.svc.cluster.local:5000"),
            "inside, in one word": told("http://mlflow:5000"),
            "on this machine": told("http://127.0.0.1:5000"),
            "on this machine, in new addresses": told("http://[::1]:5000"),
            "on this machine, by name": told("http://localhost:5000"),
            "of the mesh": told("http://mlflow.ml.internal:5000"),
            "a file": told("file:///mlruns"),
            "a path": told("/mlruns"),
            "a database here": told("sqlite:///mlflow.db"),
            "a database": told("postgresql://db.example.ae/mlflow"),
            "a word": told("auto", "RAY_ADDRESS"),
            "nothing": told(""),
            "filled in": told("$(URI)"),
            "something else": told("http://example.org", "HOME_PAGE"),
            "a log": logged("http://logs.monitoring.svc"),
        },
        pending={
            "address": told(UNKNOWN),
            "environment": pod((("containers", 0, "env"), UNKNOWN)),
            "a log": logged(UNKNOWN),
            "whole pod": NOT_KNOWN["whole pod"],
        },
        parameters={"inClusterHosts": ["*.ml.internal"]},
    ),
)
