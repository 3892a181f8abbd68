"""The network on mocks: what is made, and whether all that is inside reaches what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from policy_decision import statements

from components.aws.egress import EVERYWHERE, endpoint_in
from components.aws.endpoints import policy_of
from components.aws.network import GivenNetwork, GivenNetworkArgs, Network, NetworkArgs, NetworkIds
from components.aws.policy_document import Statement
from components.aws.scope import Scope
from components.aws.settings.controllers import CONTROLLERS, services_called
from components.aws.settings.network import ExistingNetwork, NetworkSettings

if TYPE_CHECKING:
    from conftest import Recorded, Recording

ACCOUNT = "123456789012"
REGION = "me-central-1"
A, B, C = (f"{REGION}{letter}" for letter in "abc")
SCOPE = Scope(environment="prod", account_id=ACCOUNT, region=REGION)
LISTED = {"egress": "allow-list", "allowed_domains": (".github.com", "quay.io")}
Record = Callable[[Callable[[], object]], "Recording"]


def build(record: Record, *, keep: bool = True, **settings: Any) -> Recording:
    """The network of `settings` over all three zones unless they name others."""
    network = NetworkSettings(**{"zones": (A, B, C), **settings})
    args = NetworkArgs(scope=SCOPE, network=network, log_key_arn="arn:logs-key", keep=keep)
    return record(lambda: Network("prod", args))


@pytest.fixture
def closed(record: Record) -> Recording:
    return build(record)


@pytest.fixture
def listed(record: Record) -> Recording:
    return build(record, **LISTED)


def endpoints(recording: Recording) -> dict[str, Recorded]:
    """The endpoints by the last part of their service's name, which must be of this region."""
    found = {}
    for one in recording.of("VpcEndpoint"):
        prefix, service = one.inputs["serviceName"].split(f".{REGION}.")
        assert prefix == "com.amazonaws"
        by_route = one.inputs["vpcEndpointType"] == "Gateway"
        found[f"{service} by route" if by_route else service] = one
    return found


def subnets(recording: Recording, role: str) -> list[Recorded]:
    found = [one for one in recording.of("Subnet") if f"-{role}-{REGION}" in one.name]
    return sorted(found, key=lambda one: one.name)


def table_of(recording: Recording, subnet: Recorded) -> str:
    (association,) = (
        one
        for one in recording.of("RouteTableAssociation")
        if one.inputs["subnetId"] == f"id:{subnet.name}"
    )
    return str(association.inputs["routeTableId"])


def routes(recording: Recording, table: str) -> dict[str, dict[str, Any]]:
    """Destination → the route of a table."""
    return {
        one.inputs["destinationCidrBlock"]: one.inputs
        for one in recording.of("Route")
        if one.inputs["routeTableId"] == table
    }


# --- what it is made of ---------------------------------------------------------------------------


def test_each_zone_has_a_private_and_an_isolated_subnet_that_gives_no_public_address(
    closed: Recording,
) -> None:
    for role in ("private", "isolated"):
        assert [one.inputs["availabilityZone"] for one in subnets(closed, role)] == [A, B, C]
    for one in closed.of("Subnet"):
        assert one.inputs["mapPublicIpOnLaunch"] is False
        assert one.inputs["vpcId"] == "id:prod-vpc"


def test_names_of_endpoints_are_answered_inside(closed: Recording) -> None:
    vpc = closed.the("Vpc").inputs

    assert (vpc["enableDnsSupport"], vpc["enableDnsHostnames"]) == (True, True)


def test_internal_load_balancers_find_a_private_subnet_in_every_zone(closed: Recording) -> None:
    tagged = {
        one.inputs["availabilityZone"]
        for one in closed.of("Subnet")
        if one.inputs["tags"].get("kubernetes.io/role/internal-elb") == "1"
    }

    assert tagged == {A, B, C}


def test_no_subnet_or_group_is_found_by_discovery(closed: Recording) -> None:
    """Two groups with the owner's tag on one node break registration at a load balancer."""
    for one in closed.resources:
        for tag in one.inputs.get("tags", {}):
            assert not tag.startswith(("karpenter.sh/", "kubernetes.io/cluster/")), one.name
            assert tag != "kubernetes.io/role/elb", f"{one.name} invites public load balancers"


def test_the_default_security_group_lets_nothing_through(closed: Recording) -> None:
    group = closed.the("DefaultSecurityGroup").inputs

    assert group["vpcId"] == "id:prod-vpc"
    assert (group["ingress"], group["egress"]) == ([], [])


def test_isolated_subnets_are_closed_to_all_but_this_network(closed: Recording) -> None:
    acl = closed.the("NetworkAcl").inputs

    assert acl["subnetIds"] == [f"id:{one.name}" for one in subnets(closed, "isolated")]
    for rule in [*acl["ingress"], *acl["egress"]]:
        assert (rule["action"], rule["protocol"], rule["cidrBlock"]) == (
            ("allow", "tcp", "10.64.0.0/16")
        )
        assert rule["fromPort"] >= 443  # never a port of administration, never all of them


@pytest.mark.parametrize("keep", [True, False])
def test_all_traffic_is_logged_under_the_key_of_the_logs(record: Record, *, keep: bool) -> None:
    network = build(record, keep=keep, **LISTED)
    log = network.the("FlowLog").inputs
    role = statements(network.the("Role", "flow-role").inputs["assumeRolePolicy"])[0]

    assert (log["trafficType"], log["vpcId"]) == ("ALL", "id:prod-vpc")
    assert log["logDestination"] == "arn:prod-flow-records"
    assert log["iamRoleArn"] == "arn:prod-flow-role"
    assert role["Principal"] == {"Service": ["vpc-flow-logs.amazonaws.com"]}
    assert role["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
    groups = network.of("LogGroup")
    assert [one.name for one in groups] == [
        f"prod-{n}-records" for n in ("flow", "names", "firewall")
    ]
    for group in groups:
        assert group.inputs["kmsKeyId"] == "arn:logs-key"
        assert group.inputs["retentionInDays"] >= 365


def test_a_late_record_cannot_bring_a_deleted_group_back(closed: Recording) -> None:
    allowed = statements(closed.the("RolePolicy", "flow").inputs["policy"])
    actions = {action for one in allowed for action in one["Action"]}

    assert "logs:PutLogEvents" in actions
    assert not actions & {"logs:CreateLogGroup", "logs:*", "logs:Create*"}


# --- endpoints ------------------------------------------------------------------------------------


def unreachable(recording: Recording, services: Iterable[str]) -> list[str]:
    """Which of `services` some private subnet without a way out cannot reach, and why."""
    found = []
    ways = endpoints(recording)
    open_to = [
        IPv4Network(one.inputs["cidrIpv4"])
        for one in recording.of("SecurityGroupIngressRule")
        if one.inputs["fromPort"] == one.inputs["toPort"] == 443
        and one.inputs["securityGroupId"] == "id:prod-endpoints-group"
    ]
    for subnet in subnets(recording, "private"):
        table = table_of(recording, subnet)
        if EVERYWHERE in routes(recording, table):
            continue
        for service in services:
            where = f"{service} from {subnet.inputs['availabilityZone']}"
            if service not in ways:
                found.append(f"{where}: no endpoint")
                continue
            way = ways[service].inputs
            if way["vpcEndpointType"] == "Gateway":
                if table not in way["routeTableIds"]:
                    found.append(f"{where}: no route")
                continue
            if not way.get("privateDnsEnabled"):
                found.append(f"{where}: no private name")
            if way["securityGroupIds"] != ["id:prod-endpoints-group"] or not any(
                IPv4Network(subnet.inputs["cidrBlock"]).subnet_of(cidr) for cidr in open_to
            ):
                found.append(f"{where}: closed")
    return found


def test_what_every_controller_calls_is_reached_from_every_private_subnet(
    closed: Recording,
) -> None:
    for controller in CONTROLLERS:
        assert unreachable(closed, controller.services) == [], controller.name
    assert set(endpoints(closed)) == {*services_called(), "s3 by route"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one.update(serviceName=f"com.amazonaws.{REGION}.xray"), "no endpoint"),
        (lambda one: one.update(privateDnsEnabled=False), "no private name"),
        (lambda one: one.update(securityGroupIds=["id:other"]), "closed"),
    ],
)
def test_an_endpoint_that_does_not_serve_is_noticed(
    closed: Recording, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    change(endpoints(closed)["eks-auth"].inputs)

    assert len(unreachable(closed, services_called())) == 3
    assert all(words in one for one in unreachable(closed, services_called()))


def test_a_route_table_that_the_s3_endpoint_lacks_is_noticed(closed: Recording) -> None:
    endpoints(closed)["s3 by route"].inputs["routeTableIds"].pop()

    assert unreachable(closed, ["s3 by route"]) == [f"s3 by route from {C}: no route"]


def test_interface_endpoints_are_in_every_zone_and_cost_the_pods_no_address(
    closed: Recording,
) -> None:
    isolated = [f"id:{one.name}" for one in subnets(closed, "isolated")]
    for service, one in endpoints(closed).items():
        if one.inputs["vpcEndpointType"] == "Interface":
            assert one.inputs["subnetIds"] == isolated, service


def test_s3_answers_pods_at_addresses_of_the_network(closed: Recording) -> None:
    """What policies of the cluster name: the network, and no address that the cloud may change."""
    s3 = endpoints(closed)["s3"].inputs

    assert (s3["vpcEndpointType"], s3["privateDnsEnabled"]) == ("Interface", True)
    assert s3["dnsOptions"] == {"privateDnsOnlyForInboundResolverEndpoint": False}
    assert s3["policy"] == endpoints(closed)["s3 by route"].inputs["policy"]


def test_s3_is_a_gateway_also_beside_a_way_out(listed: Recording) -> None:
    s3 = endpoints(listed)["s3 by route"].inputs
    tables = {table_of(listed, one) for one in subnets(listed, "private")}

    assert s3["vpcEndpointType"] == "Gateway"
    assert set(s3["routeTableIds"]) == tables


def test_the_endpoints_group_takes_tls_from_this_network_and_nothing_else(
    closed: Recording,
) -> None:
    rules = closed.of("SecurityGroupIngressRule")

    assert [one.inputs["cidrIpv4"] for one in rules] == ["10.64.0.0/16"]
    assert rules[0].inputs["ipProtocol"] == "tcp"
    assert not closed.of("SecurityGroupEgressRule")


PINS = {"aws:PrincipalAccount", "aws:ResourceAccount"}
READ_BY_ANYBODY = {
    f"arn:aws:s3:::prod-{REGION}-starport-layer-bucket/*",
    f"arn:aws:s3:::al2023-repos-{REGION}-de612dc2/*",
}


def loose(statement: dict[str, Any]) -> bool:
    """Whether a statement lets strangers through: no account in its conditions."""
    return not PINS & statement.get("Condition", {}).get("StringEquals", {}).keys()


def test_every_endpoint_allows_something_and_pins_it_to_the_account(closed: Recording) -> None:
    for service, endpoint in endpoints(closed).items():
        found = statements(endpoint.inputs["policy"])
        assert "Allow" in {one["Effect"] for one in found}, service
        free = [one for one in found if loose(one)]
        if service in ("s3", "s3 by route"):
            (images,) = free
            assert images["Action"] == ["s3:GetObject"]
            assert set(images["Resource"]) == READ_BY_ANYBODY
        else:
            assert free == [], service


def test_layers_of_images_are_read_with_no_condition_on_who_asks(closed: Recording) -> None:
    """The registry signs the address of a layer: the request carries none of our accounts."""
    layers = f"arn:aws:s3:::prod-{REGION}-starport-layer-bucket/*"
    (found,) = (
        one
        for one in statements(endpoints(closed)["s3"].inputs["policy"])
        if layers in one["Resource"]
    )

    assert found["Effect"] == "Allow"
    assert "Condition" not in found


@pytest.mark.parametrize("service", ["s3", "sqs", "kms", "secretsmanager", "logs", "sts"])
def test_what_holds_data_is_reached_in_named_accounts_alone(service: str) -> None:
    first = policy_of(service, SCOPE, (ACCOUNT, "210987654321"))[0]

    assert first.conditions["StringEquals"] == {
        "aws:PrincipalAccount": [ACCOUNT],
        "aws:ResourceAccount": [ACCOUNT, "210987654321"],
    }


def test_images_are_pulled_from_any_registry_and_pushed_to_ours_alone() -> None:
    """The images of EKS's add-ons lie in a registry of AWS."""
    for service in ("ecr.api", "ecr.dkr"):
        both, pull = policy_of(service, SCOPE, (ACCOUNT,))
        assert "aws:ResourceAccount" in both.conditions["StringEquals"]
        assert pull.conditions["StringEquals"].keys() == {"aws:PrincipalAccount"}
        assert not [one for one in pull.actions if "Put" in one or "Upload" in one or "*" in one]


def test_a_pod_with_a_web_identity_may_take_our_roles() -> None:
    """The request is not signed, so that no principal is in it yet."""
    found = [
        one
        for one in policy_of("sts", SCOPE, (ACCOUNT,))
        if "WebIdentity" in one.sid + str(one.actions)
    ]

    assert [one.actions for one in found] == [("sts:AssumeRoleWithWebIdentity",)]
    assert found[0].conditions["StringEquals"] == {"aws:ResourceAccount": [ACCOUNT]}


@pytest.mark.parametrize(
    ("service", "prefix"),
    [
        ("monitoring", "cloudwatch"),
        ("ec2", "ec2"),
        ("eks-auth", "eks-auth"),
        ("ecr.api", "ecr"),
        ("elasticloadbalancing", "elasticloadbalancing"),
        ("guardduty-data", "guardduty"),
    ],
)
def test_policies_name_actions_by_the_prefix_that_iam_knows(service: str, prefix: str) -> None:
    found: tuple[Statement, ...] = policy_of(service, SCOPE, (ACCOUNT,))

    assert {action.split(":")[0] for one in found for action in one.actions} == {prefix}


# --- the way out ----------------------------------------------------------------------------------


def test_with_no_egress_there_is_no_gateway_and_no_default_route(closed: Recording) -> None:
    for kind in ("InternetGateway", "NatGateway", "Eip", "Firewall", "Route"):
        assert closed.of(kind) == [], kind


def test_nothing_leaves_but_through_the_firewall(listed: Recording) -> None:
    for subnet in subnets(listed, "private"):
        zone = subnet.inputs["availabilityZone"]
        (out,) = routes(listed, table_of(listed, subnet)).values()
        # mocks call a firewall's endpoint after its subnet
        assert out["vpcEndpointId"] == f"vpce:id:prod-egress-firewall-{zone}"
    for subnet in subnets(listed, "firewall"):
        (out,) = routes(listed, table_of(listed, subnet)).values()
        zone = subnet.inputs["availabilityZone"]
        assert out["natGatewayId"] == f"id:prod-egress-nat-{zone}"
    for subnet in subnets(listed, "public"):
        table = routes(listed, table_of(listed, subnet))
        assert table[EVERYWHERE]["gatewayId"] == "id:prod-egress-internet-gateway"
    for nat in listed.of("NatGateway"):
        assert "-public-" in nat.inputs["subnetId"]


def test_answers_come_back_through_the_firewall_that_saw_the_question(listed: Recording) -> None:
    for private in subnets(listed, "private"):
        zone, cidr = private.inputs["availabilityZone"], private.inputs["cidrBlock"]
        out = routes(listed, table_of(listed, private))[EVERYWHERE]
        (public,) = (one for one in subnets(listed, "public") if one.name.endswith(zone))
        back = routes(listed, table_of(listed, public))[cidr]
        assert back["vpcEndpointId"] == out["vpcEndpointId"]


def test_isolated_subnets_have_no_route_out(listed: Recording) -> None:
    for subnet in subnets(listed, "isolated"):
        assert routes(listed, table_of(listed, subnet)) == {}


def test_one_nat_gateway_serves_all_zones_through_one_firewall(record: Record) -> None:
    network = build(record, nat_gateways="one", **LISTED)
    (public,) = subnets(network, "public")
    private = subnets(network, "private")
    outs = {routes(network, table_of(network, one))[EVERYWHERE]["vpcEndpointId"] for one in private}

    assert len(network.of("NatGateway")) == len(network.of("Eip")) == 1
    assert outs == {f"vpce:id:prod-egress-firewall-{A}"}
    back = routes(network, table_of(network, public))
    assert back.keys() == {EVERYWHERE, *(one.inputs["cidrBlock"] for one in private)}


def test_the_firewall_passes_the_listed_domains_and_drops_the_rest(listed: Recording) -> None:
    domains = listed.the("RuleGroup", "domains").inputs["ruleGroup"]
    source = domains["rulesSource"]["rulesSourceList"]
    policy = listed.the("FirewallPolicy").inputs["firewallPolicy"]

    assert source["targets"] == [".github.com", "quay.io"]
    assert (source["generatedRulesType"], set(source["targetTypes"])) == (
        ("ALLOWLIST", {"TLS_SNI", "HTTP_HOST"})
    )
    # without a strict order all that no rule names would pass
    assert domains["statefulRuleOptions"] == {"ruleOrder": "STRICT_ORDER"}
    assert policy["statefulEngineOptions"]["ruleOrder"] == "STRICT_ORDER"
    assert "aws:drop_established" in policy["statefulDefaultActions"]
    assert policy["statefulRuleGroupReferences"] == [
        {"priority": 1, "resourceArn": "arn:prod-egress-domains"}
    ]


def test_what_is_no_web_traffic_is_dropped_before_a_first_packet_leaves(
    listed: Recording,
) -> None:
    """A stateful rule lets the first packets of any protocol through, such as a DNS question."""
    group = listed.the("RuleGroup", "packets").inputs["ruleGroup"]
    rules = group["rulesSource"]["statelessRulesAndCustomActions"]["statelessRules"]
    policy = listed.the("FirewallPolicy").inputs["firewallPolicy"]

    assert policy["statelessDefaultActions"] == ["aws:drop"]
    assert policy["statelessFragmentDefaultActions"] == ["aws:drop"]
    assert policy["statelessRuleGroupReferences"][0]["resourceArn"] == "arn:prod-egress-packets"
    for rule, far in zip(rules, ("destination", "source"), strict=True):
        match = rule["ruleDefinition"]["matchAttributes"]
        assert match["protocols"] == [6]
        assert {one["fromPort"] for one in match[f"{far}Ports"]} == {80, 443}
        near = "source" if far == "destination" else "destination"
        assert match[f"{near}s"] == [{"addressDefinition": "10.64.0.0/16"}]


def test_the_firewall_says_what_it_dropped_and_is_kept_with_the_network(
    listed: Recording, record: Record
) -> None:
    logs = listed.the("LoggingConfiguration").inputs["loggingConfiguration"]

    assert {one["logType"] for one in logs["logDestinationConfigs"]} == {"ALERT", "FLOW"}
    assert {one["logDestination"]["logGroup"] for one in logs["logDestinationConfigs"]} == {
        "/aws/vendedlogs/falaj-prod-firewall"
    }
    assert listed.the("Firewall").inputs["deleteProtection"] is True
    assert build(record, keep=False, **LISTED).the("Firewall").inputs["deleteProtection"] is False


def test_public_addresses_say_that_they_are_of_nat(listed: Recording) -> None:
    assert {one.inputs["tags"]["purpose"] for one in listed.of("Eip")} == {"nat"}


def test_a_firewall_without_an_endpoint_says_so() -> None:
    statuses = [{"sync_states": [{"attachments": [{"subnet_id": "a", "endpoint_id": "vpce-1"}]}]}]

    assert endpoint_in(statuses, "a") == "vpce-1"
    for nothing in (None, [], [{"sync_states": None}], statuses):
        with pytest.raises(ValueError, match="no endpoint in b yet"):
            endpoint_in(nothing, "b")


# --- names ----------------------------------------------------------------------------------------


def test_names_outside_the_list_are_not_looked_up(listed: Recording) -> None:
    lists = {f"id:{one.name}": one for one in listed.of("ResolverFirewallDomainList")}
    rules = sorted(listed.of("ResolverFirewallRule"), key=lambda one: one.inputs["priority"])
    known, rest = (lists[one.inputs["firewallDomainListId"]].inputs["domains"] for one in rules)

    assert [one.inputs["action"] for one in rules] == ["ALLOW", "BLOCK"]
    assert rest == ["*"]
    assert "*" not in known
    assert {"*.amazonaws.com", "*.api.aws", "*.github.com", "github.com", "quay.io"} <= set(known)
    assert {"*.prod.falaj.internal", "prod.falaj.internal"} <= set(known)
    assert "*.quay.io" not in known
    assert listed.the("ResolverFirewallRuleGroupAssociation").inputs["vpcId"] == "id:prod-vpc"
    assert listed.the("ResolverFirewallConfig").inputs["firewallFailOpen"] == "DISABLED"


def test_questions_for_names_are_logged(closed: Recording) -> None:
    log = closed.the("ResolverQueryLogConfig").inputs

    assert log["destinationArn"] == "arn:prod-names-records"
    assert closed.the("ResolverQueryLogConfigAssociation").inputs == {
        "resolverQueryLogConfigId": "id:prod-resolver-log",
        "resourceId": "id:prod-vpc",
    }


def test_the_private_zone_is_of_this_network(closed: Recording, record: Record) -> None:
    zone = closed.the("Zone").inputs

    assert zone["name"] == "prod.falaj.internal"
    assert zone["vpcs"] == [{"vpcId": "id:prod-vpc"}]
    assert build(record, private_domain="ml.bank.ae").the("Zone").inputs["name"] == "ml.bank.ae"


# --- a zone less, a network of others -------------------------------------------------------------


def test_with_one_zone_less_the_rest_stays_as_it_is(record: Record) -> None:
    every = {one.name: one.inputs for one in build(record, **LISTED).of("Subnet")}
    fewer = {one.name: one.inputs for one in build(record, zones=(A, C), **LISTED).of("Subnet")}

    assert fewer.keys() == {name for name in every if not name.endswith(B)}
    assert all(every[name] == inputs for name, inputs in fewer.items())


EXISTING: dict[str, Any] = {
    "vpc_id": "vpc-0a",
    "cidr": "10.8.0.0/16",
    "private_subnet_ids": {A: "subnet-0a", C: "subnet-0c"},
    "isolated_subnet_ids": {A: "subnet-1a", C: "subnet-1c"},
    "private_route_table_ids": ["rtb-0a"],
}


def given(record: Record, seen: dict[str, Any], **change: Any) -> Recording:
    def make() -> pulumi.Output[None]:
        network = GivenNetwork(
            "prod",
            GivenNetworkArgs(scope=SCOPE, ids=NetworkIds.of(ExistingNetwork(**EXISTING, **change))),
        )
        names = ("vpc_id", "cidr", "zones", "private_subnet_ids", "isolated_subnet_ids")
        more = ("private_route_table_ids", "endpoint_security_group_id")
        values = {name: getattr(network, name) for name in names + more}
        return pulumi.Output.from_input(values).apply(seen.update)

    return record(make)


def test_a_network_that_exists_gets_the_endpoints_that_it_lacks(record: Record) -> None:
    seen: dict[str, Any] = {}
    made = endpoints(given(record, seen))

    assert set(made) == {*services_called(), "s3 by route"}
    assert made["s3 by route"].inputs["routeTableIds"] == ["rtb-0a"]
    assert made["eks"].inputs["subnetIds"] == ["subnet-1a", "subnet-1c"]
    assert seen["endpoint_security_group_id"] == "id:prod-endpoints-group"
    assert (seen["vpc_id"], seen["zones"]) == ("vpc-0a", (A, C))
    assert seen["private_subnet_ids"] == {A: "subnet-0a", C: "subnet-0c"}


def test_of_a_network_with_all_endpoints_nothing_is_made(record: Record) -> None:
    seen: dict[str, Any] = {}
    made = given(record, seen, endpoints=services_called(), endpoint_security_group_id="sg-0a")

    assert [one.type for one in made.resources if one.type.startswith("aws:")] == []
    assert seen["endpoint_security_group_id"] == "sg-0a"


def test_both_networks_have_what_other_parts_ask_for(record: Record) -> None:
    """A cluster or a database takes either."""
    built: dict[str, Any] = {}

    def make() -> None:
        built["made"] = Network(
            "prod",
            NetworkArgs(
                scope=SCOPE, network=NetworkSettings(), log_key_arn="arn:logs-key", keep=True
            ),
        )
        built["given"] = GivenNetwork(
            "given", GivenNetworkArgs(scope=SCOPE, ids=NetworkIds.of(ExistingNetwork(**EXISTING)))
        )

    record(make)
    promised = {
        *("vpc_id", "cidr", "zones", "private_subnet_ids", "isolated_subnet_ids", "ready"),
        *("private_route_table_ids", "endpoint_security_group_id", "s3_prefix_list_id"),
        "runner_group_id",
    }
    for network in built.values():
        assert all(hasattr(network, name) for name in promised)
        assert network.ready
