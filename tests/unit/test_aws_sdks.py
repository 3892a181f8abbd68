"""By what images sign in to AWS: what is too old for Pod Identity is told."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from components.aws.sdks import Sdk, problems_of_sdks, sdks
from components.images import read_catalogue

LOCKED = {"botocore": "1.44.5"}


def test_every_image_of_others_is_one_that_is_copied() -> None:
    known = sdks()
    assert {*known.others, *known.none} <= read_catalogue().images.keys()
    assert {one.sdk for one in known.others.values()} | {*known.ours.values()} <= known.least.keys()


def test_images_that_know_pod_identity_are_no_problem() -> None:
    known = sdks()
    assert list(problems_of_sdks([*known.others, *known.ours, *known.none], LOCKED)) == []


@pytest.mark.parametrize(
    ("image", "locked", "said"),
    [
        ("mlflow-server", "1.34.40", "mlflow-server: botocore 1.34.40 is older than Pod Identity"),
        ("mlflow-server", "1.9.9", "which 1.34.41 is the first with"),
        ("minio", "1.44.5", "minio: nobody says by what it signs in to AWS: add it to"),
    ],
)
def test_an_image_that_would_be_nobody_is_told(image: str, locked: str, said: str) -> None:
    (found,) = problems_of_sdks([image], {"botocore": locked})
    assert said in found


@pytest.mark.parametrize("fields", [{}, {"version": "1.0.0"}, {"read": "x", "unread": "y"}])
def test_a_version_is_read_somewhere_or_said_to_be_unread(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="has either version and read, or unread"):
        Sdk(sdk="botocore", **fields)
