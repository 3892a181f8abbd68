"""The one way out of a network: to domains on a list, through a firewall, over TLS or HTTP.

Owns internet gateway, NAT gateways, the firewall with its rules and logs, and the routes between
them. Private subnets are given a route to the firewall; between it and the internet lies NAT, so
that nothing passes that the firewall has not seen. Network and private subnets must exist before.

What a firewall can tell is the name that a client gives. A client that lies about it, to an address
that it knows, gets through; so keep the list short, and give nobody on the cluster more than it
needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.scope import Scope
from components.aws.settings.network import ZoneAddresses

EVERYWHERE = "0.0.0.0/0"
_PORTS = (443, 80)
_RULES_CAPACITY = 1000
"""The most rules of the allow-list; a change makes another rule group."""
_TCP = 6


@dataclass(frozen=True, kw_only=True)
class EgressArgs:
    """From where, and whereto."""

    scope: Scope
    vpc_id: pulumi.Input[str]
    cidr: str
    zones: Mapping[str, ZoneAddresses]
    """Each zone that has a firewall and a NAT gateway."""
    private_cidrs: Mapping[str, str]
    """Zone → range of its private subnet, of all zones of the network."""
    allowed_domains: Sequence[str]
    log_group_name: pulumi.Input[str]
    keep: bool
    """Whether the firewall is protected from deletion."""


class Egress(pulumi.ComponentResource):
    """The way out; `firewall_endpoints` is zone → where to route what leaves a private subnet.

    With fewer firewalls than zones, the other zones use the first one.
    """

    def __init__(
        self, name: str, args: EgressArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Egress", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        gateway = aws.ec2.InternetGateway(
            f"{name}-internet-gateway",
            vpc_id=args.vpc_id,
            tags={"Name": args.scope.name("egress")},
            opts=child,
        )
        subnets = {
            (role, zone): aws.ec2.Subnet(
                f"{name}-{role}-{zone}",
                vpc_id=args.vpc_id,
                availability_zone=zone,
                cidr_block=str(getattr(addresses, role)),
                map_public_ip_on_launch=False,
                tags={"Name": args.scope.name(f"{role}-{zone}")},
                opts=child,
            )
            for zone, addresses in args.zones.items()
            for role in ("firewall", "public")
        }
        firewall = self._firewall(name, args, [subnets["firewall", zone].id for zone in args.zones])
        first = next(iter(args.zones))
        self.firewall_endpoints: dict[str, pulumi.Output[str]] = {
            zone: pulumi.Output.all(
                firewall.firewall_statuses,
                subnets["firewall", zone if zone in args.zones else first].id,
            ).apply(lambda found: endpoint_in(found[0], found[1]))
            for zone in args.private_cidrs
        }
        self.ready: list[pulumi.Resource] = []
        for zone in args.zones:
            address = aws.ec2.Eip(
                f"{name}-address-{zone}",
                domain="vpc",
                tags={"Name": args.scope.name(f"nat-{zone}"), "purpose": "nat"},
                opts=child,
            )
            nat = aws.ec2.NatGateway(
                f"{name}-nat-{zone}",
                allocation_id=address.id,
                subnet_id=subnets["public", zone].id,
                tags={"Name": args.scope.name(f"nat-{zone}")},
                # its subnet has no way to the internet without
                opts=pulumi.ResourceOptions(parent=self, depends_on=[gateway]),
            )
            behind = self._route_table(name, args, f"firewall-{zone}", subnets["firewall", zone].id)
            front = self._route_table(name, args, f"public-{zone}", subnets["public", zone].id)
            self.ready += [
                aws.ec2.Route(
                    f"{name}-firewall-{zone}-out",
                    route_table_id=behind.id,
                    destination_cidr_block=EVERYWHERE,
                    nat_gateway_id=nat.id,
                    opts=child,
                ),
                aws.ec2.Route(
                    f"{name}-public-{zone}-out",
                    route_table_id=front.id,
                    destination_cidr_block=EVERYWHERE,
                    gateway_id=gateway.id,
                    opts=child,
                ),
            ]
            # answers go back the way that the question came, or the firewall sees half of it
            self.ready += [
                aws.ec2.Route(
                    f"{name}-public-{zone}-back-{origin}",
                    route_table_id=front.id,
                    destination_cidr_block=cidr,
                    vpc_endpoint_id=self.firewall_endpoints[zone],
                    opts=child,
                )
                for origin, cidr in args.private_cidrs.items()
                if origin == zone or (origin not in args.zones and zone == first)
            ]
        self.register_outputs({})

    def _route_table(
        self, name: str, args: EgressArgs, role: str, subnet_id: pulumi.Input[str]
    ) -> aws.ec2.RouteTable:
        child = pulumi.ResourceOptions(parent=self)
        table = aws.ec2.RouteTable(
            f"{name}-{role}-routes",
            vpc_id=args.vpc_id,
            tags={"Name": args.scope.name(role)},
            opts=child,
        )
        self.ready.append(
            aws.ec2.RouteTableAssociation(
                f"{name}-{role}-association",
                route_table_id=table.id,
                subnet_id=subnet_id,
                opts=child,
            )
        )
        return table

    def _firewall(
        self, name: str, args: EgressArgs, subnet_ids: Sequence[pulumi.Input[str]]
    ) -> aws.networkfirewall.Firewall:
        child = pulumi.ResourceOptions(parent=self)
        packets = aws.networkfirewall.RuleGroup(
            f"{name}-packets",
            name=args.scope.name("egress-packets"),
            type="STATELESS",
            capacity=10,
            rule_group=_only_web(args.cidr),
            opts=child,
        )
        domains = aws.networkfirewall.RuleGroup(
            f"{name}-domains",
            name=args.scope.name("egress-domains"),
            type="STATEFUL",
            capacity=_RULES_CAPACITY,
            rule_group={
                "stateful_rule_options": {"rule_order": "STRICT_ORDER"},
                "rules_source": {
                    "rules_source_list": {
                        "generated_rules_type": "ALLOWLIST",
                        "target_types": ["TLS_SNI", "HTTP_HOST"],
                        "targets": list(args.allowed_domains),
                    }
                },
            },
            opts=child,
        )
        policy = aws.networkfirewall.FirewallPolicy(
            f"{name}-policy",
            name=args.scope.name("egress"),
            firewall_policy={
                # what is neither TCP to a web port nor an answer from one is dropped unseen: a
                # stateful rule would let the first packets of any other protocol through
                "stateless_default_actions": ["aws:drop"],
                "stateless_fragment_default_actions": ["aws:drop"],
                "stateless_rule_group_references": [{"priority": 1, "resource_arn": packets.arn}],
                "stateful_engine_options": {
                    "rule_order": "STRICT_ORDER",
                    "stream_exception_policy": "DROP",
                },
                "stateful_default_actions": ["aws:drop_established", "aws:alert_established"],
                "stateful_rule_group_references": [{"priority": 1, "resource_arn": domains.arn}],
            },
            opts=child,
        )
        firewall = aws.networkfirewall.Firewall(
            f"{name}-firewall",
            name=args.scope.name("egress"),
            firewall_policy_arn=policy.arn,
            vpc_id=args.vpc_id,
            subnet_mappings=[{"subnet_id": subnet_id} for subnet_id in subnet_ids],
            delete_protection=args.keep,
            opts=child,
        )
        aws.networkfirewall.LoggingConfiguration(
            f"{name}-logs",
            firewall_arn=firewall.arn,
            logging_configuration={
                "log_destination_configs": [
                    {
                        "log_type": log_type,
                        "log_destination_type": "CloudWatchLogs",
                        "log_destination": {"logGroup": args.log_group_name},
                    }
                    for log_type in ("ALERT", "FLOW")
                ]
            },
            opts=child,
        )
        return firewall


def endpoint_in(statuses: Any, subnet_id: str) -> str:
    """The id of a firewall's endpoint in a subnet, by what the firewall says of itself."""
    for status in statuses or ():
        for state in status.get("sync_states") or ():
            for attachment in state.get("attachments") or ():
                if attachment["subnet_id"] == subnet_id:
                    return str(attachment["endpoint_id"])
    raise ValueError(f"the firewall has no endpoint in {subnet_id} yet: refresh and run again")


def _only_web(cidr: str) -> Any:
    """Stateless rules that hand the firewall's second stage web traffic, both ways."""
    ours, anyone = [{"address_definition": cidr}], [{"address_definition": EVERYWHERE}]
    web = [{"from_port": port, "to_port": port} for port in _PORTS]
    any_port = [{"from_port": 0, "to_port": 65535}]
    ways = ((ours, any_port, anyone, web), (anyone, web, ours, any_port))
    rules = [
        {
            "priority": priority,
            "rule_definition": {
                "actions": ["aws:forward_to_sfe"],
                "match_attributes": {
                    "protocols": [_TCP],
                    "sources": sources,
                    "source_ports": source_ports,
                    "destinations": destinations,
                    "destination_ports": destination_ports,
                },
            },
        }
        for priority, (sources, source_ports, destinations, destination_ports) in enumerate(ways, 1)
    ]
    return {"rules_source": {"stateless_rules_and_custom_actions": {"stateless_rules": rules}}}
