"""An environment on a cluster of somebody else, on the real engine: the example that is shipped."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.environment import ROOT
from stacks.offline import Offline, offline
from stacks.plan import held_to

EXAMPLE = ROOT / "docs" / "examples" / "existing-cluster" / "Pulumi.site.yaml"
KUBECONFIG = yaml.safe_dump(
    {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "site",
        "contexts": [{"name": "site", "context": {"cluster": "site", "user": "falaj"}}],
        "clusters": [{"name": "site", "cluster": {"server": "https://kubernetes.bank.ae:6443"}}],
        "users": [{"name": "falaj", "user": {"tokenFile": "token"}}],
    }
)
Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offline]:
    shutil.copy(EXAMPLE, tmp_path)
    monkeypatch.setattr("stacks.offline.CONFIG_DIRECTORY", tmp_path)
    with offline("site") as stack:
        yield stack


def test_it_is_made_under_the_packs_changes_nothing_again_and_goes(
    site: Offline,
    succeed: Succeed,
    tmp_path: Path,
    assert_keeps_contract: Callable[[dict[str, Any], dict[str, Any]], Any],
) -> None:
    *pack, strictest = held_to(site.environment)
    own = tmp_path / "rules.json"
    said = {
        "kubernetes-provider-targets-in-region-cluster": {
            "allowedClusterHosts": ["kubernetes.bank.ae"]
        },
        "image-comes-from-in-region-registry": {"allowedRegistries": ["harbor.bank.example/"]},
        "helm-chart-is-pinned-and-in-region": {"allowedRegistries": ["harbor.bank.example/"]},
        "signed-image-policy-is-present": "advisory",
    }
    own.write_text(json.dumps(json.loads(Path(strictest).read_text()) | said))
    held = [*pack, str(own)]
    succeed(site.pulumi("config", "set", "--secret", "falaj:kubeconfig", standard_input=KUBECONFIG))
    stranger = site.pulumi("up", "--yes", "--skip-preview", *pack, strictest)
    assert stranger.returncode != 0
    assert "kubernetes.bank.ae, which is no EKS in a region, nor a host" in stranger.stdout

    succeed(site.pulumi("up", "--yes", "--skip-preview", *held))
    masked = json.loads(succeed(site.pulumi("stack", "output", "--json")).stdout)
    shown = json.loads(succeed(site.pulumi("stack", "output", "--json", "--show-secrets")).stdout)
    outputs = assert_keeps_contract(masked, shown)
    succeed(site.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes"))
    kinds = {
        one["type"].partition(":")[0]
        for one in json.loads(succeed(site.pulumi("stack", "export")).stdout)["deployment"][
            "resources"
        ]
    }
    succeed(site.pulumi("destroy", "--yes", "--skip-preview"))

    assert outputs.place == "kubernetes"
    assert outputs.region is None
    assert outputs.teams["credit"].namespace == "credit"
    assert kinds == {"pulumi", "falaj", "kubernetes"}


def test_it_is_planned_without_a_cluster(site: Offline, succeed: Succeed) -> None:
    assert "Namespace site-team-credit" in succeed(site.pulumi("preview")).stdout


def test_a_part_that_the_site_has_nothing_for_is_told_in_one_message(
    site: Offline,
) -> None:
    content = yaml.safe_load(site.stack_file.read_text())
    content["config"]["falaj:storage_classes"] = {}
    site.stack_file.write_text(yaml.safe_dump(content))

    refused = site.pulumi("preview")

    assert refused.returncode != 0
    assert "storage_classes.default: is missing" in refused.stdout
    assert "Traceback" not in refused.stdout
