"""Types of AWS resources that are in no region: their inputs have no ``region``.

As of version 7 of Pulumi's AWS provider; a test holds this against its SDK.
"""

from __future__ import annotations

_NAMES = {
    "account": "AlternativeContact PrimaryContact Region",
    "backup": "GlobalSettings",
    "bcmdata": "Export",
    "bedrock": "UseCaseForModelAccess",
    "billing": "View",
    "budgets": "Budget BudgetAction",
    "chime": "SdkvoiceGlobalSettings",
    "cloudfront": (
        "AnycastIpList CachePolicy ConnectionFunction ConnectionGroup "
        "ContinuousDeploymentPolicy Distribution DistributionTenant "
        "FieldLevelEncryptionConfig FieldLevelEncryptionProfile Function KeyGroup "
        "KeyValueStore KeyvaluestoreKey KeyvaluestoreKeysExclusive MonitoringSubscription "
        "MultitenantDistribution OriginAccessControl OriginAccessIdentity "
        "OriginRequestPolicy PublicKey RealtimeLogConfig ResponseHeadersPolicy TrustStore "
        "VpcOrigin"
    ),
    "cloudtrail": "OrganizationDelegatedAdminAccount",
    "costexplorer": "AnomalyMonitor AnomalySubscription CostAllocationTag CostCategory",
    "costoptimizationhub": "EnrollmentStatus Preferences",
    "cur": "ReportDefinition",
    "directconnect": "Gateway HostedConnection",
    "ec2": "VpcIpamOrganizationAdminAccount",
    "fms": "AdminAccount",
    "globalaccelerator": (
        "Accelerator CrossAccountAttachment CustomRoutingAccelerator "
        "CustomRoutingEndpointGroup CustomRoutingListener EndpointGroup Listener"
    ),
    "iam": (
        "AccessKey AccountAlias AccountPasswordPolicy Group GroupMembership "
        "GroupPoliciesExclusive GroupPolicy GroupPolicyAttachment "
        "GroupPolicyAttachmentsExclusive InstanceProfile OpenIdConnectProvider "
        "OrganizationsFeatures OutboundWebIdentityFederation Policy PolicyAttachment Role "
        "RolePoliciesExclusive RolePolicy RolePolicyAttachment "
        "RolePolicyAttachmentsExclusive SamlProvider SecurityTokenServicePreferences "
        "ServerCertificate ServiceLinkedRole ServiceSpecificCredential SigningCertificate "
        "SshKey User UserGroupMembership UserLoginProfile UserPoliciesExclusive "
        "UserPolicy UserPolicyAttachment UserPolicyAttachmentsExclusive VirtualMfaDevice"
    ),
    "networkmanager": (
        "AttachmentAccepter AttachmentRoutingPolicyLabel ConnectAttachment ConnectPeer "
        "Connection CoreNetwork CoreNetworkPolicyAttachment CustomerGatewayAssociation "
        "Device DxGatewayAttachment GlobalNetwork Link LinkAssociation "
        "PrefixListAssociation Site SiteToSiteVpnAttachment "
        "TransitGatewayConnectPeerAssociation TransitGatewayPeering "
        "TransitGatewayRegistration TransitGatewayRouteTableAttachment VpcAttachment"
    ),
    "notifications": (
        "ChannelAssociation ContactsEmailContact EventRule "
        "ManagedNotificationAccountContactAssociation "
        "ManagedNotificationAdditionalChannelAssociation NotificationConfiguration "
        "NotificationHub OrganizationalUnitAssociation OrganizationsAccess"
    ),
    "organizations": (
        "Account AwsServiceAccess DelegatedAdministrator Organization OrganizationalUnit "
        "Policy PolicyAttachment ResourcePolicy Tag"
    ),
    "pricingplanmanager": "Subscription",
    "ram": "SharingWithOrganization",
    "rolesanywhere": "Profile TrustAnchor",
    "route53": (
        "CidrCollection CidrLocation DelegationSet HealthCheck HostedZoneDnsSec "
        "KeySigningKey QueryLog Record RecordsExclusive TrafficPolicy "
        "TrafficPolicyInstance VpcAssociationAuthorization Zone ZoneAssociation"
    ),
    "route53domains": "DelegationSignerRecord Domain RegisteredDomain",
    "route53recoverycontrol": "Cluster ControlPanel RoutingControl SafetyRule",
    "route53recoveryreadiness": "Cell ReadinessCheck RecoveryGroup ResourceSet",
    "s3": "AccountPublicAccessBlock",
    "savingsplans": "SavingsPlan",
    "servicecatalog": "OrganizationsAccess",
    "shield": (
        "ApplicationLayerAutomaticResponse DrtAccessLogBucketAssociation "
        "DrtAccessRoleArnAssociation ProactiveEngagement Protection ProtectionGroup "
        "ProtectionHealthCheckAssociation Subscription"
    ),
    "uxc": "AccountCustomizations",
    "waf": (
        "ByteMatchSet GeoMatchSet IpSet RateBasedRule RegexMatchSet RegexPatternSet Rule "
        "RuleGroup SizeConstraintSet SqlInjectionMatchSet WebAcl XssMatchSet"
    ),
}

GLOBAL_TYPES = frozenset(
    f"aws:{module}/{name[0].lower()}{name[1:]}:{name}"
    for module, names in _NAMES.items()
    for name in names.split()
)
