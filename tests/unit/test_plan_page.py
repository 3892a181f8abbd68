"""The page of a plan: areas, relations, what is exposed, the picture, and that it needs nobody."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.plan import Plan
from stacks.plan_areas import Area, Exposure, areas, exposure
from stacks.plan_page import page
from stacks.plan_picture import GAP, HEIGHT, WIDTH, picture

PLATFORM = "urn:pulumi:prod::falaj::falaj:Platform"
PLACE = f"{PLATFORM}$falaj:aws:AwsPlace"


def component(kind: str, name: str) -> str:
    return f"{PLACE}$falaj:aws:{kind}::{name}"


def row(kind: str, name: str, parent: str, *needs: str, **inputs: Any) -> dict[str, Any]:
    return {
        "urn": f"{parent.rpartition('::')[0]}${kind}::{name}",
        "type": kind,
        "name": name,
        "region": "me-central-1",
        "inputs": inputs,
        "provider": None,
        "parent": parent,
        "dependencies": list(needs),
        "protected": True,
    }


def plan(*rows: dict[str, Any], parts: int = 2) -> Plan:
    """A key, buckets that need it, and what else is given."""
    place, key = f"{PLACE}::prod", component("DomainKey", "prod-artifacts")
    components: dict[str, str | None] = {f"{PLATFORM}::prod": None, place: f"{PLATFORM}::prod"}
    components[key] = place
    resources = [row("aws:kms/key:Key", "prod-artifacts-key", key)]
    for number in range(parts):
        store = component("ArtifactStore", f"prod-store-{number}")
        components[store] = place
        resources.append(
            row("aws:s3/bucket:Bucket", f"bucket-{number}", store, resources[0]["urn"], bucket="b")
        )
    for one in rows:
        components.setdefault(one["parent"], place)
    return Plan(
        environment="prod", profile=None, resources=[*resources, *rows], components=components
    )


def by_kind(found: list[Area]) -> dict[str, Area]:
    return {area.kind: area for area in found}


# --- areas ----------------------------------------------------------------------------------------


def test_resources_stand_under_the_component_below_the_place() -> None:
    found = by_kind(areas(plan()))
    assert found.keys() == {"DomainKey", "ArtifactStore"}
    assert list(found["ArtifactStore"].instances) == ["prod-store-0", "prod-store-1"]
    assert [area.title for area in areas(plan())] == ["Artifact store", "Domain key"]


def test_what_a_part_of_a_part_owns_belongs_to_the_part() -> None:
    registry = component("ImageRegistry", "prod-images")
    role = f"{registry.rpartition('::')[0]}$falaj:aws:Role::prod-images-maker"
    whole = plan(row("aws:iam/role:Role", "maker", role))
    whole.components[registry] = f"{PLACE}::prod"
    whole.components[role] = registry
    assert [one["name"] for one in by_kind(areas(whole))["ImageRegistry"].resources] == ["maker"]


def test_what_the_place_makes_itself_is_an_area_too() -> None:
    own = row("aws:iam/policy:Policy", "boundary", f"{PLACE}::prod")
    assert by_kind(areas(plan(own)))["AwsPlace"].title == "Aws place"


def test_relations_are_those_between_resources_and_are_counted() -> None:
    found = by_kind(areas(plan(parts=3)))
    assert found["ArtifactStore"].needs == {"DomainKey": 3}
    assert found["DomainKey"].needs == {}


def test_a_dependency_on_a_component_counts_like_one_on_its_resources() -> None:
    store = component("ArtifactStore", "prod-store-0")
    trail = component("AuditTrail", "prod-trail")
    found = by_kind(areas(plan(row("aws:cloudtrail/trail:Trail", "trail", trail, store))))
    assert found["AuditTrail"].needs == {"ArtifactStore": 1}


# --- what is exposed ------------------------------------------------------------------------------


def policy(**changes: Any) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:*", "Resource": "*"}
    return json.dumps({"Statement": [statement | changes]})


CLOSED: list[tuple[str, dict[str, Any]]] = [
    ("aws:eks/cluster:Cluster", {"vpcConfig": {"endpointPublicAccess": False}}),
    ("aws:rds/instance:Instance", {"publiclyAccessible": False}),
    ("aws:lb/loadBalancer:LoadBalancer", {"internal": True}),
    ("aws:ec2/subnet:Subnet", {"mapPublicIpOnLaunch": False}),
    ("aws:ec2/securityGroup:SecurityGroup", {"ingress": [{"cidrBlocks": ["10.0.0.0/16"]}]}),
    ("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", {"cidrIpv4": "10.0.0.0/16"}),
    (
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        {
            "blockPublicAcls": True,
            "blockPublicPolicy": True,
            "ignorePublicAcls": True,
            "restrictPublicBuckets": True,
        },
    ),
    ("aws:s3/bucketPolicy:BucketPolicy", {"policy": policy(Effect="Deny")}),
    (
        "aws:s3/bucketPolicy:BucketPolicy",
        {"policy": policy(Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}})},
    ),
    ("aws:s3/bucketPolicy:BucketPolicy", {"policy": policy(Principal={"AWS": ["arn:1"]})}),
    ("aws:s3/bucketPolicy:BucketPolicy", {"policy": "[unknown]"}),
    (
        "kubernetes:core/v1:Service",
        {
            "metadata": {
                "annotations": {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"}
            },
            "spec": {"type": "LoadBalancer"},
        },
    ),
    ("kubernetes:core/v1:Service", {"spec": {"type": "ClusterIP"}}),
    ("aws:iam/role:Role", {}),
]
OPEN: list[tuple[str, dict[str, Any], str]] = [
    ("aws:eks/cluster:Cluster", {"vpcConfig": {}}, "in"),
    ("aws:rds/instance:Instance", {"publiclyAccessible": True}, "in"),
    ("aws:lb/loadBalancer:LoadBalancer", {}, "in"),
    ("aws:ec2/subnet:Subnet", {"mapPublicIpOnLaunch": True}, "in"),
    ("aws:ec2/securityGroup:SecurityGroup", {"ingress": [{"cidrBlocks": ["0.0.0.0/0"]}]}, "in"),
    ("aws:ec2/securityGroup:SecurityGroup", {"ingress": [{"ipv6CidrBlocks": ["::/0"]}]}, "in"),
    ("aws:ec2/securityGroup:SecurityGroup", {"egress": [{"cidrBlocks": ["0.0.0.0/0"]}]}, "out"),
    (
        "aws:ec2/securityGroupRule:SecurityGroupRule",
        {"type": "ingress", "cidrBlocks": ["0.0.0.0/0"]},
        "in",
    ),
    (
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        {"cidrIpv4": "0.0.0.0/0"},
        "in",
    ),
    ("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule", {"cidrIpv6": "::/0"}, "out"),
    ("aws:ec2/route:Route", {"destinationCidrBlock": "0.0.0.0/0"}, "out"),
    ("aws:ec2/internetGateway:InternetGateway", {}, "in"),
    ("aws:ec2/natGateway:NatGateway", {}, "out"),
    (
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        {"blockPublicAcls": True, "blockPublicPolicy": False},
        "in",
    ),
    ("aws:s3/bucketPolicy:BucketPolicy", {"policy": policy()}, "in"),
    ("aws:sqs/queuePolicy:QueuePolicy", {"policy": policy(Principal="*")}, "in"),
    ("kubernetes:core/v1:Service", {"spec": {"type": "LoadBalancer"}}, "in"),
    ("aws:ecr/pullThroughCacheRule:PullThroughCacheRule", {}, "out"),
]


@pytest.mark.parametrize(("kind", "inputs"), CLOSED)
def test_what_is_closed_is_not_called_exposed(kind: str, inputs: dict[str, Any]) -> None:
    assert exposure(row(kind, "one", f"{PLACE}::prod", **inputs)) is None


@pytest.mark.parametrize(("kind", "inputs", "way"), OPEN)
def test_what_is_open_is_told_with_its_way(kind: str, inputs: dict[str, Any], way: str) -> None:
    found = exposure(row(kind, "one", f"{PLACE}::prod", **inputs))
    assert isinstance(found, Exposure)
    assert found.way == way


def test_every_judged_type_is_one_that_the_sdks_know() -> None:
    from aws_types import Aws
    from kubernetes_types import Kubernetes

    from stacks.plan_areas import _JUDGES

    catalogues = {"aws": Aws(), "kubernetes": Kubernetes()}
    unknown = [kind for kind in _JUDGES if not catalogues[kind.partition(":")[0]].classes(kind)]
    assert unknown == []


# --- the picture ----------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    names = [f"n{number}" for number in range(draw(st.integers(0, 14)))]
    return {
        one: sorted(set(draw(st.lists(st.sampled_from(names), max_size=4))) - {one})
        for one in names
    }


@given(graphs())
def test_no_box_lies_over_another_and_all_are_in_the_picture(needs: dict[str, list[str]]) -> None:
    found = picture(needs)
    assert found.boxes.keys() == needs.keys()
    for x, y in found.boxes.values():
        assert -0.01 <= x <= found.width - WIDTH + 0.01
        assert 0 <= y <= found.height - HEIGHT
    for (x, y), (other_x, other_y) in itertools.combinations(found.boxes.values(), 2):
        assert y != other_y or abs(x - other_x) >= WIDTH + GAP - 0.01


@given(graphs())
def test_every_line_leads_down_and_what_needs_something_can_reach_it(
    needs: dict[str, list[str]],
) -> None:
    found = picture(needs)
    for upper, lower in found.lines:
        assert lower in needs[upper]
        assert found.boxes[upper][1] < found.boxes[lower][1]
    assert picture(needs) == found


def test_a_relation_that_others_imply_is_left_out() -> None:
    found = picture({"node": ["cluster", "key"], "cluster": ["key"], "key": []})
    assert found.lines.keys() == {("node", "cluster"), ("cluster", "key")}


def test_a_circle_does_not_keep_the_picture_from_being_drawn() -> None:
    found = picture({"cluster": ["role"], "role": ["cluster"]})
    assert len(found.boxes) == 2
    assert len(found.lines) == 1


def test_nothing_is_drawn_of_nothing() -> None:
    assert picture({}).boxes == {}


# --- the page -------------------------------------------------------------------------------------


class Links(HTMLParser):
    """What a page refers to, and what can be referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.refers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remembers ids and addresses."""
        for name, value in attrs:
            if name == "id" and value:
                self.targets.add(value)
            if name in ("href", "src", "srcset", "action") and value:
                self.refers.append(value)


def test_the_page_refers_to_nothing_outside_itself() -> None:
    text = page(plan())
    links = Links(text)
    assert links.refers
    assert [one for one in links.refers if one[1:] not in links.targets] == []
    assert "url(" not in text.replace("url(#", "")
    assert not re.search(r"@import|https?://", text)
    assert "default-src 'none'" in text


def test_the_page_shows_every_resource_and_counts_them() -> None:
    gate = component("Network", "prod-network")
    text = page(plan(row("aws:ec2/natGateway:NatGateway", "way-out", gate), parts=4))
    for name in ("bucket-0", "bucket-3", "prod-artifacts-key", "way-out"):
        assert f'<td class="mono">{name}' in text
    assert "<strong>6</strong>resources" in text
    assert "<strong>5</strong>hold what cannot be made again" in text
    assert "<strong>1</strong>way out" in text
    assert "A way out to the internet." in text
    assert "Nothing here answers the internet" in text


def test_a_value_cannot_break_out_of_the_page() -> None:
    evil = "</pre><script>alert(1)</script>"
    text = page(plan(row("aws:iam/role:Role", "r", component("Role", "prod-r"), path=evil)))
    assert "<script>alert" not in text
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)" in text


def test_a_policy_is_shown_as_the_structure_that_it_is() -> None:
    parent = component("Role", "prod-r")
    text = page(plan(row("aws:iam/role:Role", "r", parent, policy=policy(), note="[unknown]")))
    assert "&#34;Effect&#34;: &#34;Allow&#34;" in text
    assert "&#34;note&#34;: &#34;[unknown]&#34;" in text


def test_a_picture_of_five_hundred_teams_has_one_box_for_them() -> None:
    teams = [
        row("aws:iam/role:Role", f"role-{n}", component("Team", f"prod-team-{n}"))
        for n in range(500)
    ]
    text = page(plan(*teams))
    assert text.count('class="box"') == 3
    assert "500 resources" in text


def test_an_environment_of_nothing_has_a_page() -> None:
    empty = Plan(environment="prod", profile="smb", resources=[], components={})
    assert "<strong>0</strong>resources" in page(empty)
