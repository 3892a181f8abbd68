"""What Karpenter needs of AWS: its identity, its queue of interruptions, its nodes' identity.

Owns these, the rules that fill the queue, and the content of Karpenter's objects (`manifests`),
which `components.kubernetes.elastic_pools` applies after the controller. The cluster with its node
security group and the key of the domain `cluster` must exist before, and a managed group for the
controller to run on: it stays off its own nodes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components.aws.add_ons import key_for_volumes
from components.aws.karpenter_objects import NodePlace, node_class, node_pools
from components.aws.node_pool import node_policies
from components.aws.policy_document import ANYONE, Statement, document
from components.aws.role import Role, RoleArgs, taken_by_pods, taken_by_service
from components.aws.scope import Scope
from components.aws.settings.elastic_nodes import ElasticNodesSettings
from components.kubernetes.elastic_pools import Manifest
from policies.guards.conditions import WITHOUT_TLS

NAMESPACE, SERVICE_ACCOUNT = "kube-system", "karpenter"

EVENTS = {
    "health": ("aws.health", "AWS Health Event"),
    "spot": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "state": ("aws.ec2", "EC2 Instance State-change Notification"),
    "reservation": ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"),
}
"""What Karpenter listens to: noun → source and kind of the event."""

_MESSAGE_SECONDS = 300
"""A spot instance goes two minutes after its warning: an older message is of no use."""


@dataclass(frozen=True, kw_only=True)
class ElasticNodesArgs:
    """The cluster that grows, and where."""

    scope: Scope
    settings: ElasticNodesSettings
    cluster_name: str
    """Known before the cluster is made, since policies name its tag."""
    cluster: pulumi.Input[str]
    """The same name, from the cluster itself."""
    subnet_ids: Mapping[str, pulumi.Input[str]]
    """Zone → private subnet."""
    node_security_group_ids: Sequence[pulumi.Input[str]]
    key_arn: pulumi.Input[str]
    """Encrypts disks and queue."""
    max_pods: int = 110
    """On one node."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """On every node, disk and interface that Karpenter makes."""
    wait_for: Sequence[pulumi.Resource] = ()
    """What must be there before: the key's policy, the Pod Identity agent."""


class ElasticNodes(pulumi.ComponentResource):
    """Karpenter's half in AWS.

    `queue_name` and `manifests` are for the Kubernetes layer; `ready` is what the controller must
    not start without.
    """

    def __init__(
        self, name: str, args: ElasticNodesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:ElasticNodes", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        nodes = Role(
            f"{name}-nodes",
            RoleArgs(
                scope=args.scope,
                role="elastic-nodes",
                trust=[taken_by_service("ec2", "NodesAssume")],
                managed_policies=node_policies(network_plugin_has_role=True),
            ),
            child,
        )
        profile = aws.iam.InstanceProfile(
            f"{name}-profile",
            name=args.scope.name("elastic-nodes"),
            role=nodes.name,
            opts=child,
        )
        entry = aws.eks.AccessEntry(
            f"{name}-access",
            cluster_name=args.cluster,
            principal_arn=nodes.arn,
            # nodes of any other type are refused, time and again
            type="EC2_LINUX",
            opts=child,
        )
        queue, filled = self._queue(name, args)
        controller = Role(
            f"{name}-controller",
            RoleArgs(
                scope=args.scope,
                role="karpenter",
                trust=[taken_by_pods(args.scope)],
                permissions=controller_permissions(
                    args.scope, args.cluster_name, nodes.arn, queue.arn, args.key_arn
                ),
            ),
            child,
        )
        association = aws.eks.PodIdentityAssociation(
            f"{name}-identity",
            cluster_name=args.cluster,
            namespace=NAMESPACE,
            service_account=SERVICE_ACCOUNT,
            role_arn=controller.arn,
            opts=pulumi.ResourceOptions(
                parent=self,
                # whoever sees the association may act at once
                depends_on=[*controller.policies, *args.wait_for],
            ),
        )
        place = NodePlace(
            region=args.scope.region,
            cluster_name=args.cluster,
            instance_profile=profile.name,
            subnet_ids=args.subnet_ids,
            security_group_ids=args.node_security_group_ids,
            volume_key_arn=args.key_arn,
            image=args.settings.image,
            max_pods=args.max_pods,
            tags=args.tags,
        )
        self.manifests: list[Manifest] = []
        for pool, shape in args.settings.pools.items():
            self.manifests += [node_class(pool, shape, place), *node_pools(pool, shape)]
        self.queue_name = queue.name
        self.node_role_arn = nodes.arn
        self.instance_profile = profile.name
        self.ready: list[pulumi.Resource] = [
            *(entry, association, profile),
            *(*nodes.policies, *filled),
        ]
        self.register_outputs({"queue_name": self.queue_name})

    def _queue(
        self, name: str, args: ElasticNodesArgs
    ) -> tuple[aws.sqs.Queue, list[pulumi.Resource]]:
        child = pulumi.ResourceOptions(parent=self)
        queue = aws.sqs.Queue(
            f"{name}-interruptions",
            name=args.scope.name("interruptions"),
            kms_master_key_id=args.key_arn,
            message_retention_seconds=_MESSAGE_SECONDS,
            opts=child,
        )
        rules = {
            noun: aws.cloudwatch.EventRule(
                f"{name}-{noun}",
                name=args.scope.name(f"interruptions-{noun}"),
                description=f"Tells Karpenter: {kind}",
                event_pattern=json.dumps({"source": [source], "detail-type": [kind]}),
                opts=child,
            )
            for noun, (source, kind) in EVENTS.items()
        }
        policy = aws.sqs.QueuePolicy(
            f"{name}-interruptions-policy",
            queue_url=queue.url,
            policy=document(
                Statement(
                    sid="EventsTell",
                    effect="Allow",
                    actions=("sqs:SendMessage",),
                    resources=[queue.arn],
                    principals={"Service": ("events.amazonaws.com",)},
                    conditions={
                        "StringEquals": {"aws:SourceAccount": args.scope.account_id},
                        "ArnLike": {
                            "aws:SourceArn": args.scope.arn(
                                "events", f"rule/{args.scope.name('interruptions')}-*"
                            )
                        },
                    },
                ),
                Statement(
                    sid="DenyWithoutTls",
                    effect="Deny",
                    actions=("sqs:*",),
                    resources=[queue.arn],
                    principals=ANYONE,
                    conditions=WITHOUT_TLS,
                ),
            ),
            opts=child,
        )
        targets = [
            aws.cloudwatch.EventTarget(
                f"{name}-{noun}-target",
                rule=rule.name,
                target_id="interruptions",
                arn=queue.arn,
                # an event that the queue refuses is lost
                opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
            )
            for noun, rule in rules.items()
        ]
        return queue, [policy, *targets]


def controller_permissions(
    scope: Scope,
    cluster_name: str,
    node_role_arn: pulumi.Input[str],
    queue_arn: pulumi.Input[str],
    key_arn: pulumi.Input[str],
) -> dict[str, tuple[Statement, ...]]:
    """What Karpenter may do: start and end nodes that carry the cluster's tag, and nothing else.

    Source: Karpenter 1.14, reference, CloudFormation. Left out: instance profiles and prices, which
    it cannot reach and has no need of.
    """
    owned = f"kubernetes.io/cluster/{cluster_name}"
    pool = "karpenter.sh/nodepool"
    asked = {
        "StringEquals": {
            f"aws:RequestTag/{owned}": "owned",
            "aws:RequestTag/eks:eks-cluster-name": cluster_name,
        },
        "StringLike": {f"aws:RequestTag/{pool}": "*"},
    }
    ours = {
        "StringEquals": {f"aws:ResourceTag/{owned}": "owned"},
        "StringLike": {f"aws:ResourceTag/{pool}": "*"},
    }

    def ec2(*kinds: str, account: bool = True) -> list[str]:
        owner = scope.account_id if account else ""
        return [f"arn:aws:ec2:{scope.region}:{owner}:{kind}/*" for kind in kinds]

    made = ("fleet", "instance", "volume", "network-interface", "spot-instances-request")
    return {
        "nodes": (
            Statement(
                sid="TakesWhatNodesAreMadeOf",
                effect="Allow",
                actions=("ec2:RunInstances", "ec2:CreateFleet"),
                resources=[
                    *ec2("image", "snapshot", account=False),
                    *ec2("security-group", "subnet", "capacity-reservation", "placement-group"),
                ],
            ),
            Statement(
                sid="TakesItsLaunchTemplates",
                effect="Allow",
                actions=("ec2:RunInstances", "ec2:CreateFleet"),
                resources=ec2("launch-template"),
                conditions=ours,
            ),
            Statement(
                sid="StartsTaggedNodes",
                effect="Allow",
                actions=("ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"),
                resources=ec2(*made, "launch-template"),
                conditions=asked,
            ),
            Statement(
                sid="TagsWhatItStarts",
                effect="Allow",
                actions=("ec2:CreateTags",),
                resources=ec2(*made, "launch-template"),
                conditions={
                    "StringEquals": asked["StringEquals"]
                    | {
                        "ec2:CreateAction": [
                            *("RunInstances", "CreateFleet", "CreateLaunchTemplate"),
                        ]
                    },
                    "StringLike": asked["StringLike"],
                },
            ),
            Statement(
                sid="NamesItsNodes",
                effect="Allow",
                actions=("ec2:CreateTags",),
                resources=ec2("instance"),
                conditions=ours
                | {
                    "StringEqualsIfExists": {"aws:RequestTag/eks:eks-cluster-name": cluster_name},
                    "ForAllValues:StringEquals": {
                        "aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]
                    },
                },
            ),
            Statement(
                sid="EndsItsNodes",
                effect="Allow",
                actions=("ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"),
                resources=ec2("instance", "launch-template"),
                conditions=ours,
            ),
            Statement(
                sid="GivesNodesTheirRole",
                effect="Allow",
                actions=("iam:PassRole",),
                resources=[node_role_arn],
                conditions={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
            ),
        ),
        "reads": (
            Statement(
                sid="LooksRound",
                effect="Allow",
                actions=(
                    "ec2:DescribeCapacityReservations",
                    "ec2:DescribeImages",
                    "ec2:DescribeInstances",
                    "ec2:DescribeInstanceStatus",
                    "ec2:DescribeInstanceTypeOfferings",
                    "ec2:DescribeInstanceTypes",
                    "ec2:DescribeLaunchTemplates",
                    "ec2:DescribePlacementGroups",
                    "ec2:DescribeSecurityGroups",
                    "ec2:DescribeSpotPriceHistory",
                    "ec2:DescribeSubnets",
                ),
                # EC2 lets nobody limit these to a resource
                resources=["*"],
                conditions={"StringEquals": {"aws:RequestedRegion": scope.region}},
            ),
            Statement(
                sid="LooksUpImages",
                effect="Allow",
                actions=("ssm:GetParameter",),
                resources=[f"arn:aws:ssm:{scope.region}::parameter/aws/service/*"],
            ),
            Statement(
                sid="FindsTheCluster",
                effect="Allow",
                actions=("eks:DescribeCluster",),
                resources=[scope.arn("eks", f"cluster/{cluster_name}")],
            ),
        ),
        "interruptions": (
            Statement(
                sid="TakesMessages",
                effect="Allow",
                actions=("sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"),
                resources=[queue_arn],
            ),
        ),
        "key": key_for_volumes(key_arn),
    }
