"""The database: how it is kept, who reaches it, and that no password is anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from policy_decision import statements
from pydantic import ValidationError

from components.aws.database import Database, DatabaseArgs, existing_database
from components.aws.database_roles import IdentifierError, provisioning_sql, quoted
from components.aws.placement import Placement
from components.aws.scope import Scope
from components.aws.settings.database import DatabaseSettings, ExistingDatabase

if TYPE_CHECKING:
    from conftest import Recorded, Recording

Record = Callable[[Callable[[], object]], "Recording"]

SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")
PLACEMENT = Placement(
    vpc_id="vpc-1", subnet_ids=["subnet-a", "subnet-b"], client_security_group_id="sg-nodes"
)
ARGS: dict[str, Any] = {
    "scope": SCOPE,
    "settings": DatabaseSettings(),
    "placement": PLACEMENT,
    "key_arn": "arn:key:database",
    "administrator_key_arn": "arn:key:secrets",
    "log_key_arn": "arn:key:logs",
    "keep": True,
}
EXISTING = ExistingDatabase(
    address="pg.bank.example",
    administrator_arn="arn:aws:secretsmanager:me-central-1:123456789012:secret:pg",
)


@pytest.fixture
def made(record: Record) -> Callable[..., Recording]:
    return lambda **changes: record(
        lambda: Database("prod-database", DatabaseArgs(**{**ARGS, **changes}))
    )


@pytest.fixture
def instance(made: Callable[..., Recording]) -> Recorded:
    return made().the("Instance")


def seen(record: Record, build: Callable[[], Any]) -> Any:
    """The value of an output that a component gives."""
    values: list[Any] = []
    record(lambda: build().apply(values.append))
    return values[0]


def test_everything_that_rests_is_under_the_key_of_its_domain(instance: Recorded) -> None:
    assert instance.inputs["storageEncrypted"] is True
    assert instance.inputs["kmsKeyId"] == "arn:key:database"
    assert instance.inputs["performanceInsightsKmsKeyId"] == "arn:key:database"
    assert instance.inputs["masterUserSecretKmsKeyId"] == "arn:key:secrets"


def test_rds_makes_and_rotates_the_password_so_no_state_holds_it(instance: Recorded) -> None:
    assert instance.inputs["manageMasterUserPassword"] is True
    assert not instance.inputs.keys() & {"password", "passwordWo", "masterPassword"}
    assert instance.inputs["iamDatabaseAuthenticationEnabled"] is True


def test_connections_without_tls_are_refused(made: Callable[..., Recording]) -> None:
    recording = made()
    group = recording.the("ParameterGroup")
    parameters = {one["name"]: one["value"] for one in group.inputs["parameters"]}

    assert parameters["rds.force_ssl"] == "1"
    assert parameters["ssl_min_protocol_version"] == "TLSv1.2"
    assert recording.the("Instance").inputs["parameterGroupName"] == group.inputs["name"]
    assert group.inputs["family"] == "postgres17"
    assert {one["applyMethod"] for one in group.inputs["parameters"]} == {"pending-reboot"}


def test_only_nodes_of_the_cluster_reach_it_and_it_reaches_nothing(
    made: Callable[..., Recording],
) -> None:
    recording = made()
    group = recording.the("SecurityGroup")
    (rule,) = recording.of("SecurityGroupIngressRule")

    assert recording.the("Instance").inputs["vpcSecurityGroupIds"] == [f"id:{group.name}"]
    assert rule.inputs["securityGroupId"] == f"id:{group.name}"
    assert rule.inputs["referencedSecurityGroupId"] == "sg-nodes"
    assert (rule.inputs["fromPort"], rule.inputs["toPort"]) == (5432, 5432)
    assert "cidrIpv4" not in rule.inputs
    # rules inside the group and rules of their own would undo each other
    assert not group.inputs.keys() & {"ingress", "egress"}
    assert recording.of("SecurityGroupEgressRule") == []


def test_it_stands_in_the_isolated_subnets_of_two_zones(made: Callable[..., Recording]) -> None:
    recording = made()

    assert recording.the("SubnetGroup").inputs["subnetIds"] == ["subnet-a", "subnet-b"]
    assert recording.the("Instance").inputs["dbSubnetGroupName"] == "falaj-prod-database"
    assert recording.the("Instance").inputs["publiclyAccessible"] is False
    assert recording.the("Instance").inputs["multiAz"] is True
    with pytest.raises(ValueError, match="two zones"):
        Placement(vpc_id="vpc-1", subnet_ids=["subnet-a"], client_security_group_id="sg-1")


def test_data_that_is_kept_ends_only_with_a_last_snapshot(instance: Recorded) -> None:
    """Trap: RDS without final-snapshot settings refuses to go, or goes without one."""
    assert instance.inputs["deletionProtection"] is True
    assert instance.inputs["skipFinalSnapshot"] is False
    assert instance.inputs["finalSnapshotIdentifier"] == "falaj-prod-database-final"
    assert instance.inputs["deleteAutomatedBackups"] is False
    assert instance.inputs["copyTagsToSnapshot"] is True
    assert instance.inputs["backupRetentionPeriod"] == 35


def test_data_that_is_not_kept_goes_with_its_stack(made: Callable[..., Recording]) -> None:
    inputs = made(keep=False).the("Instance").inputs

    assert inputs["deletionProtection"] is False
    assert inputs["skipFinalSnapshot"] is True
    assert "finalSnapshotIdentifier" not in inputs
    assert inputs["deleteAutomatedBackups"] is True


def test_each_exported_log_has_a_group_with_key_before_rds_makes_one(
    made: Callable[..., Recording],
) -> None:
    recording = made()
    groups = {one.inputs["name"]: one.inputs for one in recording.of("LogGroup")}
    exports = recording.the("Instance").inputs["enabledCloudwatchLogsExports"]

    assert set(exports) == {"postgresql", "upgrade"}
    assert groups.keys() == {f"/aws/rds/instance/falaj-prod-database/{log}" for log in exports}
    for group in groups.values():
        assert group["kmsKeyId"] == "arn:key:logs"
        assert group["retentionInDays"] >= 365


def test_rds_takes_the_monitoring_role_for_this_account_alone(
    made: Callable[..., Recording],
) -> None:
    recording = made()
    role = recording.the("Role", "monitoring-role")
    (trust,) = statements(role.inputs["assumeRolePolicy"])

    assert trust["Principal"] == {"Service": ["monitoring.rds.amazonaws.com"]}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    assert recording.the("Instance").inputs["monitoringRoleArn"] == f"arn:{role.name}"
    (attached,) = recording.of("RolePolicyAttachment")
    assert attached.inputs["policyArn"].endswith("AmazonRDSEnhancedMonitoringRole")


def test_minor_versions_come_in_their_window_and_major_ones_on_purpose(
    instance: Recorded,
) -> None:
    assert instance.inputs["engineVersion"] == "17"
    assert instance.inputs["autoMinorVersionUpgrade"] is True
    assert instance.inputs["allowMajorVersionUpgrade"] is False
    assert instance.inputs["maintenanceWindow"] == "Sat:21:00-Sat:22:00"


# --- consumers ------------------------------------------------------------------------------------


def access(record: Record, pick: Callable[[Any], Any]) -> Any:
    return seen(record, lambda: pick(Database("prod-database", DatabaseArgs(**ARGS)).access))


def test_each_consumer_logs_in_by_iam_as_its_own_role(record: Record) -> None:
    arn = access(record, lambda of: of.consumers["tracking"].connect_arn)

    assert arn == "arn:aws:rds-db:me-central-1:123456789012:dbuser:db-ABC/tracking"


def test_the_users_of_mlflow_are_not_in_the_database_of_its_runs() -> None:
    """Trap: both keep a table of schema versions, and each migrates the other's away."""
    assert DatabaseSettings().consumers["tracking"] == ("tracking", "tracking_users")


def test_an_address_to_connect_to_holds_no_password(record: Record) -> None:
    """Trap: a generated password with % or @ in it breaks the address."""
    uri = access(record, lambda of: of.uri("tracking", "tracking_users"))

    assert uri == ("postgresql://tracking@database.example:5432/tracking_users?sslmode=verify-full")
    assert not re.search(r"//[^@/]*:[^@/]*@", uri)


def test_a_consumer_has_no_address_in_the_database_of_another(record: Record) -> None:
    with pytest.raises(KeyError, match="tracking has no database orchestration"):
        access(record, lambda of: of.uri("tracking", "orchestration"))


def test_the_administrator_is_known_by_the_entry_that_rds_made(record: Record) -> None:
    assert access(record, lambda of: of.administrator_arn) == "arn:aws:secretsmanager:administrator"
    assert access(record, lambda of: of.administrator.connect_arn).endswith("dbuser:db-ABC/falaj")


def test_a_database_of_somebody_else_is_reached_the_same_way(record: Record) -> None:
    uri = seen(
        record, lambda: existing_database(SCOPE, EXISTING, {"mlflow": ("mlflow",)}).uri("mlflow")
    )
    brought = existing_database(SCOPE, EXISTING, {"mlflow": ("mlflow",)})

    assert uri == "postgresql://mlflow@pg.bank.example:5432/mlflow?sslmode=verify-full"
    assert brought.consumers["mlflow"].connect_arn is None
    assert "rds_iam" not in brought.provisioning


def test_the_script_gives_each_consumer_its_own_and_shuts_others_out() -> None:
    script = provisioning_sql({"mlflow": ("mlflow", "users"), "dagster": ("dagster",)})

    for role, name in (("mlflow", "mlflow"), ("mlflow", "users"), ("dagster", "dagster")):
        assert script.count(f"SELECT 'CREATE ROLE \"{role}\" LOGIN' WHERE NOT EXISTS") == 1
        assert f"SELECT 'CREATE DATABASE \"{name}\"' WHERE NOT EXISTS" in script
        assert f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC;' in script
        assert f'GRANT CONNECT, TEMPORARY ON DATABASE "{name}" TO "{role}";' in script
    assert "PASSWORD" not in script
    assert script.startswith("\\set ON_ERROR_STOP on\n")


def test_the_script_lets_roles_in_by_iam_only_after_its_last_connection() -> None:
    """RDS refuses the administrator's password once it counts as a member of `rds_iam`."""
    script = provisioning_sql({"mlflow": ("mlflow", "users"), "dagster": ("dagster",)})

    assert script.rindex("\\connect") < script.index("rds_iam")
    assert not re.search(r'GRANT "\w+" TO', script)


def test_a_feature_store_has_a_role_with_a_password_that_the_script_does_not_hold(
    record: Record,
) -> None:
    brought = existing_database(SCOPE, EXISTING, {"mlflow": ("mlflow",)}, ["soft-wheat"])
    script = brought.provisioning

    assert "\\getenv verifier FEATURES_SOFT_WHEAT_VERIFIER\n" in script
    assert "ALTER ROLE \"features_soft_wheat\" PASSWORD :'verifier';" in script
    assert 'CREATE DATABASE "features_soft_wheat"' in script
    assert brought.consumers.keys() == {"mlflow"}, "nobody signs in as it by IAM"
    own: list[str] = []
    for featured in ((), ("soft-wheat",)):
        args = DatabaseArgs(**{**ARGS, "featured": featured})
        record(lambda args=args: own.append(Database("prod", args).access.provisioning))
    without, made = own
    assert 'GRANT rds_iam TO "features_soft_wheat"' not in made
    assert 'GRANT rds_iam TO "tracking"' in made
    assert "PASSWORD" in made
    assert "PASSWORD" not in without


def test_a_role_without_a_verifier_keeps_its_password() -> None:
    script = provisioning_sql({}, by_password={"features_wheat": ("features_wheat",)})
    opened, closed = script.index(r"\if :{?verifier}"), script.index(r"\endif")

    assert opened < script.index("PASSWORD") < closed
    # or the next role would get this one's
    assert opened < script.index(r"\unset verifier") < closed


@pytest.mark.parametrize(
    "name", ['a"; DROP DATABASE x; --', "a'b", "Mlflow", "1a", "", "a-b", "a" * 64, "a\n", "ä"]
)
def test_a_name_that_is_no_identifier_gets_into_no_script(name: str) -> None:
    with pytest.raises(IdentifierError):
        quoted(name)
    for consumers in ({name: ("mlflow",)}, {"mlflow": (name,)}):
        with pytest.raises(IdentifierError):
            provisioning_sql(consumers)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"backup_window": "21:30-22:30"}, "backup_window: 21:30-22:30 overlaps maintenance"),
        (
            {"backup_window": "23:45-00:30", "maintenance_window": "Sun:00:00-Sun:01:00"},
            "overlaps",
        ),
        ({"backup_window": "25:00-26:00"}, "backup_window: is '25:00-26:00'"),
        ({"maintenance_window": "Sat:21:00-Sat:21:15"}, "30 minutes"),
        ({"maintenance_window": "Saturday"}, "maintenance_window: is 'Saturday'"),
        ({"storage_gib": 100, "max_storage_gib": 105}, "max_storage_gib: is 105"),
        ({"instance_class": "db.t4g.small"}, "instance_class: db.t4g.small has no Performance"),
        ({"instance_class": "large"}, "instance_class"),
        ({"version": "14"}, "version"),
        ({"insights_days": 8}, "insights_days"),
        ({"consumers": {"x": ["postgres"]}}, "'postgres' is a name of PostgreSQL"),
        ({"consumers": {"rds_job": ["x"]}}, "'rds_job' is a name of PostgreSQL"),
        ({"consumers": {"a": ["x"], "b": ["x"]}}, "the database 'x' is there twice"),
        ({"consumers": {"a": []}}, "consumers.a: has no database"),
        ({"consumers": {"A": ["x"]}}, "consumers"),
        ({"consumers": {"features_x": ["x"]}}, "'features_x' begins as the roles of feature"),
        ({"authorities": "me-central-1-bundle.pem"}, "holds no certificates as PEM"),
        ({"backup_days": 36}, "backup_days"),
        ({"existing": {"address": "pg", "administrator_arn": "secret"}}, "administrator_arn"),
    ],
)
def test_a_setting_that_cannot_hold_is_named(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(problem)):
        DatabaseSettings(**settings)


def test_what_is_wrong_is_listed_together() -> None:
    with pytest.raises(ValidationError) as caught:
        DatabaseSettings(max_storage_gib=20, backup_window="1-2", consumers={"pg_x": ("x",)})

    for part in ("max_storage_gib:", "backup_window:", "consumers:"):
        assert part in str(caught.value)


def test_windows_that_only_touch_are_no_overlap() -> None:
    touching = DatabaseSettings(backup_window="20:00-21:00")

    assert touching.maintenance_window.startswith("Sat:21:00")
