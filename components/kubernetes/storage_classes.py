"""Classes of volumes: encrypted under the customer's key, and no other class for a claim to name.

Owns the classes that the place makes, the mark of the default, and the policy that refuses a claim
of any other class, so that a volume without encryption cannot be asked for. Leaves volumes to the
driver, which must be there before with its right to hand on the key (`components.aws.add_ons`), and
the class of somebody's own cluster to its administrators: it is named, and encrypted by
declaration.

That a volume is encrypted is not shown by any test here. On AWS: `aws ec2 describe-volumes
--filters Name=tag-key,Values=kubernetes.io/created-for/pvc/name --query
'Volumes[].[VolumeId,KmsKeyId]'` names the key of the domain `cluster` for each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes.storage_classes_settings import (
    StorageClassesSettings,
    problems_of_storage_classes,
)

DEFAULT, KEPT = "encrypted", "encrypted-kept"
"""The classes that a place makes: the volume goes with its claim, or stays when the claim goes."""

_MARK = "storageclass.kubernetes.io/is-default-class"
_MANAGED_BY = {"app.kubernetes.io/managed-by": "pulumi"}
_POLICY = "falaj-storage-classes"


@dataclass(frozen=True, kw_only=True)
class Disks:
    """What makes volumes in a place."""

    provisioner: str
    parameters: Mapping[str, pulumi.Input[str]]
    """As the driver takes them, that of encryption and the key among them."""
    ready: Sequence[pulumi.Resource] = ()
    """The driver."""


@dataclass(frozen=True, kw_only=True)
class StorageClassesArgs:
    """What there is and what is made."""

    settings: StorageClassesSettings
    disks: Disks | None = None
    """`None` where the cluster has an encrypted class already."""

    def __post_init__(self) -> None:
        """Raises `ValueError` where there would be no class for the platform's volumes, or two."""
        problems = list(
            problems_of_storage_classes(self.settings, place_makes_disks=self.disks is not None)
        )
        if self.disks is not None:
            problems += [
                f"existing.{name}: is the name of a class that is made here; leave it out"
                for name in (DEFAULT, KEPT)
                if name in self.settings.existing
            ]
        if problems:
            raise ValueError("\n".join(f"storage_classes.{problem}" for problem in problems))


class StorageClasses(pulumi.ComponentResource):
    """`default` and `kept` are names for claims; `ready` is what claims must wait for."""

    def __init__(
        self, name: str, args: StorageClassesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:StorageClasses", name, None, opts)
        self.ready: list[pulumi.Resource] = [
            # a mark that somebody else has set is taken from them by force
            kubernetes.storage.v1.StorageClassPatch(
                f"{name}-{other}-not-default",
                metadata=_metadata(other, {_MARK: "false", "pulumi.com/patchForce": "true"}),
                opts=pulumi.ResourceOptions(parent=self),
            )
            for other in args.settings.not_default
        ]
        self.default = self.kept = args.settings.default or DEFAULT
        if args.disks is not None:
            self.kept = KEPT
            self.ready += self._made(name, args.disks)
        self.ready += _only(name, args, pulumi.ResourceOptions(parent=self))
        self.register_outputs({"default": self.default, "kept": self.kept})

    def _made(self, name: str, disks: Disks) -> list[pulumi.Resource]:
        return [
            kubernetes.storage.v1.StorageClass(
                f"{name}-{noun}",
                metadata=_metadata(
                    noun, {_MARK: "true" if noun == DEFAULT else "false"}, made=True
                ),
                provisioner=disks.provisioner,
                parameters=disks.parameters,
                reclaim_policy=policy,
                # else a volume may be made in a zone where its pod cannot run
                volume_binding_mode="WaitForFirstConsumer",
                allow_volume_expansion=True,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    # two defaults, even for a moment, and a claim gets either
                    depends_on=[*disks.ready, *self.ready],
                ),
            )
            for noun, policy in ((DEFAULT, "Delete"), (KEPT, "Retain"))
        ]


def allowed_classes(args: StorageClassesArgs) -> list[str]:
    """The classes that a claim may name."""
    made = [DEFAULT, KEPT] if args.disks is not None else []
    return [*made, *sorted(args.settings.existing)]


def _only(
    name: str, args: StorageClassesArgs, child: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    declared = json.dumps(args.settings.existing, sort_keys=True)
    policy = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicy(
        f"{name}-policy",
        # what was declared stands where an auditor reads the rule
        metadata=_metadata(_POLICY, {"falaj/declared-encryption": declared}, made=True),
        spec=_policy(allowed_classes(args)),
        opts=child,
    )
    binding: Any = {
        "policyName": policy.metadata.name.apply(str),
        "validationActions": ["Deny", "Audit"],
    }
    return [
        kubernetes.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
            f"{name}-policy-binding",
            metadata=_metadata(_POLICY, {}, made=True),
            spec=binding,
            opts=child,
        )
    ]


def _policy(allowed: Sequence[str]) -> Any:
    named = "has(object.spec.storageClassName) && object.spec.storageClassName != ''"
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    # the class of a claim never changes
                    "operations": ["CREATE"],
                    "resources": ["persistentvolumeclaims"],
                }
            ]
        },
        "validations": [
            {
                "expression": (
                    f"({named}) ? object.spec.storageClassName in {json.dumps(list(allowed))}"
                    " : (has(object.spec.volumeName) && object.spec.volumeName != '')"
                ),
                "messageExpression": (
                    f"({named}) ? 'the class ' + object.spec.storageClassName + ' is none whose "
                    f"volumes are known to be encrypted: name {' or '.join(allowed)}'"
                    " : 'the claim has no class, not even a default, and would wait for ever: "
                    f"name {' or '.join(allowed)}, or the volume that it is for'"
                ),
                "reason": "Forbidden",
            }
        ],
    }


def _metadata(name: str, annotations: Mapping[str, str], *, made: bool = False) -> Any:
    metadata: Any = {"name": name}
    if annotations:
        metadata["annotations"] = dict(annotations)
    # of what is somebody else's and only patched, no label says that we manage it
    return metadata | ({"labels": dict(_MANAGED_BY)} if made else {})
