"""What an environment costs in a month: its parts, and what is left out.

Owns which parts of the settings are paid for, and how many things each is. No discount and no
requests: a figure to choose between plans with, not one to pay. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import get_args

from components.aws.access import Domain
from components.aws.instance_types import most_vcpus
from components.aws.prices import Line, Prices, hourly, monthly
from components.aws.settings.aws import AwsSettings
from components.aws.settings.controllers import services_called
from components.aws.settings.log_shipping import HttpSiem
from components.aws.settings.network import used_zones
from components.aws.settings.node_pool import NodePoolSettings, PoolSettings
from components.aws.settings.secrets import generated
from components.images import read_catalogue

WATCHES = 11
"""What the trail is watched for: a metric and an alarm each."""
ALARMS_BESIDE = {"audit.trail": 1, "backup": 1}
"""Alarms on the silence of a part."""

COUNTED: Mapping[str, str] = {
    "aws:backup/vault:Vault": "backup",
    "aws:cfg/recorder:Recorder": "audit.recorder",
    "aws:cfg/rule:Rule": "audit.recorder",
    "aws:cloudtrail/trail:Trail": "audit.trail",
    "aws:cloudwatch/logGroup:LogGroup": "cluster",
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": "audit.trail",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "audit.trail",
    "aws:ec2/eip:Eip": "network",
    "aws:ec2/flowLog:FlowLog": "network",
    "aws:ec2/instance:Instance": "runner",
    "aws:ec2/launchTemplate:LaunchTemplate": "node_pools",
    "aws:ec2/natGateway:NatGateway": "network",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "network",
    "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration": "image_registry",
    "aws:ecr/repository:Repository": "image_registry",
    "aws:eks/cluster:Cluster": "cluster",
    "aws:eks/nodeGroup:NodeGroup": "node_pools",
    "aws:elasticache/replicationGroup:ReplicationGroup": "cache",
    "aws:guardduty/detector:Detector": "audit.threats",
    "aws:guardduty/detectorFeature:DetectorFeature": "audit.threats",
    "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream": "logs",
    "aws:kms/key:Key": "keys",
    "aws:lb/loadBalancer:LoadBalancer": "ingress",
    "aws:msk/cluster:Cluster": "stream",
    "aws:networkfirewall/firewall:Firewall": "network",
    "aws:rds/instance:Instance": "database",
    "aws:route53/zone:Zone": "network",
    "aws:s3/bucket:Bucket": "storage",
    "aws:secretsmanager/secret:Secret": "secrets",  # pragma: allowlist secret
    "aws:securityhub/standardsSubscription:StandardsSubscription": "audit.posture",
}
"""Type of what is paid for → the part whose lines hold it."""

NOT_COUNTED: Mapping[str, str] = {
    "aws:backup/restoreTestingPlan:RestoreTestingPlan": (
        "tests of restoring: hours of a copy of the database and of a bucket, once a month"
    ),
    "aws:cloudwatch/eventRule:EventRule": "events of AWS services themselves, which are free",
    "aws:lambda/function:Function": "functions: some calls a month, within what is free",
    "aws:route53/resolverFirewallDomainList:ResolverFirewallDomainList": (
        "filtered names: a tenth of a cent each, and a dollar for a million or two of questions"
    ),
    "aws:route53/resolverQueryLogConfig:ResolverQueryLogConfig": (
        "lists of looked-up names: free but for the log, which is counted with the network"
    ),
    "aws:s3/accessPoint:AccessPoint": "doors of teams: free; requests are not counted",
    "aws:s3/inventory:Inventory": "lists of objects: a quarter of a cent for a million",
    "aws:sns/topic:Topic": "alarms that are sent: some a month, within what is free",
    "aws:sqs/queue:Queue": "messages: less than half a dollar for a million",
}
"""Type of what is paid for and not counted → why."""

LEFT_OUT = (
    "discounts and taxes",
    "requests to S3, KMS and Secrets Manager",
    "data between zones and to your own network, and the line that carries it",
    "what load balancers carry, and disks that the cluster's own objects ask for",
    "Performance Insights beyond 7 days and metrics of single processes",
    "a second site and a SIEM, which others bill",
)
"""What no resource of the plan stands for, and is not counted either."""


def estimate(
    aws: AwsSettings,
    table: Prices,
    teams: Collection[str] = (),
    featured: Collection[str] = (),
) -> list[Line]:
    """Lines for each part of the environment of `aws` that is paid for by time, size or use;
    `featured` are the teams with a feature store."""
    return [
        *_cluster(aws, table),
        *_network(aws, table),
        *(_pool(path, pool, table) for path, pool in aws.pools.items()),
        *_runner(aws, table),
        *_database(aws, table),
        *_cache(aws, table),
        *_stream(aws, table),
        *_ingress(aws, table),
        *_storage(aws, table),
        *_images(aws, table),
        _keys(aws, table, teams),
        _secrets(aws, table, generated(teams, featured)),
        *_audit(aws, table),
        *_backup(aws, table),
        *_logs(aws, table),
    ]


def keys_of(aws: AwsSettings, teams: Collection[str]) -> int:
    """How many customer-managed keys there are, those of the bootstrap included."""
    # the bootstrap encrypts the runner's disk and the network's logs before the domains have keys
    own_network = aws.existing_network is None and aws.network is not None
    bootstrap = 1 + own_network if aws.runner is not None else 0
    return len(get_args(Domain)) + bootstrap + (len(teams) if aws.keys.team_keys else 0)


def _zones(aws: AwsSettings) -> int:
    if aws.existing_network is not None:
        return len(aws.existing_network.isolated_subnet_ids)
    return len(used_zones(aws.network, aws.region)) if aws.network is not None else 0


def _own_ground(aws: AwsSettings) -> bool:
    """Whether there are a network and a cluster of ours, which stores of data stand beside."""
    return aws.existing_cluster is None and _zones(aws) > 0


def _cluster(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    if aws.existing_cluster is not None:
        return
    extended = aws.cluster.support == "extended"
    price = "eks_cluster_extended_support" if extended else "eks_cluster"
    yield hourly("cluster", "EKS control plane", price, 1, table)
    yield _log("cluster", "its log groups", table.assumed.cluster_log_gib, table)


def _log(part: str, what: str, gib: float, table: Prices) -> Line:
    """Logs that CloudWatch takes in and keeps for a year."""
    yearly = table.per_month["log_gib_ingested"] + 12 * table.per_month["log_gib_stored"]
    usd = gib * yearly * table.region_factor
    return Line(part=part, what=f"{what}, {gib:g} GiB (assumed)", least=usd, most=usd)


def _network(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    zones, used = _zones(aws), table.assumed
    if not zones:
        return
    theirs = aws.existing_network.endpoints if aws.existing_network is not None else ()
    services = set(services_called()) - {*theirs}
    what = f"{len(services)} endpoints in {zones} zones"
    yield hourly("network", what, "interface_endpoint_zone", len(services) * zones, table)
    if services:
        what = f"{used.endpoint_gib:g} GiB through endpoints (assumed)"
        yield monthly("network", what, "endpoint_gib", used.endpoint_gib, table)
    if aws.existing_network is not None or aws.network is None:
        return
    yield _log("network", "flow, firewall and name logs", used.network_log_gib, table)
    yield monthly("network", "1 private zone of names", "hosted_zone", 1, table)
    if aws.network.egress == "allow-list":
        ways = 1 if aws.network.nat_gateways == "one" else zones
        yield hourly(
            "network", f"{ways} firewall endpoints", "network_firewall_endpoint", ways, table
        )
        yield hourly("network", f"{ways} NAT gateways", "nat_gateway", ways, table)
        for price, through in (("nat_gib", "NAT"), ("firewall_gib", "the firewall")):
            what = f"{used.egress_gib:g} GiB through {through} (assumed)"
            yield monthly("network", what, price, used.egress_gib, table)


def _runner(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    if aws.runner is not None:
        kind = aws.runner.instance_type
        yield hourly("runner", f"1 × {kind}, always on", kind, 1, table)
        disk = aws.runner.disk_gib
        yield monthly("runner", f"{disk} GiB of disk", "gp3_gib", disk, table)


def _database(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    database = aws.database
    if database.existing is not None or not _own_ground(aws):
        return
    copies = 2 if database.multi_az else 1
    what = f"{copies} × {database.instance_class}"
    yield hourly("database", what, database.instance_class, copies, table)
    yield monthly(
        "database",
        f"{database.storage_gib} to {database.max_storage_gib} GiB in {copies} zones",
        "database_gp3_gib",
        database.storage_gib * copies,
        table,
        most=database.max_storage_gib * copies,
    )
    yield _log("database", "its log groups", table.assumed.service_log_gib, table)


def _cache(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    if aws.cache.kind == "elasticache" and _own_ground(aws):
        nodes = 1 + aws.cache.replicas
        what = f"{nodes} × {aws.cache.node_type}"
        yield hourly("cache", what, aws.cache.node_type, nodes, table)
        yield _log("cache", "its log groups", table.assumed.service_log_gib, table)


def _stream(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    stream = aws.stream
    if stream.kind != "msk" or not _own_ground(aws):
        return
    brokers = stream.brokers_per_zone * _zones(aws)
    what = f"{brokers} × {stream.instance_type}"
    yield hourly("stream", what, stream.instance_type, brokers, table)
    disks = brokers * stream.storage_gib
    yield monthly("stream", f"{disks} GiB of disk", "broker_gib", disks, table)
    yield _log("stream", "its log group", table.assumed.service_log_gib, table)


def _ingress(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    if aws.ingress.own and _own_ground(aws):
        yield hourly("ingress", "1 load balancer", "load_balancer", 1, table)


def _storage(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    used = table.assumed
    for gib, price, what in (
        (used.stored_gib, "s3_standard_gib", "data"),
        (used.record_gib, "s3_archive_gib", "records in the archive"),
    ):
        yield monthly("storage", f"{gib:g} GiB of {what} (assumed)", price, gib, table)


def _images(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    gib = table.assumed.image_gib
    yield monthly("image_registry", f"{gib:g} GiB of images (assumed)", "ecr_gib", gib, table)
    if aws.image_registry.scanning == "enhanced" and aws.image_registry.owns_account_settings:
        watched = len(read_catalogue().repositories())
        yield monthly(
            "image_registry",
            f"{watched} images watched by Inspector, one of each repository",
            "image_watched",
            watched,
            table,
        )


def _keys(aws: AwsSettings, table: Prices, teams: Collection[str]) -> Line:
    count = keys_of(aws, teams)
    of_teams = f", {len(teams)} of them of teams" if aws.keys.team_keys else ""
    # the first two turns of a key's material add its price once more each
    return monthly(
        "keys",
        f"{count} customer-managed keys{of_teams}; three times that once they have turned twice",
        "kms_key",
        count,
        table,
        most=3 * count,
    )


def _secrets(aws: AwsSettings, table: Prices, made: Collection[str]) -> Line:
    ours = len(made) + (len(aws.backup.targets()) if aws.backup.own else 0)
    # RDS keeps the password that it makes for the database's administrator
    administrator = aws.database.existing is None and _own_ground(aws)
    # of the way in: the bank's certificate authority
    ours += aws.ingress.mode != "off" and _own_ground(aws)
    return monthly(
        "secrets", f"{ours + administrator} secrets", "secret", ours + administrator, table
    )


def _audit(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    audit, used = aws.audit, table.assumed
    events = used.object_events_millions
    if audit.trail.own:
        yield monthly(
            "audit.trail",
            f"{events:g} million reads and writes of objects (assumed)",
            "object_events_million",
            events,
            table,
        )
        yield _log("audit.trail", "its log group", used.service_log_gib, table)
        yield monthly("audit.trail", f"{WATCHES} metrics", "metric", WATCHES, table)
        yield _alarms("audit.trail", WATCHES + ALARMS_BESIDE["audit.trail"], table)
    if audit.recorder.own:
        for price, count, what in (
            ("config_change", used.config_changes, "changes of resources"),
            ("config_evaluation", used.config_evaluations, "looks of rules"),
        ):
            yield monthly("audit.recorder", f"{count:g} {what} (assumed)", price, count, table)
    if audit.threats.own:
        account = used.account_events_millions
        for price, count, what in (
            ("threat_events_million", account, "million events of the account"),
            ("threat_object_events_million", events, "million events of objects"),
        ):
            yield monthly("audit.threats", f"{count:g} {what} (assumed)", price, count, table)
        if audit.threats.runtime:
            least, most = _vcpus(aws)
            what = f"agents on {least} to {most} vCPUs"
            yield monthly("audit.threats", what, "threat_vcpu", least, table, most=most)
    if audit.posture.own:
        checks = used.posture_checks * len(audit.posture.standards)
        names = ", ".join(audit.posture.standards)
        what = f"{checks:g} checks of {names} (assumed)"
        yield monthly("audit.posture", what, "posture_check", checks, table)


def _vcpus(aws: AwsSettings) -> tuple[int, int]:
    """Of all nodes at their fewest and at their most."""
    least = most = 0
    for pool in aws.pools.values():
        vcpus = most_vcpus(pool.instance_types)
        least += vcpus * (pool.min_nodes if isinstance(pool, NodePoolSettings) else 0)
        most += vcpus * pool.max_nodes
    return least, most


def _alarms(part: str, count: int, table: Prices) -> Line:
    return monthly(part, f"{count} alarm{'s' if count != 1 else ''}", "alarm", count, table)


def _backup(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    if not aws.backup.own:
        return
    database = aws.database.storage_gib if aws.database.existing is None else 0
    gib = table.assumed.stored_gib + (database if _own_ground(aws) else 0)
    yield monthly("backup", f"{gib:g} GiB in the vault (assumed)", "backup_gib", gib, table)
    if aws.backup.copy_account is not None:
        what = f"{gib:g} GiB in the other account's vault (assumed)"
        yield monthly("backup", what, "backup_gib", gib, table)
    yield _alarms("backup", ALARMS_BESIDE["backup"], table)


def _logs(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    if not aws.logs.own:
        return
    gib = table.assumed.cluster_log_gib
    if aws.logs.control_plane:
        what = f"{gib:g} GiB of the cluster's own logs to the bucket (assumed)"
        yield monthly("logs", what, "delivered_gib", gib, table)
    if isinstance(aws.logs.siem, HttpSiem) and _own_ground(aws):
        zones = _zones(aws)
        what = f"endpoint of the SIEM in {zones} zones"
        yield hourly("logs", what, "interface_endpoint_zone", zones, table)


def _pool(path: str, pool: PoolSettings, table: Prices) -> Line:
    known = [table.instances[one] for one in pool.instance_types if one in table.instances]
    missing = tuple(one for one in pool.instance_types if one not in table.instances)
    fewest = pool.min_nodes if isinstance(pool, NodePoolSettings) else 0
    disk = pool.disk_gib * table.per_month["gp3_gib"] * table.region_factor
    # the first type is preferred, so it is what a small pool is made of
    small = _node(pool, table.instances.get(pool.instance_types[0], 0.0), table) + disk
    large = _node(pool, max(known), table) + disk if not missing else None
    return Line(
        part=path,
        what=f"{fewest} to {pool.max_nodes} × {', '.join(pool.instance_types)}"
        + (f", {pool.spot_percent} % spot" if pool.spot_percent else ""),
        least=fewest * small,
        most=pool.max_nodes * large if large is not None else None,
        unpriced=missing,
    )


def _node(pool: PoolSettings, per_hour: float, table: Prices) -> float:
    spot = pool.spot_percent / 100
    share = spot * table.spot_factor + (1 - spot)
    return per_hour * table.hours_per_month * table.region_factor * share
