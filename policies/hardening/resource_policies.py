"""Rules on policies of resources, and of the endpoints on the way to them: whom they let in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.common.accounts import Sharing, account_in, accounts_of
from policies.common.arns import arn_of
from policies.common.documents import document_of, says
from policies.common.patterns import is_among
from policies.common.places import found, shown
from policies.common.policy_document import Statement
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import Stack

_POLICIES: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("aws:acmpca/policy:Policy", "aws:backup/vaultPolicy:VaultPolicy"),
            "aws:bedrock/agentcoreResourcePolicy:AgentcoreResourcePolicy",
            "aws:cloudwatch/eventBusPolicy:EventBusPolicy",
            "aws:codebuild/resourcePolicy:ResourcePolicy",
            *("aws:dsql/clusterPolicy:ClusterPolicy", "aws:ecr/registryPolicy:RegistryPolicy"),
            "aws:ecr/repositoryPolicy:RepositoryPolicy",
            "aws:efs/fileSystemPolicy:FileSystemPolicy",
            "aws:glue/resourcePolicy:ResourcePolicy",
            "aws:kinesis/resourcePolicy:ResourcePolicy",
            "aws:lambda/resourcePolicy:ResourcePolicy",
            "aws:mediastore/containerPolicy:ContainerPolicy",
            "aws:msk/clusterPolicy:ClusterPolicy",
            "aws:networkfirewall/resourcePolicy:ResourcePolicy",
            "aws:oam/sinkPolicy:SinkPolicy",
            "aws:opensearchingest/resourcePolicy:ResourcePolicy",
            "aws:redshift/resourcePolicy:ResourcePolicy",
            "aws:redshiftserverless/resourcePolicy:ResourcePolicy",
            *("aws:s3/accessPoint:AccessPoint", "aws:s3/bucket:Bucket"),
            *("aws:s3/bucketPolicy:BucketPolicy", "aws:s3/bucketV2:BucketV2"),
            "aws:s3/filesFileSystemPolicy:FilesFileSystemPolicy",
            "aws:s3/vectorsVectorBucketPolicy:VectorsVectorBucketPolicy",
            "aws:s3control/accessGrantsInstanceResourcePolicy:AccessGrantsInstanceResourcePolicy",
            "aws:s3control/accessPointPolicy:AccessPointPolicy",
            "aws:s3control/bucketPolicy:BucketPolicy",
            "aws:s3control/objectLambdaAccessPointPolicy:ObjectLambdaAccessPointPolicy",
            "aws:schemas/registryPolicy:RegistryPolicy",
            *("aws:secretsmanager/secret:Secret", "aws:secretsmanager/secretPolicy:SecretPolicy"),
            "aws:ses/identityPolicy:IdentityPolicy",
            "aws:sesv2/emailIdentityPolicy:EmailIdentityPolicy",
            *("aws:sns/topic:Topic", "aws:sns/topicPolicy:TopicPolicy"),
            *("aws:sqs/queue:Queue", "aws:sqs/queuePolicy:QueuePolicy"),
        ),
        "policy",
    ),
    "aws:amp/resourcePolicy:ResourcePolicy": "policyDocument",
    "aws:cloudwatch/logDeliveryDestinationPolicy:LogDeliveryDestinationPolicy": (
        "deliveryDestinationPolicy"
    ),
    "aws:cloudwatch/logDestinationPolicy:LogDestinationPolicy": "accessPolicy",
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": "policyDocument",
    "aws:codeartifact/domainPermissions:DomainPermissions": "policyDocument",
    "aws:codeartifact/repositoryPermissionsPolicy:RepositoryPermissionsPolicy": "policyDocument",
    "aws:dynamodb/resourcePolicy:ResourcePolicy": "policy",
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
"""Type → where it holds the policy of a resource."""
_GRANTS: Mapping[str, tuple[str, ...]] = {
    "aws:cloudwatch/eventPermission:EventPermission": ("condition.value",),
    "aws:lambda/layerVersionPermission:LayerVersionPermission": ("organizationId",),
    "aws:lambda/permission:Permission": ("principalOrgId", "sourceAccount"),
    "aws:signer/signingProfilePermission:SigningProfilePermission": (),
}
"""Type that lets its `principal` in → what makes few of everybody."""
_URL = "aws:lambda/functionUrl:FunctionUrl"
_PUBLIC_IMAGES = "aws:ecrpublic/repository:Repository"
_MOUNTED = "elasticfilesystem:accessedviamounttarget"


class Sharers(Sharing):
    """Whom the policy of a resource may let in."""

    narrowingKeys: tuple[str, ...] = (  # noqa: N815
        *("aws:PrincipalOrgID", "aws:PrincipalAccount", "aws:PrincipalArn", "aws:SourceAccount"),
        *("aws:SourceArn", "aws:SourceOrgID", "aws:SourceVpce", "aws:SourceVpc"),
        "s3:DataAccessPointAccount",
    )
    """Condition keys that make few of everybody."""


def policy_is_not_public(resource: Resource, parameters: Sharers) -> Iterator[Finding]:
    """Whoever is let in by name is known; everybody is nobody that can be asked."""
    if resource.type == _PUBLIC_IMAGES:
        yield Finding(resource=resource, where="it", what="shows its images to everybody")
    elif resource.type == _URL:
        kind = resource.at("authorizationType")
        if kind is UNKNOWN:
            yield pending(resource, "authorizationType")
        elif kind != "AWS_IAM":
            yield Finding(resource=resource, where="authorizationType", what="is not AWS_IAM")
    elif resource.type in _GRANTS:
        yield from _granted(resource, parameters)
    else:
        for place, policy in found(resource.properties, _POLICIES[resource.type]):
            document = yield from document_of(resource, shown(place), policy)
            said = [
                what
                for statement in document.statements
                if statement.allows is True
                for what in _lets_in(resource, statement, parameters)
            ]
            for what in dict.fromkeys(said):
                yield Finding(resource=resource, where=shown(place), what=what)


def _lets_in(resource: Resource, statement: Statement, parameters: Sharers) -> Iterator[str]:
    if statement.is_for_everyone:
        if statement.is_known and not _is_narrowed(statement, parameters):
            whom = "all but some (NotPrincipal)" if statement.but_principals else "everybody"
            keys = ", ".join(parameters.narrowingKeys[:4])
            yield f"lets {whom} in without a condition on one of {keys}"
        return
    allowed = accounts_of(resource, parameters.allowedAccounts)
    for name in statement.named:
        if (account := account_in(name)) and account not in allowed:
            yield f"lets account {account} in, which is neither its own nor in allowedAccounts"


def _is_narrowed(statement: Statement, parameters: Sharers) -> bool:
    mounted = (
        one.operator == "Bool" and one.key == _MOUNTED and {"true"} == {str(one.values[0]).lower()}
        for one in (statement.conditions if isinstance(statement.conditions, tuple) else ())
        if len(one.values) == 1 and not one.if_exists
    )
    return statement.narrowed_by(parameters.narrowingKeys) or any(mounted)


def _granted(resource: Resource, parameters: Sharers) -> Iterator[Finding]:
    principal = resource.at("principal")
    if principal is UNKNOWN:
        yield pending(resource, "principal")
    elif principal == "*":
        values = [
            value
            for path in _GRANTS[resource.type]
            for _, value in found(resource.properties, path)
            if value is UNKNOWN or "*" not in str(value)
        ]
        if UNKNOWN in values and all(value is UNKNOWN for value in values):
            yield pending(resource, "principal", "is everybody; who narrows it is not known yet")
        elif not values:
            yield Finding(resource=resource, where="principal", what="is everybody")
    elif (account := account_in(principal)) and account not in accounts_of(
        resource, parameters.allowedAccounts
    ):
        what = f"is in account {account}, which is neither its own nor in allowedAccounts"
        yield Finding(resource=resource, where="principal", what=what)


def _names_resources(statement: Statement) -> bool:
    """Whether it is about named buckets, or what is in one account: such as images of AWS's own."""
    resources = statement.resources if isinstance(statement.resources, tuple) else ()
    arns = [arn_of(one) for one in resources]
    return (
        not statement.but_resources
        and bool(arns)
        and all(
            arn is not None
            and (
                arn.account.isdigit()
                or (arn.service == "s3" and not set("*?") & set(arn.resource.partition("/")[0]))
            )
            for arn in arns
        )
    )


_ENDPOINTS = frozenset({"aws:ec2/vpcEndpoint:VpcEndpoint"})
_ENDPOINT_POLICIES = frozenset({"aws:ec2/vpcEndpointPolicy:VpcEndpointPolicy"})
_OURS = (
    *("aws:PrincipalOrgID", "aws:PrincipalAccount", "aws:ResourceAccount", "aws:ResourceOrgID"),
)


class EndpointPolicies(Parameters):
    """Which services' endpoints take no policy."""

    servicesWithoutPolicy: tuple[str, ...] = ()  # noqa: N815
    """Names, where ``*`` stands for anything: ``com.amazonaws.*.name``."""


def endpoint_policy_is_limited(stack: Stack, parameters: EndpointPolicies) -> Iterator[Finding]:
    """Through an open endpoint data goes to anybody's bucket, past every firewall."""
    policies = stack.joined(_ENDPOINTS, _ENDPOINT_POLICIES, "vpcEndpointId", "id")
    for endpoint in stack.of(_ENDPOINTS):
        if not _takes_policy(endpoint, parameters):
            continue
        own = policies.of(endpoint)
        if says(endpoint, "policy") and not own:
            yield from _limited(endpoint)
        elif not own and policies.strays:
            yield pending(endpoint, "policy", "may be among policies whose endpoint is not known")
        elif not own:
            yield Finding(resource=endpoint, where="policy", what="is not set: all is let through")
    for policy in stack.of(_ENDPOINT_POLICIES):
        yield from _limited(policy)


def _takes_policy(endpoint: Resource, parameters: EndpointPolicies) -> bool:
    kind, service = endpoint.at("vpcEndpointType"), endpoint.at("serviceName")
    if not is_missing(kind) and kind not in ("Gateway", "Interface", UNKNOWN):
        return False
    # services of others have no policies at their endpoints
    without = (*parameters.servicesWithoutPolicy, "*.vpce.*")
    return not is_among(service, without)


def _limited(holder: Resource) -> Iterator[Finding]:
    policy = holder.at("policy")
    if is_missing(policy):
        yield Finding(resource=holder, where="policy", what="is not set: all is let through")
        return
    document = yield from document_of(holder, "policy", policy)
    for statement in document.statements:
        if statement.allows is not True or not statement.is_known:
            continue
        if statement.narrowed_by(_OURS) or _names_resources(statement):
            continue
        if statement.is_for_everyone or statement.principals == ():
            what = "lets everybody through without a condition on whose they or the resources are"
            yield Finding(resource=holder, where="policy", what=what)
        elif statement.covers("*") and statement.covers_resource("*"):
            what = "lets everything through without a condition on whose the resources are"
            yield Finding(resource=holder, where="policy", what=what)


RULES = (
    Rule(
        name="resource-policy-is-not-public",
        description="No policy of a resource lets in everybody, or an account that is not listed.",
        mend="name the principals, or add a condition on the organization, account or network.",
        applies_to=lambda resource: (
            resource.type in _POLICIES
            or resource.type in _GRANTS
            or resource.type in (_URL, _PUBLIC_IMAGES)
        ),
        parameters=Sharers,
        each=policy_is_not_public,
    ),
    Rule(
        name="vpc-endpoint-policy-is-limited",
        description="Through every endpoint go requests of the owner, or to its resources, alone.",
        mend="write an endpoint policy with a condition on the account or organization.",
        applies_to=lambda resource: resource.type in _ENDPOINTS | _ENDPOINT_POLICIES,
        parameters=EndpointPolicies,
        together=endpoint_policy_is_limited,
    ),
)
