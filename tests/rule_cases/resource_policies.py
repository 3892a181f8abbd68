"""Cases of `policies/hardening/resource_policies.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import ACCOUNT, Cases, resource
from rule_cases.keys import allow, written
from rule_cases.sharing import FRIEND, HELD, STRANGER, one

BUCKET = "aws:s3/bucketPolicy:BucketPolicy"
POLICY = (
    *("aws:acmpca/policy:Policy", "aws:backup/vaultPolicy:VaultPolicy", BUCKET),
    "aws:bedrock/agentcoreResourcePolicy:AgentcoreResourcePolicy",
    *("aws:cloudwatch/eventBusPolicy:EventBusPolicy", "aws:dsql/clusterPolicy:ClusterPolicy"),
    *("aws:codebuild/resourcePolicy:ResourcePolicy", "aws:dynamodb/resourcePolicy:ResourcePolicy"),
    *("aws:ecr/registryPolicy:RegistryPolicy", "aws:ecr/repositoryPolicy:RepositoryPolicy"),
    *("aws:efs/fileSystemPolicy:FileSystemPolicy", "aws:glue/resourcePolicy:ResourcePolicy"),
    *("aws:kinesis/resourcePolicy:ResourcePolicy", "aws:lambda/resourcePolicy:ResourcePolicy"),
    *("aws:mediastore/containerPolicy:ContainerPolicy", "aws:msk/clusterPolicy:ClusterPolicy"),
    *("aws:networkfirewall/resourcePolicy:ResourcePolicy", "aws:oam/sinkPolicy:SinkPolicy"),
    "aws:opensearchingest/resourcePolicy:ResourcePolicy",
    "aws:redshift/resourcePolicy:ResourcePolicy",
    "aws:redshiftserverless/resourcePolicy:ResourcePolicy",
    *("aws:s3/accessPoint:AccessPoint", "aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"),
    "aws:s3/filesFileSystemPolicy:FilesFileSystemPolicy",
    "aws:s3/vectorsVectorBucketPolicy:VectorsVectorBucketPolicy",
    "aws:s3control/accessGrantsInstanceResourcePolicy:AccessGrantsInstanceResourcePolicy",
    "aws:s3control/accessPointPolicy:AccessPointPolicy",
    "aws:s3control/bucketPolicy:BucketPolicy",
    "aws:s3control/objectLambdaAccessPointPolicy:ObjectLambdaAccessPointPolicy",
    "aws:schemas/registryPolicy:RegistryPolicy",
    *("aws:secretsmanager/secret:Secret", "aws:secretsmanager/secretPolicy:SecretPolicy"),
    *("aws:ses/identityPolicy:IdentityPolicy", "aws:sns/topic:Topic"),
    *("aws:sesv2/emailIdentityPolicy:EmailIdentityPolicy", "aws:sns/topicPolicy:TopicPolicy"),
    *("aws:sqs/queue:Queue", "aws:sqs/queuePolicy:QueuePolicy"),
)
OTHERS = {
    "aws:amp/resourcePolicy:ResourcePolicy": "policyDocument",
    "aws:cloudwatch/logDeliveryDestinationPolicy:LogDeliveryDestinationPolicy": (
        "deliveryDestinationPolicy"
    ),
    "aws:cloudwatch/logDestinationPolicy:LogDestinationPolicy": "accessPolicy",
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": "policyDocument",
    "aws:codeartifact/domainPermissions:DomainPermissions": "policyDocument",
    "aws:codeartifact/repositoryPermissionsPolicy:RepositoryPermissionsPolicy": "policyDocument",
    "aws:elasticsearch/domain:Domain": "accessPolicies",
    "aws:elasticsearch/domainPolicy:DomainPolicy": "accessPolicies",
    "aws:glacier/vault:Vault": "accessPolicy",
    "aws:opensearch/domain:Domain": "accessPolicies",
    "aws:opensearch/domainPolicy:DomainPolicy": "accessPolicies",
    "aws:s3control/multiRegionAccessPointPolicy:MultiRegionAccessPointPolicy": "details.policy",
    "aws:s3tables/tableBucketPolicy:TableBucketPolicy": "resourcePolicy",
    "aws:s3tables/tablePolicy:TablePolicy": "resourcePolicy",
    "aws:sagemaker/modelPackageGroupPolicy:ModelPackageGroupPolicy": "resourcePolicy",
    "aws:xray/resourcePolicy:ResourcePolicy": "policyDocument",
}
EVENTS = "aws:cloudwatch/eventPermission:EventPermission"
LAYER = "aws:lambda/layerVersionPermission:LayerVersionPermission"
CALL = "aws:lambda/permission:Permission"
SIGNER = "aws:signer/signingProfilePermission:SigningProfilePermission"
URL = "aws:lambda/functionUrl:FunctionUrl"
IMAGES = "aws:ecrpublic/repository:Repository"

READ = "s3:GetObject"
ANYONE = allow("*", READ)
OURS = f"arn:aws:iam::{ACCOUNT}:role/app"
ORGANISATION = {"aws:PrincipalOrgID": "o-1"}


def under(operator: str, key: str, *values: str, **more: Any) -> dict[str, Any]:
    return allow("*", READ, Condition={operator: {key: list(values)}}, **more)


def policy(*statements: Any, kind: str = BUCKET) -> list[Resource]:
    return one(kind, "policy", written(*statements))


def granted(kind: str, **properties: Any) -> list[Resource]:
    return [resource(kind, "one", properties, provider=HELD)]


ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
SEPARATE = "aws:ec2/vpcEndpointPolicy:VpcEndpointPolicy"
S3 = "com.amazonaws.me-central-1.s3"
THROUGH = allow("*", "s3:*", Condition={"StringEquals": {"aws:PrincipalAccount": ACCOUNT}})


def endpoint(*statements: Any, **more: Any) -> Resource:
    said = {"policy": written(*statements)} if statements else {}
    return resource(ENDPOINT, "one", {"id": "vpce-1", "serviceName": S3, **said, **more})


def separate(*statements: Any, of: Any = "vpce-1", **more: Any) -> Resource:
    return resource(
        SEPARATE, "policy", {"vpcEndpointId": of, "policy": written(*statements)}, **more
    )


NEW = endpoint(id=UNKNOWN, policy=UNKNOWN)

CASES = (
    Cases(
        rule="resource-policy-is-not-public",
        parameters={"allowedAccounts": [FRIEND]},
        baseline=policy(allow({"AWS": OURS}, READ)),
        fails={
            **{kind: policy(ANYONE, kind=kind) for kind in POLICY},
            **{kind: one(kind, path, written(ANYONE)) for kind, path in OTHERS.items()},
            "everybody in a list": policy(allow({"AWS": ["*"]}, READ)),
            "a statement alone, as an object": one(BUCKET, "policy", {"Statement": ANYONE}),
            "a second statement": policy(allow({"AWS": OURS}, READ), ANYONE),
            "all but": policy(allow(ABSENT, READ, NotPrincipal={"AWS": OURS})),
            "any service": policy(allow({"Service": "*"}, READ)),
            "narrowed to any": policy(under("StringLike", "aws:PrincipalOrgID", "o-*")),
            "narrowed to any role": policy(
                under("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:*")
            ),
            "narrowed to one or all": policy(
                under("StringLike", "aws:PrincipalAccount", ACCOUNT, "*")
            ),
            "narrowed to all others": policy(under("StringNotEquals", "aws:PrincipalOrgID", "o-1")),
            "narrowed if there": policy(under("StringEqualsIfExists", "aws:PrincipalOrgID", "o-1")),
            "narrowed for none": policy(
                under("ForAllValues:StringEquals", "aws:PrincipalOrgID", "o-1")
            ),
            "narrowed by another key": policy(under("StringEquals", "aws:RequestedRegion", "me")),
            "with TLS": policy(under("Bool", "aws:SecureTransport", "true")),
            "not through a mount": policy(
                under("Bool", "elasticfilesystem:AccessedViaMountTarget", "false")
            ),
            "a stranger": policy(allow({"AWS": STRANGER}, READ)),
            "a stranger's root": policy(allow({"AWS": f"arn:aws:iam::{STRANGER}:root"}, READ)),
            "a stranger among friends": policy(
                allow({"AWS": [OURS, f"arn:aws:iam::{STRANGER}:role/x"]}, READ)
            ),
            "odd case": one(BUCKET, "policy", '{"statement": []}'),
            "no JSON": one(BUCKET, "policy", "{"),
            "a function for all": granted(CALL, principal="*"),
            "a function for any organisation": granted(CALL, principal="*", principalOrgId="*"),
            "a function for a bucket of whomever": granted(
                CALL, principal="*", sourceArn="arn:aws:s3:::x", functionUrlAuthType="NONE"
            ),
            "a function for a stranger": granted(CALL, principal=STRANGER),
            "a layer for all": granted(LAYER, principal="*"),
            "events of all": granted(EVENTS, principal="*"),
            "a stranger signs": granted(SIGNER, principal=STRANGER),
            "a URL": one(URL, "authorizationType", "NONE"),
            "public images": one(IMAGES),
        },
        passes={
            "nothing said": one("aws:sqs/queue:Queue"),
            "null": one("aws:sns/topic:Topic", "policy", None),
            "a denial of everybody": policy({**ANYONE, "Effect": "Deny"}),
            "an organisation": policy(under("StringEquals", "aws:PrincipalOrgID", "o-1")),
            "odd case of a key": policy(under("StringEquals", "AWS:principalorgid", "o-1")),
            "a network": policy(under("StringEquals", "aws:SourceVpc", "vpc-1")),
            "roles of one account": policy(
                under("ArnLike", "aws:PrincipalArn", f"arn:aws:iam::{ACCOUNT}:role/app-*")
            ),
            "all but, of an organisation": policy(
                allow(
                    ABSENT,
                    READ,
                    NotPrincipal={"AWS": OURS},
                    Condition={"StringEquals": ORGANISATION},
                )
            ),
            "through a mount": policy(
                under("Bool", "elasticfilesystem:AccessedViaMountTarget", "true")
            ),
            "a friend": policy(allow({"AWS": [FRIEND]}, READ)),
            "oneself": policy(allow({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, READ)),
            "a service": policy(allow({"Service": "s3.amazonaws.com"}, READ)),
            "a former role's id": policy(allow({"AWS": "AROAEXAMPLEEXAMPLE"}, READ)),
            "a function for a service": granted(CALL, principal="s3.amazonaws.com"),
            "a function for an organisation": granted(CALL, principal="*", principalOrgId="o-1"),
            "a function for an account": granted(CALL, principal="*", sourceAccount=ACCOUNT),
            "a layer for an organisation": granted(LAYER, principal="*", organizationId="o-1"),
            "events of an organisation": granted(
                EVENTS, principal="*", condition={"key": "aws:PrincipalOrgID", "value": "o-1"}
            ),
            "a URL that IAM keeps": one(URL, "authorizationType", "AWS_IAM"),
        },
        pending={
            "policy": one(BUCKET, "policy", UNKNOWN),
            "what is inside": one(
                "aws:s3control/multiRegionAccessPointPolicy:MultiRegionAccessPointPolicy",
                "details",
                UNKNOWN,
            ),
            "who": one(BUCKET, "policy", {"Statement": [{**ANYONE, "Principal": UNKNOWN}]}),
            "what narrows": one(
                BUCKET,
                "policy",
                {"Statement": [{**ANYONE, "Condition": {"StringEquals": UNKNOWN}}]},
            ),
            "a function's caller": granted(CALL, principal=UNKNOWN),
            "a function's organisation": granted(CALL, principal="*", principalOrgId=UNKNOWN),
            "a URL": one(URL, "authorizationType", UNKNOWN),
        },
    ),
    Cases(
        rule="vpc-endpoint-policy-is-limited",
        parameters={"servicesWithoutPolicy": ["com.amazonaws.*.none"]},
        baseline=[endpoint(THROUGH)],
        fails={
            "nothing said": [endpoint()],
            "null": [endpoint(policy=None)],
            "what AWS writes": [endpoint(allow("*", "*"))],
            "everybody": [endpoint(allow("*", READ))],
            "everybody beside": [endpoint(THROUGH, allow({"AWS": ["*"]}, READ))],
            "narrowed to any": [endpoint(under("StringLike", "aws:PrincipalOrgID", "*"))],
            "narrowed to all others": [
                endpoint(under("StringNotEquals", "aws:ResourceAccount", ACCOUNT))
            ],
            "all of one account": [endpoint(allow({"AWS": ACCOUNT}, "*"))],
            "any bucket of a name": [endpoint(allow("*", READ, Resource="arn:aws:s3:::al2023-*"))],
            "all but a bucket": [
                endpoint(allow("*", READ, Resource=ABSENT, NotResource="arn:aws:s3:::one/*"))
            ],
            "no input": [endpoint(policy=UNKNOWN)],
            "of another endpoint": [endpoint(), separate(THROUGH, of="vpce-2")],
            "separate": [endpoint(), separate(allow("*", "*"))],
            "odd case": [endpoint(policy='{"statement": []}')],
        },
        passes={
            "resources of an account": [
                endpoint(under("StringEquals", "aws:ResourceAccount", ACCOUNT))
            ],
            "buckets of AWS": [
                endpoint(THROUGH, allow("*", READ, Resource="arn:aws:s3:::al2023-repos-me/*"))
            ],
            "images of one account": [
                endpoint(allow("*", "*", Resource=f"arn:aws:ecr:me-central-1:{ACCOUNT}:*"))
            ],
            "some of one account": [endpoint(allow({"AWS": ACCOUNT}, READ))],
            "nobody": [endpoint({**allow("*", "*"), "Effect": "Deny"})],
            "separate": [endpoint(), separate(THROUGH)],
            "separate at preview": [
                NEW,
                separate(THROUGH, of=UNKNOWN, references={"vpcEndpointId": (NEW.urn,)}),
            ],
            "a service without": [endpoint(serviceName="com.amazonaws.me-central-1.none")],
            "a service of others": [
                endpoint(serviceName="com.amazonaws.vpce.me-central-1.vpce-svc-1")
            ],
            "a way to firewalls": [endpoint(vpcEndpointType="GatewayLoadBalancer")],
        },
        pending={
            "text": [
                resource(
                    ENDPOINT,
                    "one",
                    {"id": "vpce-1", "serviceName": S3, "policy": UNKNOWN},
                    references={"policy": ("urn:a",)},
                )
            ],
            "part of it": [endpoint(policy={"Statement": [{**THROUGH, "Principal": UNKNOWN}]})],
            "whose": [endpoint(), separate(THROUGH, of=UNKNOWN)],
            "separate": [
                endpoint(),
                resource(SEPARATE, "p", {"vpcEndpointId": "vpce-1", "policy": UNKNOWN}),
            ],
        },
    ),
)
