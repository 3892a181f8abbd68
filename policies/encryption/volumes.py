"""Rules on the volumes of a cluster: encrypted at rest, and mounted under TLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.common.policy_document import Document, InvalidPolicyError, parsed
from policies.common.properties import dotted, names_key
from policies.common.resources import ABSENT, UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Path, Rule, pending
from policies.common.stack import Stack

_CLASSES = frozenset(
    {
        "kubernetes:storage.k8s.io/v1:StorageClass",
        "kubernetes:storage.k8s.io/v1beta1:StorageClass",
    }
)
_VOLUME = "kubernetes:core/v1:PersistentVolume"
_DISKS = ("ebs.csi.aws.com", "ebs.csi.eks.amazonaws.com")
_FILES = "efs.csi.aws.com"
_COMMON = frozenset(
    {
        *("accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity"),
        *("persistentVolumeReclaimPolicy", "storageClassName", "volumeAttributesClassName"),
        *("volumeMode", "csi"),
    }
)
"""Of a volume's spec, what says nothing of where it is, and the one source that is allowed."""

_FILE_SYSTEMS = frozenset({"aws:efs/fileSystem:FileSystem"})
_POLICIES = frozenset({"aws:efs/fileSystemPolicy:FileSystemPolicy"})
_MOUNT = ("elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite")


class Provisioners(Parameters):
    """Which drivers may make volumes."""

    allowedProvisioners: tuple[str, ...] = (*_DISKS, _FILES, "fsx.csi.aws.com")  # noqa: N815


def storage_class_is_encrypted(resource: Resource, parameters: Provisioners) -> Iterator[Finding]:
    """What a volume is made by decides whether it is encrypted; a claim cannot say."""
    if resource.type == _VOLUME:
        yield from _source(resource)
        return
    provisioner = resource.at("provisioner")
    if provisioner is UNKNOWN:
        yield pending(resource, "provisioner")
    elif provisioner not in parameters.allowedProvisioners:
        shown = "is not set" if is_missing(provisioner) else f"is {provisioner}"
        what = f"{shown}; allowed: {', '.join(parameters.allowedProvisioners)}"
        yield Finding(resource=resource, where="provisioner", what=what)
    elif provisioner in _DISKS:
        encrypted = _parameter(resource, "encrypted")
        if resource.at(*encrypted) is UNKNOWN:
            yield pending(resource, dotted(encrypted))
        elif resource.at(*encrypted) != "true":
            what = "is not the text true"
            yield Finding(resource=resource, where=dotted(encrypted), what=what)
        yield from names_key(resource, _parameter(resource, "kmsKeyId"))


def _parameter(resource: Resource, name: str) -> Path:
    """Where a parameter is: the driver reads their names in any case."""
    said = resource.at("parameters")
    for one in said if isinstance(said, dict) else ():
        if one.lower() == name.lower():
            return ("parameters", one)
    return ("parameters", name)


def _source(volume: Resource) -> Iterator[Finding]:
    spec = volume.at("spec")
    if spec is UNKNOWN:
        yield pending(volume, "spec")
        return
    for source, value in spec.items() if isinstance(spec, dict) else ():
        if source not in _COMMON and not is_missing(value):
            what = "is no volume of a CSI driver, so nothing says how it is encrypted"
            yield Finding(resource=volume, where=f"spec.{source}", what=what)


def efs_mount_uses_tls(stack: Stack, _: Parameters) -> Iterator[Finding]:
    """EFS takes NFS without TLS unless the file system's policy denies it."""
    policies = stack.joined(_FILE_SYSTEMS, _POLICIES, "fileSystemId", "id")
    for system in stack.of(_FILE_SYSTEMS):
        own = policies.of(system)
        texts = [policy.at("policy") for policy in own]
        if any(_denies_plaintext(text, system.at("arn")) for text in texts):
            continue
        if UNKNOWN in texts or (policies.strays and not own):
            yield pending(system, "its policy")
        else:
            what = "does not deny mounts to everybody under aws:SecureTransport false"
            yield Finding(resource=system, where="its policy", what=what)
    for volume in stack.of(_CLASSES | {_VOLUME}):
        yield from _mounted(volume)


def _mounted(volume: Resource) -> Iterator[Finding]:
    driver, where = _driver(volume)
    if driver not in (_FILES, UNKNOWN):
        return
    value = volume.at(*where, "encryptInTransit")
    if value is UNKNOWN or (driver is UNKNOWN and not is_missing(value)):
        yield pending(volume, dotted((*where, "encryptInTransit")))
    elif str(value).lower() == "false":
        what = "is false"
        yield Finding(resource=volume, where=dotted((*where, "encryptInTransit")), what=what)


def _driver(volume: Resource) -> tuple[Any, Path]:
    if volume.type == _VOLUME:
        return volume.at("spec", "csi", "driver"), ("spec", "csi", "volumeAttributes")
    return volume.at("provisioner"), ("parameters",)


def _is_of_files(resource: Resource) -> bool:
    if resource.type in _FILE_SYSTEMS:
        return True
    return resource.type in _CLASSES | {_VOLUME} and _driver(resource)[0] in (_FILES, UNKNOWN)


def _denies_plaintext(text: Any, arn: Any) -> bool:
    try:
        document = parsed(text)
    except InvalidPolicyError:
        return False
    resources = () if arn in (UNKNOWN, ABSENT, None) else (arn,)
    return isinstance(document, Document) and document.denies_plaintext(_MOUNT, resources)


RULES = (
    Rule(
        name="kubernetes-storage-class-is-encrypted",
        description="Every volume of a cluster is encrypted under a key of its owner.",
        mend="set encrypted and kmsKeyId in the storage class.",
        applies_to=lambda resource: resource.type in _CLASSES | {_VOLUME},
        parameters=Provisioners,
        each=storage_class_is_encrypted,
    ),
    Rule(
        name="efs-mount-uses-tls",
        description="Every shared file system is mounted over TLS.",
        mend="add the file system policy and leave encryptInTransit at its default.",
        applies_to=_is_of_files,
        together=efs_mount_uses_tls,
    ),
)
