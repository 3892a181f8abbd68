"""Classes of volumes as the program registers them, and the settings behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from components.aws.add_ons import AddOns, AddOnsArgs
from components.aws.backup import TAG
from components.aws.disks import ebs_disks
from components.aws.scope import Scope
from components.kubernetes.storage_classes import (
    DEFAULT,
    KEPT,
    Disks,
    StorageClasses,
    StorageClassesArgs,
    allowed_classes,
)
from components.kubernetes.storage_classes_settings import StorageClassesSettings

Record = Callable[[Callable[[], object]], Any]

KEY = "arn:aws:kms:me-central-1:123456789012:key/cluster"
MARK = "storageclass.kubernetes.io/is-default-class"
CEPH = "Ceph encrypts each disk under a key of the site's own Vault"


def settings(**change: Any) -> StorageClassesSettings:
    return StorageClassesSettings.model_validate(change)


def on_aws(**change: Any) -> StorageClassesArgs:
    return StorageClassesArgs(
        settings=settings(**change), disks=ebs_disks(KEY, {"owner": "ml", TAG: "standard"})
    )


def on_premises(**change: Any) -> StorageClassesArgs:
    return StorageClassesArgs(settings=settings(default="ceph", existing={"ceph": CEPH}, **change))


def defaults(made: Any) -> list[str]:
    """The classes that bear the mark."""
    return [
        one.inputs["metadata"]["name"]
        for one in (*made.of("StorageClass"), *made.of("StorageClassPatch"))
        if one.inputs["metadata"]["annotations"][MARK] == "true"
    ]


def test_exactly_one_class_is_the_default(record: Record) -> None:
    made = record(lambda: StorageClasses("volumes", on_aws(not_default=("gp2",))))
    assert defaults(made) == [DEFAULT]
    made.the("StorageClass", KEPT).inputs["metadata"]["annotations"][MARK] = "true"
    assert len(defaults(made)) == 2, "a second one would be seen"


def test_a_class_that_bears_the_mark_loses_it_and_is_else_left_alone(record: Record) -> None:
    made = record(lambda: StorageClasses("volumes", on_aws(not_default=("gp2",))))
    assert made.the("StorageClassPatch").inputs["metadata"] == {
        "name": "gp2",
        "annotations": {MARK: "false", "pulumi.com/patchForce": "true"},
    }
    assert not record(lambda: StorageClasses("volumes", on_aws())).of("StorageClassPatch")


def test_every_volume_is_encrypted_under_the_key_and_grows(record: Record) -> None:
    classes = record(lambda: StorageClasses("volumes", on_aws())).of("StorageClass")
    assert len(classes) == 2
    for one in classes:
        assert one.inputs["provisioner"] == "ebs.csi.aws.com"
        asked = one.inputs["parameters"]
        assert (asked["encrypted"], asked["kmsKeyId"], asked["type"]) == ("true", KEY, "gp3")
        assert one.inputs["allowVolumeExpansion"] is True
        assert one.inputs["volumeBindingMode"] == "WaitForFirstConsumer"
    kept = {one.inputs["metadata"]["name"]: one.inputs["reclaimPolicy"] for one in classes}
    assert kept == {DEFAULT: "Delete", KEPT: "Retain"}


def test_the_driver_may_hand_on_the_key_of_the_classes_and_no_other(record: Record) -> None:
    args = AddOnsArgs(
        scope=Scope(environment="test", account_id="123456789012", region="me-central-1"),
        cluster_name="falaj-test",
        versions={"aws-ebs-csi-driver": "v1.62.0-eksbuild.1"},
        volume_key_arn=KEY,
    )
    policy = record(lambda: AddOns("late", args)).the("RolePolicy").inputs["policy"]
    asked = record(lambda: StorageClasses("volumes", on_aws())).of("StorageClass")
    for one in asked:
        assert one.inputs["parameters"]["kmsKeyId"] in policy
    assert "kms:CreateGrant" in policy
    assert "key/other" not in policy


def test_a_volume_has_the_tags_by_which_it_is_backed_up_and_billed(record: Record) -> None:
    asked = record(lambda: StorageClasses("volumes", on_aws())).the("StorageClass", KEPT)
    tags = {
        value for name, value in asked.inputs["parameters"].items() if name.startswith("tagSpec")
    }
    assert tags == {f"{TAG}=standard", "owner=ml"}


def test_a_class_of_somebody_elses_cluster_is_named_and_nothing_made(record: Record) -> None:
    built: list[StorageClasses] = []
    made = record(lambda: built.append(StorageClasses("volumes", on_premises())))
    assert not made.of("StorageClass")
    assert (built[0].default, built[0].kept) == ("ceph", "ceph")
    declared = made.the("ValidatingAdmissionPolicy").inputs["metadata"]["annotations"]
    assert CEPH in declared["falaj/declared-encryption"]


def test_a_claim_may_name_what_is_made_or_declared_and_nothing_else() -> None:
    assert allowed_classes(on_aws(existing={"fsx": CEPH})) == [DEFAULT, KEPT, "fsx"]
    assert allowed_classes(on_premises()) == ["ceph"]


def test_the_policy_holds_in_every_namespace(record: Record) -> None:
    made = record(lambda: StorageClasses("volumes", on_aws()))
    binding = made.the("ValidatingAdmissionPolicyBinding").inputs["spec"]
    assert binding == {
        "policyName": made.the("ValidatingAdmissionPolicy").inputs["metadata"]["name"],
        "validationActions": ["Deny", "Audit"],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"default": "ceph"}, "default: is 'ceph', and existing does not say what encrypts it"),
        ({"existing": {"ceph": "yes"}}, "at least 10 characters"),
        (
            {"default": "ceph", "existing": {"ceph": CEPH}, "not_default": ["ceph"]},
            "not_default: holds 'ceph', which is also the default",
        ),
        ({"existing": {"": CEPH}}, "existing"),
    ],
)
def test_a_class_that_nobody_answers_for_is_an_error(change: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**change)


def test_a_place_has_a_class_and_not_two() -> None:
    with pytest.raises(ValueError, match=r"storage_classes\.default: is missing, and nothing here"):
        StorageClassesArgs(settings=settings())
    with pytest.raises(ValueError, match=r"storage_classes\.default: is 'ceph', and this place"):
        on_aws(default="ceph", existing={"ceph": CEPH})
    with pytest.raises(ValueError, match=r"existing\.encrypted: is the name of a class that is"):
        StorageClassesArgs(
            settings=settings(existing={"encrypted": CEPH}),
            disks=Disks(provisioner="ebs.csi.aws.com", parameters={}),
        )
