"""An EKS cluster that answers inside its network alone.

Owns the control plane with its role, log group and access entries, the security group of the nodes
and what may pass between them and the control plane, the issuer of service accounts' tokens, and
the add-ons that nodes need to become ready. Leaves nodes to `node_pool` and `elastic_nodes`, and
what needs nodes to `add_ons`. The network with its endpoints, the keys of the domains `cluster` and
`logs`, and the roles that administer the cluster must exist before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components.aws.add_ons import BEFORE_NODES, AddOns, AddOnsArgs, network_plugin
from components.aws.policy_document import Statement
from components.aws.role import Role, RoleArgs, taken_by_service
from components.aws.scope import Scope
from components.aws.settings.cluster import ClusterSettings

LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
"""All that a control plane writes."""

HTTPS = 443


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """A cluster's place, keys and people."""

    scope: Scope
    settings: ClusterSettings
    version: str
    """Of Kubernetes."""
    add_ons: Mapping[str, str]
    """Add-on → its version, of all add-ons."""
    vpc_id: pulumi.Input[str]
    subnet_ids: Mapping[str, pulumi.Input[str]]
    """Zone → the private subnet there; two zones at least."""
    service_cidr: str
    """The addresses of Services; must overlap with no network that the cluster reaches."""
    key_arn: pulumi.Input[str]
    """Encrypts the cluster's secrets."""
    logs_key_arn: pulumi.Input[str]
    administrators: Mapping[str, pulumi.Input[str]]
    """Noun → ARN of a role that administers the cluster; the one that deploys is among them."""
    readers: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Noun → ARN of a role that looks at the cluster and changes nothing."""
    read_namespaces: Sequence[str] = ()
    """Where it looks: what the platform or a team has there, but no secret."""
    api_security_group_ids: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Noun → security group from which the API server is asked, such as the runner's."""
    keep: bool
    """Whether the cluster and its log are protected, and the log outlives the stack."""
    wait_for: Sequence[pulumi.Resource] = ()
    """What must be there before: endpoints, routes, the keys' policies."""


class Cluster(pulumi.ComponentResource):
    """A cluster, with what nodes and whoever deploys to it need to know.

    `before_nodes` must be there before any node, `ready` before anything that is deployed to the
    cluster. `kubeconfig` reaches it with the credentials of whoever runs Pulumi.
    """

    def __init__(
        self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Cluster", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        cluster_name = args.scope.cluster(args.settings.suffix)
        role = Role(
            name,
            RoleArgs(
                scope=args.scope,
                role="cluster",
                trust=[taken_by_service("eks")],
                managed_policies={"cluster": "AmazonEKSClusterPolicy"},
                permissions={
                    "secrets": [
                        Statement(
                            sid="EncryptsSecrets",
                            effect="Allow",
                            actions=(
                                *("kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"),
                                "kms:ListGrants",
                            ),
                            resources=[args.key_arn],
                        )
                    ]
                },
            ),
            child,
        )
        log = aws.cloudwatch.LogGroup(
            f"{name}-log",
            name=f"/aws/eks/{cluster_name}/cluster",
            kms_key_id=args.logs_key_arn,
            retention_in_days=args.settings.log_retention_days,
            deletion_protection_enabled=args.keep,
            # the record of who did what is worth more than the stack
            opts=pulumi.ResourceOptions(parent=self, protect=args.keep, retain_on_delete=args.keep),
        )
        cluster = aws.eks.Cluster(
            f"{name}-cluster",
            name=cluster_name,
            role_arn=role.arn,
            version=args.version,
            # all of it from the first day: a later change of the mode makes another cluster
            access_config={
                "authentication_mode": "API",
                "bootstrap_cluster_creator_admin_permissions": False,
            },
            bootstrap_self_managed_addons=False,
            deletion_protection=args.keep,
            enabled_cluster_log_types=LOG_TYPES,
            encryption_config={
                "provider": {"key_arn": args.key_arn},
                "resources": ["secrets"],
            },
            kubernetes_network_config={
                "ip_family": "ipv4",
                "service_ipv4_cidr": args.service_cidr,
            },
            upgrade_policy={"support_type": args.settings.support.upper()},
            vpc_config={
                "endpoint_private_access": True,
                "endpoint_public_access": False,
                "subnet_ids": [subnet for _, subnet in sorted(args.subnet_ids.items())],
            },
            zonal_shift_config={"enabled": args.settings.zonal_shift},
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=args.keep,
                # EKS makes a log group without key and retention when it finds none, and cannot
                # take its network interfaces back without the role's permissions
                depends_on=[log, *role.policies, *args.wait_for],
            ),
        )
        self.cluster_name = cluster.name
        self.version = args.version
        self.endpoint = cluster.endpoint
        self.certificate_authority = cluster.certificate_authority.apply(lambda one: one.data or "")
        self.security_group_id = cluster.vpc_config.apply(
            lambda one: one.cluster_security_group_id or ""
        )
        self.oidc_issuer = cluster.identities.apply(
            lambda found: ((found[0].oidcs or [])[0].issuer or "") if found else ""
        )
        aws.iam.OpenIdConnectProvider(
            f"{name}-issuer",
            url=self.oidc_issuer,
            client_id_lists=["sts.amazonaws.com"],
            opts=child,
        )
        rules = self._node_security_group(name, args, cluster_name)
        rules += self._who_asks_the_api(name, args)
        entries = self._administrators(name, args)
        self._readers(name, args)
        add_ons = AddOns(
            f"{name}-add-ons",
            AddOnsArgs(
                scope=args.scope,
                cluster_name=self.cluster_name,
                versions={one: args.add_ons[one] for one in BEFORE_NODES},
                configuration={
                    "vpc-cni": network_plugin(
                        strict=args.settings.network_policy == "strict",
                        prefix_delegation=args.settings.prefix_delegation,
                    )
                },
                volume_key_arn=args.key_arn,
            ),
            child,
        )
        self.before_nodes: list[pulumi.Resource] = [*add_ons.ready, *rules]
        self.ready: list[pulumi.Resource] = [*entries, *rules, *add_ons.ready]
        # known once the administrators are let in, so that nobody asks before
        admitted = pulumi.Output.all(*(entry.urn for entry in entries))
        self.kubeconfig = pulumi.Output.all(
            self.cluster_name, self.endpoint, self.certificate_authority, admitted
        ).apply(lambda known: kubeconfig(known[0], known[1], known[2], args.scope.region))
        self.register_outputs({"cluster_name": self.cluster_name, "endpoint": self.endpoint})

    def _node_security_group(
        self, name: str, args: ClusterArgs, cluster_name: str
    ) -> list[pulumi.Resource]:
        """The nodes' own group; they do not carry the control plane's, so one alone is tagged."""
        child = pulumi.ResourceOptions(parent=self)
        group = aws.ec2.SecurityGroup(
            f"{name}-nodes",
            name=f"{cluster_name}-nodes",
            description="Nodes of the cluster",
            vpc_id=args.vpc_id,
            # the load balancer controller looks for exactly one group with this tag on a node
            tags={f"kubernetes.io/cluster/{cluster_name}": "owned"},
            opts=child,
        )
        self.node_security_group_id: pulumi.Output[str] = group.id
        rules: list[pulumi.Resource] = [
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-nodes-from-nodes",
                security_group_id=group.id,
                referenced_security_group_id=group.id,
                ip_protocol="-1",
                description="Pods and nodes among themselves; network policies say which",
                opts=child,
            ),
            aws.vpc.SecurityGroupEgressRule(
                f"{name}-nodes-out",
                security_group_id=group.id,
                cidr_ipv4="0.0.0.0/0",
                ip_protocol="-1",
                # S3's gateway endpoint has public addresses: the routes say what can be reached
                description="As far as the routes of the subnet reach",
                opts=child,
            ),
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-api-from-nodes",
                security_group_id=self.security_group_id,
                referenced_security_group_id=group.id,
                ip_protocol="tcp",
                from_port=HTTPS,
                to_port=HTTPS,
                description="Nodes and pods ask the API server",
                opts=child,
            ),
        ]
        rules += [
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-nodes-from-api-{port}",
                security_group_id=group.id,
                referenced_security_group_id=self.security_group_id,
                ip_protocol="tcp",
                from_port=port,
                to_port=port,
                description="The API server calls webhooks, aggregated APIs and kubelets",
                opts=child,
            )
            for port in sorted(set(args.settings.webhook_ports))
        ]
        return rules

    def _who_asks_the_api(self, name: str, args: ClusterArgs) -> list[pulumi.Resource]:
        child = pulumi.ResourceOptions(parent=self)
        rules: list[pulumi.Resource] = [
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-api-from-{noun}",
                security_group_id=self.security_group_id,
                referenced_security_group_id=group,
                ip_protocol="tcp",
                from_port=HTTPS,
                to_port=HTTPS,
                description=f"The {noun} asks the API server",
                opts=child,
            )
            for noun, group in args.api_security_group_ids.items()
        ]
        rules += [
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-api-from-{str(cidr).replace('/', '-')}",
                security_group_id=self.security_group_id,
                cidr_ipv4=str(cidr),
                ip_protocol="tcp",
                from_port=HTTPS,
                to_port=HTTPS,
                description="People and runners ask the API server",
                opts=child,
            )
            for cidr in args.settings.api_cidrs
        ]
        return rules

    def _administrators(self, name: str, args: ClusterArgs) -> list[pulumi.Resource]:
        everywhere: aws.eks.AccessPolicyAssociationAccessScopeArgsDict = {"type": "cluster"}
        made: list[pulumi.Resource] = []
        for noun, role_arn in args.administrators.items():
            made += self._entry(
                f"{name}-access-{noun}",
                role_arn,
                ("administers", "AmazonEKSClusterAdminPolicy"),
                everywhere,
            )
        return made

    def _readers(self, name: str, args: ClusterArgs) -> None:
        """Lets in who looks: at what is in the namespaces named, secrets left out.

        AmazonEKSViewPolicy and not AmazonEKSAdminViewPolicy, which reads secrets: any merge request
        takes the role `plan`. It is enough for a preview, whose dry run on the server the provider
        makes on the client where it may not patch (pulumi-kubernetes 2419), and for a refresh of
        namespaced objects of Kubernetes. A refresh of roles, definitions and other objects of the
        whole cluster is refused; `apply` does that.
        """
        for noun, role_arn in args.readers.items():
            self._entry(
                f"{name}-access-{noun}",
                role_arn,
                ("reads", "AmazonEKSViewPolicy"),
                {"type": "namespace", "namespaces": list(args.read_namespaces)},
            )

    def _entry(
        self,
        name: str,
        role_arn: pulumi.Input[str],
        policy: tuple[str, str],
        where: aws.eks.AccessPolicyAssociationAccessScopeArgsDict,
    ) -> list[pulumi.Resource]:
        """An entry for a role, with one of EKS's policies, by what it does and its name."""
        does, policy_name = policy
        entry = aws.eks.AccessEntry(
            name,
            cluster_name=self.cluster_name,
            principal_arn=role_arn,
            type="STANDARD",
            opts=pulumi.ResourceOptions(parent=self),
        )
        association = aws.eks.AccessPolicyAssociation(
            f"{name}-{does}",
            cluster_name=self.cluster_name,
            principal_arn=role_arn,
            policy_arn=f"arn:aws:eks::aws:cluster-access-policy/{policy_name}",
            access_scope=where,
            # EKS refuses a policy for a principal that has no entry
            opts=pulumi.ResourceOptions(parent=self, depends_on=[entry]),
        )
        return [association, entry]


def kubeconfig(cluster_name: str, endpoint: str, certificate_authority: str, region: str) -> str:
    """How `kubectl` and the Kubernetes provider reach the cluster; holds no secret.

    The token comes from the regional STS endpoint: an opt-in region refuses that of the global one.
    Needs the AWS command line wherever Pulumi runs.
    """
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": cluster_name,
                    "cluster": {
                        "server": endpoint,
                        "certificate-authority-data": certificate_authority,
                    },
                }
            ],
            "users": [
                {
                    "name": cluster_name,
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1",
                            "interactiveMode": "Never",
                            "command": "aws",
                            "args": [
                                *("--region", region, "eks", "get-token"),
                                *("--cluster-name", cluster_name, "--output", "json"),
                            ],
                            "env": [{"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional"}],
                        }
                    },
                }
            ],
            "contexts": [
                {"name": cluster_name, "context": {"cluster": cluster_name, "user": cluster_name}}
            ],
            "current-context": cluster_name,
        }
    )
