"""Rules on images: they come from a registry in the country, whoever names them."""

from __future__ import annotations

from collections.abc import Iterator

from policies.common.accounts import accounts_of
from policies.common.images import Registries, comes_from, images, names_images
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Rule, pending


def image_registry(resource: Resource, parameters: Registries) -> Iterator[Finding]:
    """What is pulled from abroad may change or go, and its registry learns what runs here."""
    accounts = accounts_of(resource)
    allowed = parameters.allowedRegistries
    for where, image in images(resource):
        if image is UNKNOWN:
            yield pending(resource, where)
        elif is_missing(image):
            what = "is not set, so that something else chooses it"
            yield Finding(resource=resource, where=where, what=what)
        elif not comes_from(str(image), allowed, accounts):
            what = f"is {image}, which begins with none of: {', '.join(allowed)}"
            yield Finding(resource=resource, where=where, what=what)


RULES = (
    Rule(
        name="image-comes-from-in-region-registry",
        description="Every image comes from a registry that is allowed, and in the country.",
        mend="copy the image to the registry of the account (falaj images) and use that name.",
        applies_to=names_images,
        parameters=Registries,
        each=image_registry,
    ),
)
