"""Cases of `policies/residency/models.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import PROVIDER, Cases, resource
from rule_cases.namespaces import hidden
from rule_cases.pods import POD, of, pod
from rule_cases.ray import CLUSTER, JOB

BUCKET = "aws:s3/bucket:Bucket"
HOME = resource(BUCKET, "models", {"bucket": "models"}, provider=PROVIDER)
ABROAD = resource(BUCKET, "abroad", {"bucket": "abroad", "region": "eu-west-1"}, provider=PROVIDER)
NAMELESS = resource(BUCKET, "other", {"bucket": UNKNOWN}, provider=PROVIDER)


def served(uri: Any, **graph: Any) -> list[Resource]:
    """A model below another in the graph."""
    child = {"name": "two", "modelUri": uri, **graph}
    graph = {"name": "one", "children": [child]}
    predictors = [{"componentSpecs": [{"spec": POD}], "graph": graph}]
    kind = "machinelearning.seldon.io/v1:SeldonDeployment"
    return [HOME, ABROAD, *of(kind, {"spec": {"predictors": predictors}})]


def explained(uri: Any) -> list[Resource]:
    """A model with an explainer."""
    predictors = [{"componentSpecs": [{"spec": POD}], "explainer": {"modelUri": uri}}]
    kind = "machinelearning.seldon.io/v1:SeldonDeployment"
    return [HOME, *of(kind, {"spec": {"predictors": predictors}})]


def told(value: Any, name: str = "MLFLOW_ARTIFACTS_DESTINATION") -> list[Resource]:
    """A server that keeps its artifacts somewhere."""
    return [HOME, ABROAD, *pod((("containers", 0, "env"), [{"name": name, "value": value}]))]


def job(text: Any) -> list[Resource]:
    """A job with code of its own."""
    spec = {**JOB, "rayClusterSpec": CLUSTER, "runtimeEnvYAML": text}
    return [HOME, *of("ray.io/v1:RayJob", {"spec": spec})]


def service(text: Any) -> list[Resource]:
    """Applications with code of their own."""
    spec = {"rayClusterConfig": CLUSTER, "serveConfigV2": text}
    return [HOME, *of("ray.io/v1:RayService", {"spec": spec})]


GITHUB = "https://github.com/a/b/archive/main.zip"
APPLICATION = "applications:\n  - name: one\n    runtime_env:\n      working_dir: "
NIGHTLY = {**JOB, "rayClusterSpec": CLUSTER, "runtimeEnvYAML": f"working_dir: {GITHUB}"}

CASES = (
    Cases(
        rule="model-uri-comes-from-in-country-storage",
        baseline=served("s3://models/credit/1"),
        fails={
            "from the web": served("https://example.org/model"),
            "from another cloud": served("gs://models/credit/1"),
            "in odd case": served("GS://models/credit/1"),
            "from a hub": served("hf://org/model"),
            "from abroad": served("s3://abroad/credit/1"),
            "from a bucket that nobody knows": served("s3://seldon-models/iris"),
            "an explainer": explained("gs://seldon-models/explainer"),
            "artifacts abroad": told("s3://abroad/artifacts"),
            "artifacts on another cloud": told("wasbs://a@b/c", "RAY_STORAGE"),
            "code from the web": job(f"working_dir: {GITHUB}"),
            "parts of it": job(f"py_modules:\n  - s3://models/a.zip\n  - {GITHUB}"),
            "in JSON": job(f'{{"working_dir": "{GITHUB}"}}'),
            "no YAML": job("working_dir: ["),
            "an application": service(APPLICATION + GITHUB),
            "every night": of("ray.io/v1:RayCronJob", {"spec": {"jobTemplate": NIGHTLY}}),
        },
        passes={
            "from a volume": served("pvc://models/credit"),
            "from the registry": served("models:/credit@slot-blue"),
            "from a path": served("/mnt/models"),
            "of a bucket that is known": served("s3://shared-models/1"),
            "by its ARN": served("s3://arn:aws:s3:::models/1"),
            "artifacts": told("s3://models/artifacts"),
            "artifacts through the server": told(
                "mlflow-artifacts:/", "MLFLOW_DEFAULT_ARTIFACT_ROOT"
            ),
            "something else": told("https://example.org", "HOME_PAGE"),
            "code": job("working_dir: s3://models/code.zip\nenv_vars:\n  A: https://b"),
            "code of the image": service(APPLICATION + "/srv/app"),
        },
        pending={
            "address": served(UNKNOWN),
            "graph": served("s3://models/1", children=UNKNOWN),
            "artifacts": told(UNKNOWN),
            "code": job(UNKNOWN),
            "name of the bucket": [NAMELESS, *served("s3://seldon-models/iris")[1:]],
            "everything": [hidden("apps/v1:Deployment")],
        },
        parameters={"knownBuckets": {"shared-models": "me-central-1"}},
    ),
)
