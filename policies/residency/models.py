"""Rules on models and code that workloads load: from stores in the country."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import Field

from policies.common.places import Place, leaves, property_of, shown
from policies.common.pods import describes_pods, kind_of, pods
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Rule, pending
from policies.common.stack import Stack
from policies.residency.buckets import BucketRegions
from policies.residency.regions import Regions

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_BUCKETS = ("s3", "s3a", "s3n")
_MODEL = "modelUri"
_AROUND = ("spec", "predictors", "graph", "children", "explainer", _MODEL)
_CODE = ("working_dir", "py_modules")
_TEXTS: dict[tuple[str, str], tuple[tuple[str, ...], ...]] = {
    ("ray.io", "RayJob"): (("spec", "runtimeEnvYAML"),),
    ("ray.io", "RayService"): (("spec", "serveConfigV2"),),
    ("ray.io", "RayCronJob"): (("spec", "jobTemplate", "runtimeEnvYAML"),),
}
"""Where an object says in YAML which code it loads."""


class Sources(Regions):
    """Where models and code may come from, and be written to."""

    allowedSchemes: tuple[str, ...] = (  # noqa: N815
        *("s3", "pvc", "oci", "models", "runs", "mlflow-artifacts", "file"),
    )
    uriVariables: tuple[str, ...] = (  # noqa: N815
        *("MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_DEFAULT_ARTIFACT_ROOT", "RAY_STORAGE"),
    )
    knownBuckets: dict[str, str] = Field(default_factory=dict)  # noqa: N815
    """Name → region, of those that the stack does not make."""


def model_uris(stack: Stack, parameters: Sources) -> Iterator[Finding]:
    """A model is data of those it learned from, and code that runs beside theirs."""
    buckets = BucketRegions(stack, parameters.knownBuckets)
    for resource in stack:
        if not describes_pods(resource):
            continue
        if resource.hidden:
            yield pending(resource, "spec")
            continue
        for place, uri in _uris(resource, parameters):
            yield from _judged(resource, place, uri, parameters, buckets)


def _uris(resource: Resource, parameters: Sources) -> Iterator[tuple[Place, Any]]:
    for place, value in leaves(resource.properties):
        name = property_of(place)
        if name == _MODEL or (value is UNKNOWN and place[0] == "spec" and name in _AROUND):
            yield place, value
    for path in _TEXTS.get(kind_of(resource) or ("", ""), ()):
        yield from _of_text(resource.at(*path), path)
    for pod in pods(resource):
        for where, container in pod.containers():
            variables = at(container, "env")
            if variables is UNKNOWN:
                yield (f"{where}.env",), UNKNOWN
            for index, one in enumerate(variables if isinstance(variables, list) else ()):
                if at(one, "name") in parameters.uriVariables:
                    yield (f"{where}.env[{index}].value",), at(one, "value")


def _of_text(text: Any, path: tuple[str, ...]) -> Iterator[tuple[Place, Any]]:
    """The addresses of code in a text; where it is no YAML, what nobody can read."""
    if text is UNKNOWN:
        yield path, UNKNOWN
    elif isinstance(text, str):
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError:
            content = {_CODE[0]: f"unreadable:{text[:20]!r}"}
        for place, value in leaves(content):
            if property_of(place) in _CODE:
                yield (*path, *place), value


def _judged(
    resource: Resource, place: Place, uri: Any, parameters: Sources, buckets: BucketRegions
) -> Iterator[Finding]:
    where = shown(place)
    if uri is UNKNOWN:
        yield pending(resource, where)
        return
    match = _SCHEME.match(uri) if isinstance(uri, str) else None
    if match is None:
        return  # a path inside the image, a volume or the upload
    scheme = match[1].lower()
    if scheme not in parameters.allowedSchemes:
        what = f"is {uri}; allowed schemes: {', '.join(parameters.allowedSchemes)}"
        yield Finding(resource=resource, where=where, what=what)
    elif scheme in _BUCKETS:
        rest = uri[match.end() :].removeprefix("//")
        name = rest if rest.startswith("arn:") else rest.partition("/")[0]
        for _, region in buckets.of([(place, name)], resource):
            if region is UNKNOWN:
                yield pending(resource, where, f"is {uri}; in which region is its bucket?")
            elif is_missing(region):
                what = f"is {uri}: a bucket of whose region nobody knows"
                yield Finding(resource=resource, where=where, what=what)
            elif region not in parameters.allowedRegions:
                allowed = ", ".join(parameters.allowedRegions)
                what = f"is {uri}, in {region}; allowed: {allowed}"
                yield Finding(resource=resource, where=where, what=what)


RULES = (
    Rule(
        name="model-uri-comes-from-in-country-storage",
        description="Models and code are loaded from stores in the country, and kept there.",
        mend="copy the model to a bucket of the stack and use its s3 address.",
        applies_to=describes_pods,
        parameters=Sources,
        together=model_uris,
    ),
)
