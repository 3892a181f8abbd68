"""The catalogue of images and its lock: what is refused, and what an address is made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.aws.scope import Scope
from components.images import (
    Catalogue,
    CatalogueError,
    Lock,
    Locked,
    Mirror,
    NotLockedError,
    chart,
    image,
    made_up,
    read_catalogue,
    read_lock,
    reference,
    write_lock,
)

SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")
DIGEST = "sha256:" + "a" * 64
REGISTRY = "123456789012.dkr.ecr.me-central-1.amazonaws.com"


def raw(**changes: Any) -> dict[str, Any]:
    """A catalogue with one image, and with `changes` of that image."""
    mlflow = {
        "source": "ghcr.io/mlflow/mlflow",
        "version": "v3.17.2",
        "licence": "Apache-2.0",
        "used_by": ["tracking"],
    }
    return {"images": {"mlflow": {**mlflow, **changes}}}


def chart_of(source: str, version: str = "1.7.0") -> dict[str, Any]:
    return {"source": source, "version": version, "licence": "Apache-2.0", "used_by": ["training"]}


def read(tmp_path: Path, content: Any) -> Catalogue:
    path = tmp_path / "images.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return read_catalogue(path)


def locked(source: str = "ghcr.io/mlflow/mlflow", version: str = "v3.17.2") -> Locked:
    media_type = "application/vnd.oci.image.index.v1+json"
    return Locked(source=source, version=version, digest=DIGEST, media_type=media_type)


def test_the_catalogue_is_sound() -> None:
    catalogue = read_catalogue()
    assert {"mlflow", "ray", "seldon-core-executor", "karpenter", "grafana"} <= set(
        catalogue.images
    )
    assert {"kuberay-operator", "kube-prometheus-stack"} <= set(catalogue.charts)


def test_a_licence_that_is_not_free_stands_in_the_catalogue() -> None:
    images = read_catalogue().images
    assert {name for name, one in images.items() if one.licence == "BUSL-1.1"} == {
        "seldon-core-operator",
        "seldon-core-executor",
        "rclone-storage-initializer",
    }


@pytest.mark.parametrize("version", ["latest", "stable", "main", "nightly", "edge", "LATEST"])
def test_a_version_that_moves_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(CatalogueError, match=r"images\.mlflow: version '\w+' moves"):
        read(tmp_path, raw(version=version))


@pytest.mark.parametrize(
    "source", ["mlflow", "https://ghcr.io/mlflow", "ghcr.io/MLflow/mlflow", "ghcr.io/a:1", "a b/c"]
)
def test_a_source_that_is_no_repository_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(CatalogueError, match=r"images\.mlflow\.source"):
        read(tmp_path, raw(source=source))


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"images\.mlflow\.digest: Extra inputs"):
        read(tmp_path, raw(digest=DIGEST))


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = yaml.safe_dump(raw())
    with pytest.raises(CatalogueError, match="stands twice: mlflow"):
        read(tmp_path, text + text.partition("\n")[2])


def test_one_image_under_two_names_is_refused(tmp_path: Path) -> None:
    content = raw()
    content["images"]["tracking"] = content["images"]["mlflow"]
    with pytest.raises(CatalogueError, match=r"images\.tracking: is the same image as images\.mlf"):
        read(tmp_path, content)


def test_an_oci_chart_must_be_called_like_its_repository(tmp_path: Path) -> None:
    content = raw()
    content["charts"] = {"kueue": chart_of("oci://registry.k8s.io/kueue/charts/other")}
    with pytest.raises(CatalogueError, match=r"charts\.kueue: the last part"):
        read(tmp_path, content)


def test_all_that_is_wrong_is_listed_at_once(tmp_path: Path) -> None:
    content = raw(version="latest", licence="")
    content["charts"] = {"kueue": chart_of("kueue")}
    with pytest.raises(CatalogueError, match="problems") as caught:
        read(tmp_path, content)
    assert "images.mlflow.licence" in str(caught.value)
    assert "charts.kueue.source" in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"images\.yaml"):
        read_catalogue(tmp_path / "images.yaml")


# --- addresses ------------------------------------------------------------------------------------


def test_an_address_lies_in_the_country_and_names_the_digest(tmp_path: Path) -> None:
    catalogue = read(tmp_path, raw())
    address = image("mlflow", SCOPE, catalogue, Lock(images={"mlflow": locked()}))

    assert address == f"{REGISTRY}/falaj-prod/mlflow:v3.17.2@{DIGEST}"
    assert re.search(r"@sha256:[0-9a-f]{64}$", address)


def test_without_a_digest_there_is_no_address(tmp_path: Path) -> None:
    catalogue = read(tmp_path, raw())
    with pytest.raises(NotLockedError, match="run `falaj images lock mlflow`"):
        image("mlflow", SCOPE, catalogue, Lock())


def test_the_digest_of_another_version_does_not_count(tmp_path: Path) -> None:
    catalogue = read(tmp_path, raw())
    old = Lock(images={"mlflow": locked(version="v3.17.1")})
    with pytest.raises(NotLockedError, match=r"v3\.17\.2 has no digest"):
        image("mlflow", SCOPE, catalogue, old)


def test_an_image_that_is_not_in_the_catalogue_has_no_address(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="has no redis among its images"):
        image("redis", SCOPE, read(tmp_path, raw()), Lock())


def test_an_image_of_a_cached_registry_comes_through_the_cache(tmp_path: Path) -> None:
    catalogue = read(tmp_path, raw())
    lock = Lock(images={"mlflow": locked()})
    through = image("mlflow", SCOPE, catalogue, lock, cached=("ghcr.io",))

    assert through == f"{REGISTRY}/falaj-prod/ghcr.io/mlflow/mlflow:v3.17.2@{DIGEST}"
    assert image("mlflow", SCOPE, catalogue, lock, cached=("quay.io",)).startswith(
        f"{REGISTRY}/falaj-prod/mlflow:"
    )


def test_a_chart_is_found_under_its_own_name(tmp_path: Path) -> None:
    content = raw()
    source = "oci://quay.io/charts/kueue"
    content["charts"] = {"kueue": chart_of(source, "1.7.0+1")}
    catalogue = read(tmp_path, content)
    lock = Lock(charts={"kueue": locked(source, "1.7.0+1")})

    assert chart("kueue", SCOPE, catalogue, lock) == (
        f"oci://{REGISTRY}/falaj-prod/charts/kueue",
        "1.7.0+1",
    )
    found = reference("charts", "kueue", SCOPE, catalogue, lock)
    assert (found.version, found.digest) == ("1.7.0_1", DIGEST)


# --- the lock -------------------------------------------------------------------------------------


def test_what_was_locked_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "images.lock.json"
    assert read_lock(path) == Lock()
    lock = Lock().with_entry("images", "mlflow", locked())
    write_lock(lock, path)

    assert read_lock(path) == lock
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_lock_that_cannot_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "images.lock.json"
    path.mkdir()
    with pytest.raises(OSError, match=path.name):
        write_lock(Lock(), path)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["{", '{"images": {"mlflow": {"digest": "sha256:1"}}}', "\udcff"])
def test_a_broken_lock_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "images.lock.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CatalogueError, match=r"images\.lock\.json"):
        read_lock(path)


def test_every_locked_digest_is_of_the_catalogue() -> None:
    catalogue, lock = read_catalogue(), read_lock()
    known = {(kind, name) for kind, name, _ in catalogue.artifacts()}
    assert {("images", name) for name in lock.images} <= known
    assert {("charts", name) for name in lock.charts} <= known


def test_a_plan_has_a_digest_for_everything_and_keeps_those_that_are_known() -> None:
    catalogue = read_catalogue()
    known = locked(source=catalogue.images["ray"].source, version=catalogue.images["ray"].version)
    mirror = Mirror(registry=SCOPE, lock=Lock(images={"ray": known}))
    planned = Mirror(registry=SCOPE, lock=made_up(mirror.lock))

    assert "images ray" not in mirror.unlocked()
    assert "images mlflow" in mirror.unlocked()
    assert planned.unlocked() == []
    assert planned.image("ray") == mirror.image("ray")
    assert planned.image("mlflow") == Mirror(registry=SCOPE, lock=made_up(Lock())).image("mlflow")
    assert planned.chart("kueue")[0].startswith(f"oci://{REGISTRY}/")
