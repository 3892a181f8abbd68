"""Clusters, their identities in the cluster, instances and what they are told to run."""

from __future__ import annotations

import base64

from aws_forms import always, arn, filled, id_of, named, part, region, thing
from standin import Kind, Resource


def _certificate(resource: Resource) -> dict[str, str]:
    text = f"the certificate of {resource.inputs.get('name')}"
    return {"data": base64.b64encode(text.encode()).decode()}


def _issuer(resource: Resource) -> str:
    return f"https://oidc.eks.{region(resource)}.amazonaws.com/id/{resource.unique.upper()}"


def _association(resource: Resource) -> str:
    return f"a-{resource.unique[:17]}"


def _oidc(resource: Resource) -> str:
    host = str(resource.inputs.get("url")).removeprefix("https://")
    return arn("iam", f"oidc-provider/{host}", regional=False)(resource)


KINDS: dict[str, Kind] = {
    "aws:ec2/instance:Instance": thing("i", "instance"),
    "aws:eks/accessEntry:AccessEntry": part(
        "{clusterName}:{principalArn}",
        "clusterName",
        "principalArn",
        accessEntryArn=arn("eks", "access-entry/{clusterName}/role/{unique}"),
    ),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": part(
        "{clusterName}#{principalArn}#{policyArn}",
        *("clusterName", "principalArn", "policyArn"),
        overwrites=True,
    ),
    "aws:eks/addon:Addon": part(
        "{clusterName}:{addonName}",
        "clusterName",
        "addonName",
        arn=arn("eks", "addon/{clusterName}/{addonName}/{uuid}"),
    ),
    "aws:eks/cluster:Cluster": Kind(
        identifier=filled("{name}"),
        outputs={
            "arn": arn("eks", "cluster/{name}"),
            "certificateAuthority": _certificate,
            "certificateAuthorities": lambda resource: [_certificate(resource)],
            "endpoint": filled("https://{unique}.gr7.{region}.eks.amazonaws.com"),
            "identities": lambda resource: [{"oidcs": [{"issuer": _issuer(resource)}]}],
            "platformVersion": always("eks.1"),
            "status": always("ACTIVE"),
        },
        nested={"vpcConfig": {"clusterSecurityGroupId": id_of("sg"), "vpcId": id_of("vpc")}},
        name="name",
        replaced_by=frozenset({"encryptionConfig", "kubernetesNetworkConfig", "region", "roleArn"}),
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": Kind(
        identifier=_association,
        outputs={
            "associationArn": arn("eks", "podidentityassociation/{clusterName}/{unique}"),
            "associationId": _association,
        },
        name="serviceAccount",
        within=frozenset({"clusterName", "namespace"}),
        replaced_by=frozenset({"clusterName", "namespace", "region"}),
    ),
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": Kind(
        identifier=_oidc,
        outputs={"arn": _oidc},
        replaced_by=frozenset({"url"}),
    ),
    "aws:lb/loadBalancer:LoadBalancer": named(
        "name",
        "elasticloadbalancing",
        "loadbalancer/net/{name}/{unique}",
        dnsName=filled("{name}-{unique}.elb.{region}.amazonaws.com"),
    ),
    "aws:ssm/association:Association": Kind(
        identifier=filled("{uuid}"),
        outputs={"arn": arn("ssm", "association/{uuid}"), "associationId": filled("{uuid}")},
        replaced_by=frozenset({"name", "region"}),
    ),
    "aws:ssm/document:Document": named(
        "name", "ssm", "document/{name}", replaced_by=frozenset({"documentType"})
    ),
}
