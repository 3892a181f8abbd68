"""Which controls a rule stands for: the one table, many to many.

A rule supports a control; it does not fulfil one by itself. The references to ISO/IEC 27001:2022,
the GDPR and Federal Law 2/2019 are not yet checked against their texts.
"""

from __future__ import annotations

_TRANSFER = (
    "ISO27001:2022 A.5.14",
    "ISO27001:2022 A.5.31",
    "UAE-PDPL art 22",
    "UAE-PDPL art 23",
    "GDPR art 44",
    "CBUAE CPS 6.1.6.3",
)
_LOCATION = (
    *_TRANSFER,
    "CBUAE Outsourcing Regulation 14/2021 art 6.1",
    "UAE Federal Law 2/2019 art 13",
)
_ENCRYPTION_AT_REST = (
    "ISO27001:2022 A.8.24",
    "UAE-PDPL art 20",
    "GDPR art 32",
    "CBUAE CPS 6.1.6.4",
)
_ENCRYPTION_IN_TRANSIT = (
    "ISO27001:2022 A.8.24",
    "ISO27001:2022 A.8.20",
    "UAE-PDPL art 20",
    "GDPR art 32",
)

_EXPOSURE = (
    "ISO27001:2022 A.8.20",
    "ISO27001:2022 A.8.22",
    "UAE-PDPL art 20",
    "GDPR art 32",
)

_ASSETS = ("ISO27001:2022 A.5.9", "ISO27001:2022 A.5.12", "ISO27001:2022 A.5.13")

CONTROLS: dict[str, tuple[str, ...]] = {
    "arn-region-is-allowed": _TRANSFER,
    "availability-zone-is-in-region": _TRANSFER,
    "aws-provider-endpoint-is-in-region": _TRANSFER,
    "aws-provider-region-is-allowed": _LOCATION,
    "aws-resource-region-is-allowed": _LOCATION,
    "aws-resource-uses-explicit-provider": _TRANSFER,
    "backup-copy-stays-in-country": _LOCATION,
    "backup-plan-covers-stateful": ("ISO27001:2022 A.8.13", "CBUAE CPS 6.1.6.3"),
    "backup-vault-is-locked": ("ISO27001:2022 A.8.13", "CBUAE CPS 6.1.6.4"),
    "backup-vault-uses-customer-key": (*_ENCRYPTION_AT_REST, "ISO27001:2022 A.8.13"),
    "bedrock-inference-stays-in-region": _TRANSFER,
    "cloudtrail-is-complete": (
        "ISO27001:2022 A.8.15",
        "ISO27001:2022 A.5.28",
        "CIS-AWS 3.0.0 3.1",
        "CIS-AWS 3.0.0 3.2",
        "CIS-AWS 3.0.0 3.5",
        "CIS-AWS 3.0.0 3.8",
        "CIS-AWS 3.0.0 3.9",
    ),
    "container-drops-all-capabilities": (
        "ISO27001:2022 A.8.9",
        "CIS-K8s 1.8 5.2.8",
        "CIS-K8s 1.8 5.2.9",
    ),
    "container-has-read-only-root": ("ISO27001:2022 A.8.9", "CIS-K8s 1.8 5.7.3"),
    "container-is-not-privileged": (
        *("ISO27001:2022 A.8.9", "ISO27001:2022 A.8.18"),
        *("CIS-K8s 1.8 5.2.2", "CIS-K8s 1.8 5.2.6"),
    ),
    "container-runs-as-non-root": ("ISO27001:2022 A.8.9", "CIS-K8s 1.8 5.2.7"),
    "container-sets-requests-and-limits": ("ISO27001:2022 A.8.6",),
    "data-store-requires-tls": _ENCRYPTION_IN_TRANSIT,
    "data-store-uses-customer-key": _ENCRYPTION_AT_REST,
    "database-is-not-public": (*_EXPOSURE, "CIS-AWS 3.0.0 2.3.3"),
    "disk-uses-customer-key": (*_ENCRYPTION_AT_REST, "CIS-AWS 3.0.0 2.2.1"),
    "dns-stays-in-country": _TRANSFER,
    "ecr-repository-uses-customer-key": _ENCRYPTION_AT_REST,
    "edge-network-is-not-used": _TRANSFER,
    "efs-mount-uses-tls": _ENCRYPTION_IN_TRANSIT,
    "eks-endpoint-is-private": _EXPOSURE,
    "eks-secrets-use-customer-key": _ENCRYPTION_AT_REST,
    "eks-writes-all-log-types": ("ISO27001:2022 A.8.15", "ISO27001:2022 A.8.16"),
    "event-and-log-target-stays-in-country": _TRANSFER,
    "file-system-uses-customer-key": (*_ENCRYPTION_AT_REST, "CIS-AWS 3.0.0 2.4.1"),
    "firehose-destination-stays-in-country": _TRANSFER,
    "foreign-copy-is-approved-and-unexpired": _LOCATION,
    "foreign-copy-key-is-held-in-country": (*_LOCATION, "ISO27001:2022 A.8.24"),
    "global-database-is-not-used": _TRANSFER,
    "gpu-instance-type-is-listed": ("ISO27001:2022 A.8.6",),
    "gpu-pool-is-bounded-and-scales-to-zero": ("ISO27001:2022 A.8.6",),
    "instance-metadata-is-v2-only": ("ISO27001:2022 A.8.9", "CIS-AWS 3.0.0 5.6"),
    "kms-key-deletion-waits": ("ISO27001:2022 A.8.24", "ISO27001:2022 A.8.10"),
    "kms-key-is-single-region": (*_TRANSFER, "ISO27001:2022 A.8.24"),
    "kms-key-policy-names-principals": (
        "ISO27001:2022 A.8.24",
        "ISO27001:2022 A.5.15",
        "UAE-PDPL art 20",
    ),
    "kms-key-rotates": ("ISO27001:2022 A.8.24", "CIS-AWS 3.0.0 3.6"),
    "kms-key-serves-one-data-domain": (
        "ISO27001:2022 A.8.24",
        "ISO27001:2022 A.8.10",
        "GDPR art 17",
    ),
    "kubernetes-audit-log-is-kept": (
        "ISO27001:2022 A.8.15",
        "ISO27001:2022 A.5.33",
        "ISO27001:2022 A.5.28",
    ),
    "kubernetes-ingress-uses-tls": _ENCRYPTION_IN_TRANSIT,
    "kubernetes-storage-class-is-encrypted": _ENCRYPTION_AT_REST,
    "listener-uses-modern-tls": _ENCRYPTION_IN_TRANSIT,
    "log-group-uses-customer-key": _ENCRYPTION_AT_REST,
    "log-retention-is-long-enough": (
        "ISO27001:2022 A.8.15",
        "ISO27001:2022 A.5.33",
        "CBUAE CPS 6.1.6.1",
    ),
    "mesh-gateway-keeps-tls": _ENCRYPTION_IN_TRANSIT,
    "mesh-mtls-is-strict": (*_ENCRYPTION_IN_TRANSIT, "ISO27001:2022 A.8.22"),
    "messaging-uses-customer-key": _ENCRYPTION_AT_REST,
    "nested-region-values-are-allowed": _TRANSFER,
    "network-peering-stays-in-region": (*_TRANSFER, "ISO27001:2022 A.8.22"),
    "network-spans-zones": ("ISO27001:2022 A.8.14", "ISO27001:2022 A.5.30"),
    "pod-does-not-share-host": (
        "ISO27001:2022 A.8.9",
        *(f"CIS-K8s 1.8 5.2.{number}" for number in (3, 4, 5, 12, 13)),
    ),
    "pod-uses-default-seccomp": ("ISO27001:2022 A.8.9", "CIS-K8s 1.8 5.7.2"),
    "rds-connection-requires-tls": _ENCRYPTION_IN_TRANSIT,
    "rds-exports-logs": ("ISO27001:2022 A.8.15",),
    "rds-is-protected-and-backed-up": (
        "ISO27001:2022 A.8.13",
        "ISO27001:2022 A.8.14",
        "CBUAE CPS 6.1.6.3",
    ),
    "rds-spans-zones": ("ISO27001:2022 A.8.14",),
    "rds-storage-uses-customer-key": (*_ENCRYPTION_AT_REST, "CIS-AWS 3.0.0 2.3.1"),
    "replica-stays-in-country": _TRANSFER,
    "resource-has-required-tags": _ASSETS,
    "s3-bucket-blocks-public-access": (*_EXPOSURE, "CIS-AWS 3.0.0 2.1.4"),
    "s3-bucket-is-versioned": ("ISO27001:2022 A.8.13", "CBUAE CPS 6.1.6.4"),
    "s3-bucket-key-is-enabled": ("ISO27001:2022 A.8.24",),
    "s3-bucket-policy-denies-plaintext": (*_ENCRYPTION_IN_TRANSIT, "CIS-AWS 3.0.0 2.1.1"),
    "s3-bucket-uses-customer-key": _ENCRYPTION_AT_REST,
    "s3-bucket-writes-access-logs": ("ISO27001:2022 A.8.15", "CIS-AWS 3.0.0 3.4"),
    "s3-evidence-bucket-is-locked": (
        "ISO27001:2022 A.5.28",
        "ISO27001:2022 A.5.33",
        "CBUAE CPS 6.1.6.4",
    ),
    "s3-replication-stays-in-country": _LOCATION,
    "secret-uses-customer-key": (*_ENCRYPTION_AT_REST, "ISO27001:2022 A.5.17"),
    "security-group-has-no-open-ingress": (
        *_EXPOSURE,
        "CIS-AWS 3.0.0 5.2",
        "CIS-AWS 3.0.0 5.3",
    ),
    "snapshot-and-image-copy-stays-in-country": _LOCATION,
    "stateful-resource-is-pulumi-protected": ("ISO27001:2022 A.8.13", "ISO27001:2022 A.8.32"),
    "tag-value-is-in-vocabulary": _ASSETS,
    "type-without-region-is-listed": _TRANSFER,
    "vpc-has-flow-logs": ("ISO27001:2022 A.8.15", "ISO27001:2022 A.8.16", "CIS-AWS 3.0.0 3.7"),
    "workload-pod-spec-is-found": ("ISO27001:2022 A.8.9",),
}
"""Rule → controls."""
