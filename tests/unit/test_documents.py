"""The documents that are made from the program: what stands in them, and that none is stale."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel

from components.aws.settings.aws import AwsSettings
from components.contract import PlatformOutputs, TeamOutputs
from components.kubernetes.flows import FLOWS, Flow
from components.section import Section
from stacks.environment import ROOT
from stacks.plan import Plan
from stacks.settings import Settings, read_file
from tools.documents import compliance, environments, outputs
from tools.documents.data import data
from tools.documents.docstrings import cell, of_fields
from tools.documents.flows import flows
from tools.documents.generated import ARCHITECTURE, COMPLIANCE, ENVIRONMENTS, REMEDY, with_pictures
from tools.documents.plans import alike, needs, parts, stores
from tools.documents.technology import relations, technology

# --- environments ---------------------------------------------------------------------------------


def test_the_page_of_environments_says_what_the_settings_say() -> None:
    assert (ROOT / ENVIRONMENTS).read_text(encoding="utf-8") == environments.document(), REMEDY


def test_the_page_on_compliance_says_what_the_controls_say() -> None:
    assert (ROOT / COMPLIANCE).read_text(encoding="utf-8") == compliance.document(), REMEDY


def changed(**aws: Any) -> Settings:
    """The settings of prod, changed."""
    given = read_file("prod").model_dump(exclude_unset=True)
    given["aws"] |= aws
    return Settings.model_validate(given)


def test_what_is_the_same_has_no_row() -> None:
    assert environments.rows((changed(), changed())) == []


def test_a_value_that_differs_has_a_row_with_its_docstring() -> None:
    years, quarters = (changed(keys={"rotation_days": days}) for days in (365, 90))
    (row,) = environments.rows((years, quarters))
    assert row.path == ("aws", "keys", "rotation_days")
    assert row.values == ("365", "90")
    assert row.explanation.startswith("Days until a key gets new material.")


def test_a_part_that_is_switched_off_says_why_and_nothing_else() -> None:
    off = {"mode": "off", "reason": "no data of customers"}
    (row,) = environments.rows((changed(logs=off), changed()))[:1]
    assert row.path == ("aws", "logs")
    assert row.values == ("off (no data of customers)", "own")


def test_a_pool_that_one_environment_lacks_is_one_row() -> None:
    pools = read_file("prod").model_dump(exclude_unset=True)["aws"]["node_pools"]
    more = {"kind": "cpu", "instance_types": ["m6i.large"], "max_nodes": 2}
    (row,) = environments.rows((changed(node_pools={**pools, "batch": more}), changed()))
    assert row.path == ("aws", "node_pools", "batch")
    assert row.values == ("kind cpu; instance_types m6i.large; max_nodes 2", environments.NONE)


def test_the_profiles_differ_in_what_they_say_and_in_nothing_else() -> None:
    found = {".".join(row.path) for row in environments.rows(environments.of_profiles())}
    assert {"aws.stream.kind", "aws.image_registry.scanning", "profile"} <= found
    assert not [path for path in found if path.startswith(("teams", "aws.node_pools"))]


# --- outputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [PlatformOutputs, TeamOutputs])
def test_every_output_says_what_it_means(model: type[BaseModel]) -> None:
    assert model.model_fields.keys() - of_fields(model).keys() == set()


def test_the_page_of_outputs_has_each_once_and_marks_secrets_and_who_fills_it() -> None:
    text = outputs.document({"dev": {"artifact_uri"}})
    of_all = text.partition("\n## SupervisorTarget")[0]
    for name in PlatformOutputs.model_fields:
        assert of_all.count(f"| `{name}` | ") == 1, name
    assert "\n| `artifacts` | `artifact_uri` | text | `s3://bucket` for models and rep" in text
    assert "| `ray_token` | text | What Ray asks of its clients. | yes |  |" in text
    assert "\n| `tenancy` | `teams` |" in text
    assert "name → [TeamOutputs](#teamoutputs)" in text
    for part in re.findall(r"\]\(#(\w+)\)", text):
        assert text.lower().count(f"\n## {part}\n") == 1, "what it leads to is on the page"


# --- flows ----------------------------------------------------------------------------------------


def test_the_table_of_flows_in_the_document_is_that_of_the_code() -> None:
    assert flows() in (ROOT / ARCHITECTURE).read_text(encoding="utf-8"), REMEDY


def test_every_flow_has_a_row_and_a_new_one_makes_the_document_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = flows()
    for flow in FLOWS:
        assert f" {flow.why} |" in before
        assert ", ".join(map(str, flow.ports)) in before
    more = Flow(source="logging", destination="tracking", ports=(5001,), why="nobody knows")
    monkeypatch.setattr("tools.documents.flows.FLOWS", (*FLOWS, more))
    assert flows() not in (ROOT / ARCHITECTURE).read_text(encoding="utf-8")
    assert "| `logging` | `tracking` | 5001 |  | nobody knows |" in flows()


# --- docstrings -----------------------------------------------------------------------------------


class Base(Section):
    """A section."""

    first: int = 1
    """Said
    once."""
    silent: int = 2


class Child(Base):
    """Another."""

    second: int = 3
    """``a`` | b"""


def test_docstrings_of_fields_are_found_in_the_class_and_what_it_inherits() -> None:
    assert of_fields(Child) == {"first": "Said\n    once.", "second": "``a`` | b"}
    assert cell(of_fields(Child)["second"]) == "`a` \\| b"


def test_all_settings_of_aws_can_be_read_for_docstrings() -> None:
    assert of_fields(AwsSettings)["keep_data"].startswith("Whether buckets are protected")


# --- pictures -------------------------------------------------------------------------------------

Row = dict[str, Any]


def urn(kind: str, name: str) -> str:
    """Of something in a part of an environment `prod`."""
    return f"urn:pulumi:prod::falaj::falaj:Platform$falaj:aws:AwsPlace${kind}::{name}"


def row(kind: str, name: str, part: str, *after: Row, **properties: Any) -> Row:
    """A resource of `part`; `properties` named ``by_…`` hold the resources that they come of."""
    named = {key.removeprefix("by_"): one for key, one in properties.items() if key[:3] == "by_"}
    parent = urn(f"falaj:aws:{part}", f"prod-{part.lower()}")
    return {
        "urn": urn(f"falaj:aws:{part}${kind}", name),
        "type": kind,
        "name": name,
        "region": "me-central-1",
        "inputs": {key: value for key, value in properties.items() if key not in named},
        "provider": "",
        "parent": parent,
        "dependencies": [one["urn"] for one in (*after, *named.values())],
        "property_dependencies": {key: [one["urn"]] for key, one in named.items()},
        "protected": False,
    }


def plan(*resources: Row) -> Plan:
    """An environment of `resources`."""
    platform = "urn:pulumi:prod::falaj::falaj:Platform::prod"
    place = "urn:pulumi:prod::falaj::falaj:Platform$falaj:aws:AwsPlace::prod"
    components = {platform: None, place: platform} | {one["parent"]: place for one in resources}
    return Plan(environment="prod", profile=None, resources=list(resources), components=components)


KEY = row("aws:kms/key:Key", "prod-data-key", "DomainKey")
NETWORK = row("aws:ec2/vpc:Vpc", "prod-vpc", "Network", KEY, cidrBlock="10.0.0.0/16")
BUCKET = row("aws:s3/bucket:Bucket", "prod-data-bucket", "Store", NETWORK, KEY)
QUEUE = row("aws:sqs/queue:Queue", "prod-queue", "Queue", BUCKET, KEY)


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    found = plan(KEY, NETWORK, BUCKET, QUEUE)
    assert needs(found, parts(found)) == {
        "DomainKey": frozenset(),
        "Network": {"DomainKey"},
        "Store": {"Network"},
        "Queue": {"Store"},
    }


def test_a_way_to_a_cluster_is_no_part_and_what_goes_through_a_part_needs_it() -> None:
    own = row("pulumi:providers:kubernetes", "prod-own", "Compute")
    cluster = row("aws:eks/cluster:Cluster", "prod-cluster", "Compute")
    lone = row("pulumi:providers:kubernetes", "prod-lone", "AwsPlace")
    team = row("kubernetes:core/v1:Namespace", "prod-team", "Team") | {"provider": own["urn"]}
    found = plan(own, cluster, lone, team)
    assert needs(found, parts(found)) == {"Compute": frozenset(), "Team": {"Compute"}}


def test_parts_that_need_each_other_keep_their_arrows() -> None:
    first = row("aws:iam/role:Role", "a", "First")
    second = row("aws:iam/role:Role", "b", "Second", first)
    first["dependencies"] = [second["urn"]]
    found = plan(first, second)
    assert needs(found, parts(found)) == {"First": {"Second"}, "Second": {"First"}}


def test_parts_with_the_same_arrows_share_a_box() -> None:
    wanted = {"a": frozenset({"c"}), "b": frozenset({"c"}), "c": frozenset[str]()}
    assert alike(wanted) == [("a", "b"), ("c",)]
    assert alike(wanted, marked=["b"]) == [("a",), ("b",), ("c",)]


def test_the_picture_of_the_parts_has_a_cylinder_for_what_cannot_be_made_again() -> None:
    text = relations(plan(KEY, NETWORK, BUCKET, QUEUE))
    assert '[("Store")]' in text
    assert '["Network"]' in text
    assert text.count("-->") == 3


def test_a_store_is_under_the_key_that_encrypts_it() -> None:
    plain = row("aws:s3/bucket:Bucket", "prod-plain-bucket", "Store")
    locked = row("aws:s3/bucket:Bucket", "prod-locked-bucket", "Store")
    told = row(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        *("prod-encryption", "Store"),
        by_bucket=locked,
        by_rules=KEY,
    )
    other = row("aws:kms/key:Key", "prod-secrets-key", "DomainKey")
    database = row(
        *("aws:rds/instance:Instance", "prod-database", "Database"),
        by_masterUserSecretKmsKeyId=other,
        by_kmsKeyId=KEY,
    )
    found = stores(plan(KEY, other, plain, locked, told, database))
    named = {key: [one["name"] for one in held] for key, held in found.items()}
    assert named == {"data": ["prod-locked-bucket", "prod-database"], "": ["prod-plain-bucket"]}


def backed_up(**tags: str) -> str:
    """The picture of the data of an environment with a backup, and a database with `tags`."""
    rules = [{"ruleName": "daily", "copyActions": [{"destinationVaultArn": "a:b:c:d:77:v:far"}]}]
    schedule = row("aws:backup/plan:Plan", "prod-plan", "Backup", rules=rules)
    return data(
        plan(
            KEY,
            row("aws:backup/vault:Vault", "prod-vault", "Backup", by_kmsKeyArn=KEY),
            schedule,
            row(
                *("aws:backup/selection:Selection", "prod-selection", "Backup", schedule),
                selectionTags=[{"key": "backup", "value": "standard"}],
            ),
            row(
                *("aws:backup/regionSettings:RegionSettings", "prod-kinds", "Backup"),
                resourceTypeOptInPreference={"RDS": True, "S3": False},
            ),
            row("aws:rds/instance:Instance", "prod-db", "Database", by_kmsKeyId=KEY, tags=tags),
            row("aws:s3/bucket:Bucket", "prod-b", "Store", tags=tags),
        ),
        changed(backup={"mode": "off", "reason": "nothing leaves the region"}),
    )


def test_an_arrow_leads_from_what_a_backup_takes_to_its_copies() -> None:
    text = backed_up(backup="standard")
    assert text.count('-->|"daily"|') == 1  # of the database; buckets are not taken
    assert text.count('-->|"copy"|') == 1
    assert "of account 77" in text


def test_what_a_backup_does_not_take_has_no_arrow() -> None:
    assert "daily" not in backed_up(backup="none")


def test_a_way_to_the_internet_is_drawn_and_a_rule_without_one_is_none() -> None:
    rule = row(
        *("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule", "prod-out", "Cluster"),
        cidrIpv4="0.0.0.0/0",
    )
    assert "((" not in technology(plan(NETWORK, rule))
    assert "nothing leads to the internet" in technology(plan(NETWORK, rule))
    gateways = [
        row("aws:ec2/natGateway:NatGateway", f"prod-way-out-{zone}", "Network") for zone in "ab"
    ]
    text = technology(plan(NETWORK, *gateways))
    assert '["Nat gateway ×2"]' in text
    assert "-.->" in text


def test_the_network_shows_who_stands_where_and_may_connect() -> None:
    tier = {
        name: row(
            *("aws:ec2/subnet:Subnet", f"prod-network-{name}-me-central-1a", "Network"),
            availabilityZone="me-central-1a",
        )
        for name in ("private", "isolated")
    }
    nodes = row("aws:ec2/securityGroup:SecurityGroup", "prod-nodes", "Cluster")
    group = row("aws:ec2/securityGroup:SecurityGroup", "prod-db", "Database")
    text = technology(
        plan(
            *(NETWORK, *tier.values(), nodes, group),
            row("aws:eks/cluster:Cluster", "prod-cluster", "Cluster", tier["private"]),
            row("aws:rds/subnetGroup:SubnetGroup", "prod-s", "Database", tier["isolated"]),
            row(
                *("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "prod-in"),
                "Cluster",  # whoever makes a rule need not own the group that it opens
                by_securityGroupId=group,
                by_referencedSecurityGroupId=nodes,
                fromPort=5432,
                toPort=5432,
            ),
            *(
                row(
                    *("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", f"in-{port}"),
                    "Database",
                    by_securityGroupId=group,
                    cidrIpv4=block,
                    fromPort=port,
                    toPort=port,
                )
                for port, block in ((1, "10.0.0.0/16"), (2, "172.16.0.0/12"))
            ),
        )
    )
    assert "private subnets in 1 zones" not in text
    assert '"private subnets in 1 zone"' in text
    assert '[("Cluster")]' in text
    assert '["Database"]' in text
    ids = {line.split("[")[0].strip(): line for line in text.splitlines() if "[" in line}
    arrows = {
        port: next(line.split()[0] for line in text.splitlines() if f'|"{port}"|' in line)
        for port in ("5432", "1", "2")
    }
    assert "Cluster" in ids[arrows["5432"]]
    assert "private subnets" in text.partition(f"subgraph {arrows['1']}[")[2].splitlines()[0]
    assert "addresses 172.16.0.0/12" in ids[arrows["2"]]


def test_a_mark_without_a_picture_is_an_error() -> None:
    empty = {name: plan() for name in ("dev", "prod")}
    with pytest.raises(KeyError, match=r"pictures:.*parts of prod"):
        with_pictures("<!-- drawn: nobody -->\n<!-- end of nobody -->", empty)
