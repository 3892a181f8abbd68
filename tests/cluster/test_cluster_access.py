"""Whether a real cluster may be deployed to is found out before anything is applied."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from applied import KUBECONFIG, Program
from control_plane import VERSION, Authority, ControlPlane

from components.kubernetes import owner
from components.kubernetes.kubeconfig import Kubeconfig
from stacks import cluster_access
from stacks.cluster_access import NEWEST, ClusterAccessError
from stacks.environment import ROOT
from stacks.settings import Settings, parse

EXAMPLE = ROOT / "docs" / "examples" / "existing-cluster" / "Pulumi.site.yaml"


CONFIG: dict[str, str] = {
    key: value if isinstance(value, str) else json.dumps(value)
    for key, value in yaml.safe_load(EXAMPLE.read_text())["config"].items()
}


def settings(kubeconfig: str) -> Settings:
    return parse("site", {**CONFIG, "falaj:kubeconfig": kubeconfig}, ["falaj:kubeconfig"])


def test_a_cluster_that_answers_may_be_deployed_to(cluster: ControlPlane) -> None:
    cluster_access.require(settings(cluster.kubeconfig()), {})


def test_it_says_its_version_and_the_newest_is_the_one_of_the_tests(cluster: ControlPlane) -> None:
    told = cluster_access.version(Kubeconfig.of(cluster.kubeconfig()))

    assert told.startswith(f"v{VERSION}.")
    assert f"1.{NEWEST}" == VERSION


PLATFORM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import Team, TeamArgs
from stacks import cluster_access
from stacks.settings import parse

kubeconfig = os.environ["{KUBECONFIG}"]
config = {{**{CONFIG!r}, "falaj:kubeconfig": kubeconfig}}
try:
    # as stacks/__main__.py does; this engine says that it reaches no cloud, and reaches one
    cluster_access.require(parse("site", config, ["falaj:kubeconfig"]), {{}})
except cluster_access.ClusterAccessError as error:
    raise pulumi.RunError(str(error)) from None
here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(kubeconfig))
Team(
    "income",
    TeamArgs(team="income", quota=TeamQuota()),
    pulumi.ResourceOptions(provider=here),
)
"""


def test_a_second_platform_on_a_cluster_is_refused_until_the_first_is_gone(
    program: Callable[..., Program], succeed: Callable[..., Any], cluster: ControlPlane
) -> None:
    first, second = program(PLATFORM), program(PLATFORM)
    mine, its = (f"organization/{one.stack.directory.name}/test" for one in (first, second))
    succeed(first.up())

    refused = second.up()

    told = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert f"has the platform of the stack {mine} (namespaces income), and {its}" in told
    assert f"pulumi destroy -s {mine}" in told
    assert "falaj:kubeconfig" in told, "the other way out: another cluster"
    assert owner.of_namespaces(cluster.kubeconfig())[mine] == ["income"]
    succeed(first.up("--expect-no-changes"))
    succeed(first.destroy())
    succeed(second.preview())


def test_one_that_does_not_answer_is_told_with_its_address(cluster: ControlPlane) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"https://127.0.0.1:{unused.getsockname()[1]}"
        moved = cluster.kubeconfig().replace(cluster.server, nobody)

        with pytest.raises(ClusterAccessError, match=f"cluster at {nobody} does not answer"):
            cluster_access.require(settings(moved), {})


def test_another_cluster_at_the_same_address_is_told(cluster: ControlPlane) -> None:
    stranger = base64.b64encode(Authority.new().pem.encode()).decode()
    content = yaml.safe_load(cluster.kubeconfig())
    content["clusters"][0]["cluster"]["certificate-authority-data"] = stranger

    with pytest.raises(ClusterAccessError, match="shows another certificate"):
        cluster_access.require(settings(yaml.safe_dump(content)), {})
