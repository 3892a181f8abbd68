"""Where in a network a store of data stands, and who reaches it there.

Owns the subnet group of a store that has one, and the rule that a store is reached by its clients'
security group on its own ports, and by nobody else. The network and the clients' group must exist
before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Subnets without a way out, and the security group of those who may connect."""

    vpc_id: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    """One in each zone, at least two."""
    client_security_group_id: pulumi.Input[str]
    """That of the cluster's nodes."""

    def __post_init__(self) -> None:
        """Raises `ValueError` where one zone would carry everything."""
        if len(self.subnet_ids) < 2:
            raise ValueError("a store of data needs subnets in two zones")


def standing[Subnets: (aws.rds.SubnetGroup, aws.elasticache.SubnetGroup)](
    subnets: type[Subnets],
    name: str,
    placement: Placement,
    *,
    called: str,
    port: int,
    opts: pulumi.ResourceOptions,
) -> tuple[Subnets, aws.ec2.SecurityGroup]:
    """The subnet group, of the kind that the service of a store has, and the security group of the
    store `called` so, which answers on `port`."""
    made = subnets(
        f"{name}-subnets",
        name=called,
        description="Subnets without a way out",
        subnet_ids=placement.subnet_ids,
        opts=opts,
    )
    return made, clients_only(name, placement, group=called, ports=[port], opts=opts)


def clients_only(
    name: str,
    placement: Placement,
    *,
    group: str,
    ports: Sequence[int],
    opts: pulumi.ResourceOptions,
) -> aws.ec2.SecurityGroup:
    """A security group called `group` that lets the clients in on `ports` and nothing out.

    The provider takes away the rule by which AWS lets everything out of a new group. No rule is
    said inside the group, so that rules of their own may be added to it.
    """
    made = aws.ec2.SecurityGroup(
        f"{name}-group",
        name=group,
        description="Reached by the nodes of the platform's cluster only",
        vpc_id=placement.vpc_id,
        opts=opts,
    )
    for port in ports:
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-from-clients-{port}",
            security_group_id=made.id,
            referenced_security_group_id=placement.client_security_group_id,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            description="Nodes of the cluster",
            opts=opts,
        )
    return made
