"""Cases of `policies/residency/values.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import KEY_ARN, Cases, resource

ABROAD = KEY_ARN.replace("me-central-1", "eu-west-1")
HOME, AWAY = "me-central-1a", "eu-west-1a"
SUBNET = "aws:ec2/subnet:Subnet"
POOL = "aws:cognito/userPool:UserPool"
TASK = "aws:ecs/taskDefinition:TaskDefinition"
BACKUPS = "kubernetes:velero.io/v1:BackupStorageLocation"


def one(kind: str, **properties: Any) -> list[Resource]:
    return [resource(kind, "one", properties)]


def sends(region: Any) -> list[Resource]:
    return one(POOL, smsConfiguration={"snsRegion": region})


def task(**container: Any) -> list[Resource]:
    return one(TASK, containerDefinitions=json.dumps([{"name": "web", **container}]))


def logs_to(region: str) -> list[Resource]:
    return task(logConfiguration={"options": {"awslogs-region": region}})


def nested(path: str, value: Any) -> dict[str, Any]:
    """`value` at the dotted `path`; a step that ends in ``*`` holds a list of one."""
    step, _, rest = path.partition(".")
    inner = nested(rest, value) if rest else value
    return {step.removesuffix("*"): [inner] if step.endswith("*") else inner}


ZONES: dict[str, Sequence[str]] = {
    "aws:autoscaling/group:Group": ("availabilityZones*",),
    "aws:cloudhsmv2/hsm:Hsm": ("availabilityZone",),
    "aws:dax/cluster:Cluster": ("availabilityZones*",),
    "aws:dms/replicationConfig:ReplicationConfig": ("computeConfig.availabilityZone",),
    "aws:dms/replicationInstance:ReplicationInstance": ("availabilityZone",),
    "aws:docdb/cluster:Cluster": ("availabilityZones*",),
    "aws:docdb/clusterInstance:ClusterInstance": ("availabilityZone",),
    "aws:ebs/fastSnapshotRestore:FastSnapshotRestore": ("availabilityZone",),
    "aws:ebs/volume:Volume": ("availabilityZone",),
    "aws:ec2/capacityReservation:CapacityReservation": ("availabilityZone",),
    "aws:ec2/defaultSubnet:DefaultSubnet": ("availabilityZone",),
    "aws:ec2/fleet:Fleet": ("launchTemplateConfigs*.overrides*.availabilityZone",),
    "aws:ec2/instance:Instance": ("availabilityZone",),
    "aws:ec2/launchTemplate:LaunchTemplate": ("placement.availabilityZone",),
    "aws:ec2/natGateway:NatGateway": ("availabilityZoneAddresses*.availabilityZone",),
    "aws:ec2/secondarySubnet:SecondarySubnet": ("availabilityZone",),
    "aws:ec2/spotFleetRequest:SpotFleetRequest": (
        "launchSpecifications*.availabilityZone",
        "launchTemplateConfigs*.overrides*.availabilityZone",
    ),
    "aws:ec2/spotInstanceRequest:SpotInstanceRequest": ("availabilityZone",),
    "aws:ec2/subnet:Subnet": ("availabilityZone",),
    "aws:efs/fileSystem:FileSystem": ("availabilityZoneName",),
    "aws:efs/replicationConfiguration:ReplicationConfiguration": (
        "destination.availabilityZoneName",
    ),
    "aws:elasticache/cluster:Cluster": ("availabilityZone", "preferredAvailabilityZones*"),
    "aws:elasticache/replicationGroup:ReplicationGroup": (
        "preferredCacheClusterAzs*",
        "nodeGroupConfigurations*.primaryAvailabilityZone",
        "nodeGroupConfigurations*.replicaAvailabilityZones*",
    ),
    "aws:elb/loadBalancer:LoadBalancer": ("availabilityZones*",),
    "aws:glue/connection:Connection": ("physicalConnectionRequirements.availabilityZone",),
    "aws:imagebuilder/infrastructureConfiguration:InfrastructureConfiguration": (
        "placement.availabilityZone",
    ),
    "aws:neptune/cluster:Cluster": ("availabilityZones*",),
    "aws:neptune/clusterInstance:ClusterInstance": ("availabilityZone",),
    "aws:rds/cluster:Cluster": ("availabilityZones*",),
    "aws:rds/clusterInstance:ClusterInstance": ("availabilityZone",),
    "aws:rds/instance:Instance": ("availabilityZone",),
    "aws:rds/snapshotCopy:SnapshotCopy": ("targetCustomAvailabilityZone",),
    "aws:redshift/cluster:Cluster": ("availabilityZone",),
}
ZONE_IDS = {
    "aws:ec2/natGateway:NatGateway": "availabilityZoneAddresses*.availabilityZoneId",
    "aws:ec2/secondarySubnet:SecondarySubnet": "availabilityZoneId",
    "aws:ec2/subnet:Subnet": "availabilityZoneId",
    "aws:networkfirewall/firewall:Firewall": "availabilityZoneMappings*.availabilityZoneId",
    "aws:s3/directoryBucket:DirectoryBucket": "location.name",
}

CASES = (
    Cases(
        rule="nested-region-values-are-allowed",
        baseline=sends("me-central-1"),
        fails={
            "messages from another region": sends("eu-west-1"),
            "one of a list": one(
                "aws:cloudformation/stackInstances:StackInstances",
                regions=["me-central-1", "eu-west-1"],
            ),
            "all of them": one(
                "aws:securityhub/aggregatorV2:AggregatorV2", linkedRegions=["ALL_REGIONS"]
            ),
            "in a list of one": one(
                "aws:ec2/vpcIpam:VpcIpam", operatingRegions=[{"regionName": "eu-west-1"}]
            ),
            "logs of a container": logs_to("eu-west-1"),
            "backups of a cluster": one(
                BACKUPS, spec={"provider": "aws", "config": {"region": "eu-west-1"}}
            ),
        },
        passes={
            "its own is another rule's": one(POOL, region="eu-west-1"),
            "where data comes from": one("aws:ec2/amiCopy:AmiCopy", sourceAmiRegion="eu-west-1"),
            # in a stack, for the rule is not about it
            "where probes start": [
                *one("aws:route53/healthCheck:HealthCheck", regions=["eu-west-1", "us-east-1"]),
                *sends("me-central-1"),
            ],
            "a tag": one(POOL, tags={"region": "eu-west-1"}),
            "a variable": one(
                "aws:lambda/function:Function", environment={"variables": {"region": "emea"}}
            ),
            "what no region of AWS is": one(BACKUPS, spec={"config": {"region": "europe-west3"}}),
            "nothing": sends(""),
            "logs of a container here": logs_to("me-central-1"),
            "no JSON": one(TASK, containerDefinitions="["),
        },
        pending={
            "which": sends(UNKNOWN),
            "which of a list": one(
                "aws:cloudformation/stackInstances:StackInstances",
                regions=["me-central-1", UNKNOWN],
            ),
        },
    ),
    Cases(
        rule="arn-region-is-allowed",
        baseline=one("aws:sqs/queue:Queue", kmsMasterKeyId=KEY_ARN),
        fails={
            "a key abroad": one("aws:sqs/queue:Queue", kmsMasterKeyId=ABROAD),
            "one of a list": one("aws:ecs/cluster:Cluster", things=[{"arns": [KEY_ARN, ABROAD]}]),
            "in another partition": one(
                "aws:sqs/queue:Queue", kmsMasterKeyId="arn:aws-cn:kms:cn-north-1:1:key/1"
            ),
            "in JSON": task(secrets=[{"name": "TOKEN", "valueFrom": ABROAD}]),
            "in JSON after a space": one(
                "aws:sqs/queue:Queue", redrivePolicy=f' {{"deadLetterTargetArn": "{ABROAD}"}}'
            ),
            "of regions that a pattern names": one(
                "aws:backup/selection:Selection", resources=["arn:aws:rds:eu-*:1:db:*"]
            ),
            "of a node": one(
                "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",
                spec={"blockDeviceMappings": [{"ebs": {"kmsKeyID": ABROAD}}]},
            ),
        },
        passes={
            "of no region": one(
                "aws:iam/rolePolicyAttachment:X", policyArn="arn:aws:iam::1:role/a"
            ),
            "a bucket's": one("aws:s3/bucketPolicy:BucketPolicy", arn="arn:aws:s3:::store"),
            "of any region": one(
                "aws:backup/selection:Selection", resources=["arn:aws:rds:*:*:db:*"]
            ),
            "a policy's": one(
                "aws:iam/policy:Policy",
                policy=json.dumps({"statement": {"Effect": "Deny", "Resource": ABROAD}}),
            ),
            "of events that come in": one(
                "aws:cloudwatch/eventRule:EventRule",
                eventPattern=json.dumps({"resources": [ABROAD]}),
            ),
            "in prose": one("aws:sqs/queue:Queue", description=f"not {ABROAD}"),
            "no ARN": one("aws:sqs/queue:Queue", kmsMasterKeyId="arn:of a sort"),
            "an id that is not known yet": one(SUBNET, vpcId=UNKNOWN),
        },
        pending={
            "whose": one("aws:sqs/queue:Queue", kmsKeyArn=UNKNOWN),
            "of two": one("aws:sqs/queue:Queue", kmsKeyArn=UNKNOWN, targetArns=[UNKNOWN]),
        },
    ),
    Cases(
        rule="availability-zone-is-in-region",
        baseline=one(SUBNET, availabilityZone=HOME, availabilityZoneId="mec1-az2"),
        fails={
            **{
                f"{kind}: {path}": one(kind, **nested(path, AWAY))
                for kind, paths in ZONES.items()
                for path in paths
            },
            **{
                f"{kind}: {path}": one(kind, **nested(path, "euw1-az1"))
                for kind, path in ZONE_IDS.items()
            },
            "one of three": one(
                "aws:rds/cluster:Cluster", availabilityZones=[HOME, "me-central-1b", AWAY]
            ),
            "a local zone": one(SUBNET, availabilityZone="me-central-1-mct-1a"),
            "a local zone's id": one(SUBNET, availabilityZoneId="mec1-mct1-az1"),
            "a wavelength zone": one(SUBNET, availabilityZone="me-central-1-wl1-dxb-wlz-1"),
            "the region itself": one(SUBNET, availabilityZone="me-central-1"),
            "an id for a name": one(SUBNET, availabilityZone="mec1-az1"),
        },
        passes={
            **{
                f"{kind}: {path}": one(kind, **nested(path, HOME))
                for kind, paths in ZONES.items()
                for path in paths
            },
            **{
                f"{kind}: {path}": one(kind, **nested(path, "mec1-az1"))
                for kind, path in ZONE_IDS.items()
            },
        },
        pending={
            "which": one(SUBNET, availabilityZone=UNKNOWN),
            "which of a list": one("aws:rds/cluster:Cluster", availabilityZones=[HOME, UNKNOWN]),
            "where": one("aws:ec2/launchTemplate:LaunchTemplate", placement=UNKNOWN),
            "which id": one(SUBNET, availabilityZoneId=UNKNOWN),
        },
    ),
)
