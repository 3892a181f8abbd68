"""The way in: an internal load balancer, its names, and what the cluster needs to stand behind it.

Owns load balancer, target group, names, and the identity of the controller that registers the
gateway's pods, and the container of the certificate authority's key. Leaves the gateway and the
`TargetGroupBinding` to the Kubernetes layer. Network, private zone and cluster must exist before.

The load balancer is made here and not by the controller: then its address is known before anything
runs in the cluster, names can be records of the program (a closed network cannot reach Route 53's
API, so nothing in the cluster could write them), it goes with the stack, and the controller needs
no right but to register targets of this one group.

TLS passes through and ends at the gateway, whose certificate cert-manager issues from an
intermediate authority of the bank (`components.kubernetes.authority`), whose key somebody puts into
the secret made here. So the key of no certificate leaves the cluster, the mesh sees who calls, and
renewal is nobody's task. Certificates imported into ACM would have to be renewed by
hand, and an authority of AWS (ACM PCA) would have to be signed by hand and is paid by the month.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.policy_document import Statement, document
from components.aws.role import Role, RoleArgs, taken_by_pods
from components.aws.scope import Scope
from components.aws.secrets import DISCARD_DAYS, EXTERNAL_SECRETS, KEEP_DAYS, reading_policy
from components.aws.settings.ingress import IngressSettings
from components.kubernetes import authority

NAMESPACE = "ingress"
SERVICE_ACCOUNT = "load-balancer-controller"
AUTHORITY = f"{authority.NAMESPACE}/{authority.SECRET}"
"""The noun of the authority's secret, in the folder that cert-manager's namespace reads."""


@dataclass(frozen=True, kw_only=True)
class IngressArgs:
    """Where the load balancer stands."""

    scope: Scope
    settings: IngressSettings
    vpc_id: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    """Private, in two zones at least."""
    zone_id: pulumi.Input[str] | None
    """The private zone of the environment; `None` where somebody else writes names."""
    domain: str
    """Its name, such as ``prod.falaj.internal``."""
    cluster_name: pulumi.Input[str]
    node_security_group_id: pulumi.Input[str]
    secrets_key_arn: pulumi.Input[str]
    keep: bool
    key_ready: Sequence[pulumi.Resource] = ()
    """The policy of that key."""


class Ingress(pulumi.ComponentResource):
    """The load balancer, its `target_group_arn`, and `hosts`: name → full name.

    Where somebody else keeps the load balancer, what makes the gateway one of its targets.
    """

    hosts: dict[str, str]
    target_group_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: IngressArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Ingress", name, None, opts)
        existing = args.settings.existing
        domain = existing.domain if existing is not None else args.domain
        self.hosts = {host: f"{host}.{domain}" for host in args.settings.hosts}
        if existing is not None:
            self.target_group_arn = pulumi.Output.from_input(existing.target_group_arn)
            self._let_in(name, args, existing.security_group_id)
        else:
            self.target_group_arn = self._balancer(name, args)
        self._controller(name, args)
        secret = aws.secretsmanager.Secret(
            f"{name}-authority",
            name=args.scope.secret(AUTHORITY),
            description=f"Intermediate authority of the bank: {', '.join(authority.KEYS)}",
            kms_key_id=args.secrets_key_arn,
            # where nothing is kept, the name must be free at once
            recovery_window_in_days=KEEP_DAYS if args.keep else DISCARD_DAYS,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=args.key_ready,
                protect=args.keep,
                retain_on_delete=args.keep,
            ),
        )
        aws.secretsmanager.SecretPolicy(
            f"{name}-authority-policy",
            secret_arn=secret.arn,
            policy=document(*reading_policy(args.scope, EXTERNAL_SECRETS)),
            block_public_policy=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"target_group_arn": self.target_group_arn})

    def _balancer(self, name: str, args: IngressArgs) -> pulumi.Output[str]:
        """Load balancer and names; returns the ARN of its target group."""
        child = pulumi.ResourceOptions(parent=self)
        scope, port = args.scope, args.settings.gateway_port
        balancer = aws.lb.LoadBalancer(
            f"{name}-balancer",
            name=scope.name("ingress"),
            load_balancer_type="network",
            internal=True,
            subnets=args.subnet_ids,
            security_groups=[self._group(name, args).id],
            enable_cross_zone_load_balancing=True,
            enable_deletion_protection=args.keep,
            opts=child,
        )
        target = aws.lb.TargetGroup(
            f"{name}-gateway",
            name=scope.name("gateway"),
            vpc_id=args.vpc_id,
            target_type="ip",
            protocol="TCP",
            port=port,
            deregistration_delay=60,
            # without it the gateway could not tell who calls, nor its rules name them
            preserve_client_ip="true",
            health_check={"protocol": "TCP", "port": str(port)},
            opts=child,
        )
        aws.lb.Listener(
            f"{name}-listener",
            load_balancer_arn=balancer.arn,
            port=443,
            # TLS passes through
            protocol="TCP",
            default_actions=[{"type": "forward", "target_group_arn": target.arn}],
            opts=child,
        )
        for host, full in self.hosts.items() if args.zone_id is not None else ():
            aws.route53.Record(
                f"{name}-{host}",
                zone_id=args.zone_id,
                name=full,
                type="A",
                aliases=[
                    {
                        "name": balancer.dns_name,
                        "zone_id": balancer.zone_id,
                        "evaluate_target_health": True,
                    }
                ],
                opts=child,
            )
        arn: pulumi.Output[str] = target.arn
        return arn

    def _group(self, name: str, args: IngressArgs) -> aws.ec2.SecurityGroup:
        child = pulumi.ResourceOptions(parent=self)
        port = args.settings.gateway_port
        group = aws.ec2.SecurityGroup(
            f"{name}-group",
            name=args.scope.name("ingress"),
            description="Clients of the platform",
            vpc_id=args.vpc_id,
            opts=child,
        )
        for cidr in args.settings.client_cidrs:
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-from-{str(cidr).replace('/', '-')}",
                security_group_id=group.id,
                cidr_ipv4=str(cidr),
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
                description="Clients",
                opts=child,
            )
        aws.vpc.SecurityGroupEgressRule(
            f"{name}-to-gateway",
            security_group_id=group.id,
            referenced_security_group_id=args.node_security_group_id,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            description="The gateway and its health",
            opts=child,
        )
        self._let_in(name, args, group.id)
        return group

    def _let_in(self, name: str, args: IngressArgs, group_id: pulumi.Input[str]) -> None:
        """Nodes admit the load balancer, which has the security group `group_id`."""
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-gateway-from-balancer",
            security_group_id=args.node_security_group_id,
            referenced_security_group_id=group_id,
            ip_protocol="tcp",
            from_port=args.settings.gateway_port,
            to_port=args.settings.gateway_port,
            description="The load balancer",
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _controller(self, name: str, args: IngressArgs) -> None:
        child = pulumi.ResourceOptions(parent=self)
        role = Role(
            name,
            RoleArgs(
                scope=args.scope,
                role=SERVICE_ACCOUNT,
                trust=[taken_by_pods(args.scope)],
                permissions={"register": controller_statements(self.target_group_arn)},
            ),
            child,
        )
        aws.eks.PodIdentityAssociation(
            f"{name}-association",
            cluster_name=args.cluster_name,
            namespace=NAMESPACE,
            service_account=SERVICE_ACCOUNT,
            role_arn=role.arn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=role.policies),
        )


def controller_statements(target_group_arn: pulumi.Input[str]) -> list[Statement]:
    """What the load balancer controller may do where it only binds targets.

    It makes no load balancer and no security group, so of the policy that its project publishes
    what is left is to look around and to register.
    """
    return [
        Statement(
            sid="LookAround",
            effect="Allow",
            actions=(
                *("ec2:DescribeAvailabilityZones", "ec2:DescribeInstances"),
                *("ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups"),
                *("ec2:DescribeSubnets", "ec2:DescribeVpcs"),
                "elasticloadbalancing:DescribeTargetGroups",
                "elasticloadbalancing:DescribeTargetGroupAttributes",
                "elasticloadbalancing:DescribeTargetHealth",
                "elasticloadbalancing:DescribeTags",
            ),
            # AWS lets nobody limit these to a resource
            resources=["*"],
        ),
        Statement(
            sid="RegisterGateway",
            effect="Allow",
            actions=(
                "elasticloadbalancing:RegisterTargets",
                "elasticloadbalancing:DeregisterTargets",
            ),
            resources=[target_group_arn],
        ),
    ]
