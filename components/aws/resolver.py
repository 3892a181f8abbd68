"""Which names a network may look up, and which it answers itself.

Owns the private hosted zone, the list of names that may be asked for outside, and the log of all
questions. Without the list, a network with no way out would still have one: a question for
``<data>.somebody.example`` reaches somebody's name server. The network must exist before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.scope import Scope


@dataclass(frozen=True, kw_only=True)
class ResolverArgs:
    """The names of a network."""

    scope: Scope
    vpc_id: pulumi.Input[str]
    private_domain: str
    resolvable_domains: Sequence[str]
    """Names that may be looked up; a leading dot means all that is below."""
    log_group_arn: pulumi.Input[str]
    keep: bool


class Resolver(pulumi.ComponentResource):
    """The names of a network; `zone_id` is the private hosted zone's."""

    def __init__(
        self, name: str, args: ResolverArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Resolver", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        zone = aws.route53.Zone(
            f"{name}-zone",
            name=args.private_domain,
            comment=f"Private names of Falaj, {args.scope.environment}",
            vpcs=[{"vpc_id": args.vpc_id}],
            force_destroy=not args.keep,
            opts=child,
        )
        group = aws.route53.ResolverFirewallRuleGroup(
            f"{name}-rules", name=args.scope.name("names"), opts=child
        )
        lists = {
            "known": _patterns(
                (f".{args.private_domain}", *args.resolvable_domains), args.scope.region
            ),
            "any": ["*"],
        }
        rules: list[pulumi.Resource] = []
        for priority, (role, domains) in enumerate(lists.items(), 1):
            domain_list = aws.route53.ResolverFirewallDomainList(
                f"{name}-{role}-list",
                name=args.scope.name(f"names-{role}"),
                domains=domains,
                opts=child,
            )
            rules.append(
                aws.route53.ResolverFirewallRule(
                    f"{name}-{role}-rule",
                    name=args.scope.name(f"names-{role}"),
                    firewall_rule_group_id=group.id,
                    firewall_domain_list_id=domain_list.id,
                    priority=priority,
                    action="ALLOW" if role == "known" else "BLOCK",
                    block_response=None if role == "known" else "NXDOMAIN",
                    # the keeper of an allowed name decides where it leads
                    firewall_domain_redirection_action=(
                        "TRUST_REDIRECTION_DOMAIN" if role == "known" else None
                    ),
                    opts=child,
                )
            )
        aws.route53.ResolverFirewallRuleGroupAssociation(
            f"{name}-association",
            name=args.scope.name("names"),
            firewall_rule_group_id=group.id,
            vpc_id=args.vpc_id,
            # above 100 and below 9900, the numbers that AWS keeps
            priority=101,
            # in force only with all its rules: half of them would block every name
            opts=pulumi.ResourceOptions(parent=self, depends_on=rules),
        )
        aws.route53.ResolverFirewallConfig(
            f"{name}-fails-closed",
            resource_id=args.vpc_id,
            firewall_fail_open="DISABLED",
            opts=child,
        )
        log = aws.route53.ResolverQueryLogConfig(
            f"{name}-log",
            name=args.scope.name("names"),
            destination_arn=args.log_group_arn,
            opts=child,
        )
        aws.route53.ResolverQueryLogConfigAssociation(
            f"{name}-log-association",
            resolver_query_log_config_id=log.id,
            resource_id=args.vpc_id,
            opts=child,
        )
        self.zone_id = zone.zone_id
        self.register_outputs({"zone_id": self.zone_id})


def _patterns(domains: Sequence[str], region: str) -> list[str]:
    """The patterns of the names that may be looked up: AWS's, and `domains`."""
    ours = (".amazonaws.com", ".api.aws", f".{region}.compute.internal", ".in-addr.arpa")
    below = {f"*{domain}" for domain in (*ours, *domains) if domain.startswith(".")}
    return sorted(below | {domain.removeprefix(".") for domain in domains})
