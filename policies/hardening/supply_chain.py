"""Rules on what is brought in from elsewhere: images and charts are the ones that were reviewed."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from typing import Any

from policies.common.accounts import accounts_of
from policies.common.images import Registries, comes_from, images, names_images
from policies.common.pods import namespace_of
from policies.common.properties import EACH, dotted, places
from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import Stack
from policies.guards.pods import DIGEST, LATEST
from policies.hardening.pods import Exempt

_DIGEST, _LATEST = re.compile(DIGEST), re.compile(LATEST)
_VERSION = re.compile(r"v?\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")

_REPOSITORY = "aws:ecr/repository:Repository"
_TEMPLATE = "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate"
_SCANNING = "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration"
_RELEASE = "kubernetes:helm.sh/v3:Release"
_CHART = "kubernetes:helm.sh/v4:Chart"
_WAYS_IN = ("./", "../", "/")


def pinned(resource: Resource, parameters: Exempt) -> Iterator[Finding]:
    """A tag names something else tomorrow; a digest does not."""
    namespace = namespace_of(resource) if resource.type.startswith("kubernetes:") else ""
    if namespace in parameters.exemptNamespaces:
        return
    for where, image in images(resource):
        what = _loose(image)
        if image is UNKNOWN:
            yield pending(resource, where)
        elif what and namespace is UNKNOWN and parameters.exemptNamespaces:
            yield pending(resource, where, f"{what}; of which namespace?")
        elif what:
            yield Finding(resource=resource, where=where, what=what)


def _loose(image: Any) -> str:
    if is_missing(image):
        return "is not set"
    if not _DIGEST.fullmatch(str(image)):
        return f"is {image}, without a digest"
    return f"is {image}: its tag says latest" if _LATEST.search(str(image)) else ""


class Tags(Parameters):
    """Which tags may be moved."""

    allowedExclusions: tuple[str, ...] = ()  # noqa: N815


def tags_are_immutable(resource: Resource, parameters: Tags) -> Iterator[Finding]:
    """Who may push could otherwise put something else behind a name that was reviewed."""
    value = resource.at("imageTagMutability")
    if value is UNKNOWN:
        yield pending(resource, "imageTagMutability")
    elif value == "IMMUTABLE_WITH_EXCLUSION":
        path = ("imageTagMutabilityExclusionFilters", EACH)
        for place in places(resource.properties, path):
            yield from _excluded(resource, place, parameters)
    elif value != "IMMUTABLE":
        shown = "is not set" if is_missing(value) else f"is {value}"
        what = f"{shown}; allowed: IMMUTABLE"
        yield Finding(resource=resource, where="imageTagMutability", what=what)


def _excluded(resource: Resource, place: Any, parameters: Tags) -> Iterator[Finding]:
    pattern = resource.at(*place, "filter")
    where = dotted((*place, "filter"))
    if pattern is UNKNOWN:
        yield pending(resource, where)
    elif pattern not in parameters.allowedExclusions:
        allowed = ", ".join(parameters.allowedExclusions) or "none"
        what = f"is {pattern}, whose tags may be moved; allowed: {allowed}"
        yield Finding(resource=resource, where=where, what=what)


class Scans(Parameters):
    """Who scans."""

    registryBaselineInOtherStack: bool = False  # noqa: N815
    """Whether another program sets the scanning of the whole registry."""


def images_are_scanned(stack: Stack, parameters: Scans) -> Iterator[Finding]:
    """The registry's own configuration, where there is one, says it for all repositories."""
    if parameters.registryBaselineInOtherStack:
        return
    registries = stack.of({_SCANNING})
    for repository in stack.of({_REPOSITORY}):
        on = repository.at("imageScanningConfiguration", "scanOnPush")
        answers = [on, *(_covers(registry, repository) for registry in registries)]
        if True in answers:
            continue
        where = "imageScanningConfiguration.scanOnPush"
        if UNKNOWN in answers:
            yield pending(repository, where)
        else:
            what = "is not true, and no rule of the registry scans it"
            yield Finding(resource=repository, where=where, what=what)


def _covers(registry: Resource, repository: Resource) -> Any:
    """Whether `registry` has images of `repository` scanned by itself, or `UNKNOWN`."""
    regions = (_region(registry), _region(repository))
    if regions[0] != regions[1] and not any(map(_unsaid, regions)):
        return False
    rules = registry.at("rules")
    answers = [rules]
    for rule in rules if isinstance(rules, list) else ():
        often, filters = at(rule, "scanFrequency"), at(rule, "repositoryFilters")
        if often not in ("SCAN_ON_PUSH", "CONTINUOUS_SCAN", UNKNOWN):
            continue
        listed = filters if isinstance(filters, list) else [filters]
        matched = [_matches(at(one, "filter"), repository) for one in listed]
        answers.append(UNKNOWN if often is UNKNOWN and True in matched else True in matched)
        answers += [UNKNOWN] if UNKNOWN in matched else []
    return True if True in answers else UNKNOWN if UNKNOWN in answers else False


def _matches(pattern: Any, repository: Resource) -> Any:
    name = repository.at("name")
    if pattern == "*":
        return True
    if UNKNOWN in (pattern, name):
        return UNKNOWN
    # a filter without a star is a part of a name
    wild = str(pattern) if "*" in str(pattern) else f"*{pattern}*"
    return isinstance(pattern, str) and fnmatch.fnmatchcase(str(name), wild)


def _region(resource: Resource) -> Any:
    own = resource.at("region")
    if is_missing(own) and resource.provider is not None:
        return resource.provider.at("region")
    return own


def _unsaid(region: Any) -> bool:
    return region is UNKNOWN or is_missing(region)


def chart_is_pinned(resource: Resource, parameters: Registries) -> Iterator[Finding]:
    """A chart is code that is run with all rights of the deployment."""
    chart, version = resource.at("chart"), resource.at("version")
    local = isinstance(chart, str) and chart.startswith(_WAYS_IN)
    if chart is UNKNOWN:
        yield pending(resource, "chart")
    elif not isinstance(chart, str):
        yield Finding(resource=resource, where="chart", what="is no name of a chart")
    elif not local and not _is_ours(chart, resource, parameters):
        allowed = ", ".join(f"oci://{one}" for one in parameters.allowedRegistries)
        what = f"is {chart}; allowed: a path that begins with ./, or {allowed}"
        yield Finding(resource=resource, where="chart", what=what)
    if not local and not (isinstance(chart, str) and _DIGEST.fullmatch(chart)):
        yield from _exact(resource, version)
    for where, right, what in (
        (("repositoryOpts", "repo"), (ABSENT, None, ""), "is set: charts from the web"),
        (("devel",), (ABSENT, None, False), "is true: versions that are not released"),
    ):
        value = resource.at(*where)
        if value is UNKNOWN:
            yield pending(resource, dotted(where))
        elif value not in right:
            yield Finding(resource=resource, where=dotted(where), what=what)


def _is_ours(chart: str, resource: Resource, parameters: Registries) -> bool:
    name = chart.removeprefix("oci://")
    return name != chart and comes_from(name, parameters.allowedRegistries, accounts_of(resource))


def _exact(resource: Resource, version: Any) -> Iterator[Finding]:
    if version is UNKNOWN:
        yield pending(resource, "version")
    elif not _VERSION.fullmatch(str(version)):
        shown = "is not set" if is_missing(version) else f"is {version}"
        what = f"{shown}, so that another chart may come tomorrow; say one whole version"
        yield Finding(resource=resource, where="version", what=what)


def _says_chart(resource: Resource) -> bool:
    """Of a chart that its provider renders the engine shows nothing but what it renders."""
    return resource.type == _RELEASE or (resource.type == _CHART and bool(resource.properties))


class Opaque(Parameters):
    """What may be made although nobody can see what it makes."""

    exemptResources: tuple[str, ...] = ()  # noqa: N815
    """Types, where ``*`` stands for anything, or type and name: ``type::name``."""


_MARKS = ("kubernetes:storage.k8s.io/v1:StorageClassPatch",)
"""Patches of what nobody can change but for marks and mount options: provisioner and parameters of
a class stay (Kubernetes, validation of `storage.k8s.io/v1`)."""
_OPAQUE = {
    "aws:cloudcontrol/resource:Resource": "is a resource of Cloud Control, a text to all rules",
    "aws:cloudformation/stack:Stack": "makes resources by a template that no rule reads",
    "aws:cloudformation/stackInstances:StackInstances": "makes resources in other accounts",
    "aws:cloudformation/stackSet:StackSet": "makes resources by a template that no rule reads",
    "aws:cloudformation/stackSetInstance:StackSetInstance": "makes resources in other accounts",
    "aws:servicecatalog/provisionedProduct:ProvisionedProduct": (
        "makes resources by a template that no rule reads"
    ),
    "command:local:Command": "runs a command, which may do anything",
    "command:remote:Command": "runs a command, which may do anything",
    "command:remote:CopyFile": "writes a file to a machine",
    "command:remote:CopyToRemote": "writes files to a machine",
    "kubernetes:helm.sh/v3:Release": "makes objects that no rule sees",
}
_DYNAMIC = ("pulumi-python:dynamic", "pulumi-nodejs:dynamic")
_BUILT_IN = re.compile(r"kubernetes:(?:[a-z0-9.-]+\.k8s\.io|[a-z0-9]+)/v[a-z0-9]+:\w+")
"""Kinds of Kubernetes itself; others may be called a list and be none."""


def _opaque(resource: Resource) -> str:
    if resource.type in _OPAQUE:
        return _OPAQUE[resource.type]
    if resource.type.startswith(_DYNAMIC):
        return "is a dynamic resource, which may do anything"
    if resource.type in _MARKS:
        return ""
    if _BUILT_IN.fullmatch(resource.type) and resource.type.endswith("Patch"):
        return "changes a part of an object, whose whole no rule sees"
    if _BUILT_IN.fullmatch(resource.type) and resource.type.endswith("List"):
        return "makes objects that no rule sees"
    return ""


def opaque(resource: Resource, parameters: Opaque) -> Iterator[Finding]:
    """What rules cannot read they cannot judge."""
    named = f"{resource.type}::{resource.name}"
    for one in parameters.exemptResources:
        if fnmatch.fnmatchcase(named if "::" in one else resource.type, one):
            return
    yield Finding(resource=resource, where="it", what=_opaque(resource))


RULES = (
    Rule(
        name="image-is-pinned-by-digest",
        description="Every image is named by its digest.",
        mend="write the digest behind the name, as falaj images prints it.",
        applies_to=names_images,
        parameters=Exempt,
        each=pinned,
    ),
    Rule(
        name="ecr-tags-are-immutable",
        description="No tag in a registry can be moved to another image.",
        mend="set imageTagMutability to IMMUTABLE.",
        applies_to=lambda resource: resource.type in (_REPOSITORY, _TEMPLATE),
        parameters=Tags,
        each=tags_are_immutable,
    ),
    Rule(
        name="ecr-images-are-scanned",
        description="Every image in a registry is scanned for known flaws.",
        mend="set imageScanningConfiguration.scanOnPush to true, or a rule of the registry.",
        applies_to=lambda resource: resource.type == _REPOSITORY,
        parameters=Scans,
        together=images_are_scanned,
    ),
    Rule(
        name="helm-chart-is-pinned-and-in-region",
        description="Every chart is a local one, or one version from a registry in the country.",
        mend="copy the chart to the registry of the account and name its version.",
        applies_to=_says_chart,
        parameters=Registries,
        each=chart_is_pinned,
    ),
    Rule(
        name="opaque-resource-needs-exception",
        description="Nothing is made of which the rules see only the outside.",
        mend="use the typed resource, or kubernetes:helm.sh/v4:Chart, whose objects rules see.",
        applies_to=lambda resource: bool(_opaque(resource)),
        parameters=Opaque,
        each=opaque,
    ),
)
