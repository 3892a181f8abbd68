"""Cases of `policies/encryption/connections.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, mutated, resource

GROUP = "aws:elasticache/replicationGroup:ReplicationGroup"
CACHE = "aws:elasticache/cluster:Cluster"
MEMORY = "aws:memorydb/cluster:Cluster"
MEMORIES = "aws:memorydb/multiRegionCluster:MultiRegionCluster"
STREAM = "aws:msk/cluster:Cluster"
SEARCH = "aws:opensearch/domain:Domain"
SEARCHING = {
    "domainEndpointOptions": {
        "enforceHttps": True,
        "tlsSecurityPolicy": "Policy-Min-TLS-1-2-PFS-2023-10",
    },
    "nodeToNodeEncryption": {"enabled": True},
}


def one(kind: str, **properties: Any) -> list[Resource]:
    return [resource(kind, "one", properties)]


def stream(auth: Any = None, **transit: Any) -> list[Resource]:
    info = {"encryptionInTransit": transit}
    return one(STREAM, encryptionInfo=info, clientAuthentication=auth or {})


def search(*changes: Any, kind: str = SEARCH) -> list[Resource]:
    return [resource(kind, "one", mutated(SEARCHING, *changes))]


HTTPS, POLICY = ("domainEndpointOptions", "enforceHttps"), "tlsSecurityPolicy"

PARAMETERS = "aws:rds/parameterGroup:ParameterGroup"
CLUSTER_PARAMETERS = "aws:rds/clusterParameterGroup:ClusterParameterGroup"
INSTANCE, CLUSTER = "aws:rds/instance:Instance", "aws:rds/cluster:Cluster"


def forcing(name: Any = "rds.force_ssl", value: Any = "1", kind: str = PARAMETERS) -> Resource:
    other = {"name": "log_connections", "value": "1"}
    listed = [other, {"name": name, "value": value}]
    return resource(kind, "parameters", {"name": "tls", "parameters": listed})


def database(engine: Any = "postgres", group: Any = "tls", **more: Any) -> Resource:
    references = more.pop("references", {})
    properties = {"engine": engine, "parameterGroupName": group, **more}
    return resource(INSTANCE, "database", properties, references=references)


def cluster(engine: Any, group: Any = "tls") -> Resource:
    return resource(CLUSTER, "cluster", {"engine": engine, "dbClusterParameterGroupName": group})


def proxy(required: Any) -> Resource:
    return resource("aws:rds/proxy:Proxy", "proxy", {"requireTls": required})


REFERS = {"parameterGroupName": (forcing().urn,)}
SECURE = "require_secure_transport"

BALANCED = {
    "protocol": "HTTPS",
    "port": 443,
    "sslPolicy": "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
    "certificateArn": "arn:aws:acm:me-central-1:123456789012:certificate/1",
}


def listener(*changes: Any, kind: str = "lb", name: str = "one") -> list[Resource]:
    return [resource(f"aws:{kind}/listener:Listener", name, mutated(BALANCED, *changes))]


def plain(*actions: Any) -> list[Resource]:
    return one("aws:lb/listener:Listener", protocol="HTTP", port=80, defaultActions=list(actions))


def redirect(protocol: Any) -> dict[str, Any]:
    return {"type": "redirect", "redirect": {"statusCode": "HTTP_301", "protocol": protocol}}


def classic(*protocols: Any) -> list[Resource]:
    listeners = [{"lbPort": 443, "lbProtocol": protocol} for protocol in protocols]
    return one("aws:elb/loadBalancer:LoadBalancer", listeners=listeners)


CASES = (
    Cases(
        rule="data-store-requires-tls",
        baseline=[
            *one(GROUP, transitEncryptionEnabled=True, transitEncryptionMode="required"),
            *one(CACHE, engine="memcached", transitEncryptionEnabled=True),
            *one(MEMORY, tlsEnabled=True),
            *one(MEMORIES),
            *stream(clientBroker="TLS", inCluster=True),
            *search(),
        ],
        fails={
            "nothing said": one(GROUP),
            "off": one(GROUP, transitEncryptionEnabled=False),
            "preferred": one(
                GROUP, transitEncryptionEnabled=True, transitEncryptionMode="preferred"
            ),
            "a cache by itself": one(CACHE, engine="memcached"),
            "memory": one(MEMORY, tlsEnabled=False),
            "memory abroad": one(MEMORIES, tlsEnabled=False),
            "both": stream(clientBroker="TLS_PLAINTEXT"),
            "between brokers": stream(inCluster=False),
            "anybody": stream({"unauthenticated": True}),
            "HTTP": search((HTTPS, False)),
            "HTTP by default": search((("domainEndpointOptions",), ABSENT)),
            "old TLS": search(((HTTPS[0], POLICY), "Policy-Min-TLS-1-0-2019-07")),
            "TLS by default": search(((HTTPS[0], POLICY), ABSENT)),
            "between nodes": search((("nodeToNodeEncryption", "enabled"), False)),
            "by its older name": search((HTTPS, False), kind="aws:elasticsearch/domain:Domain"),
        },
        passes={
            "mode by default": one(GROUP, transitEncryptionEnabled=True),
            "a cache of a group": [
                *one(CACHE, replicationGroupId="group"),
                *one(GROUP, transitEncryptionEnabled=True),
            ],
            "a stream by default": one(STREAM),
            "a stream that asks who": stream({"unauthenticated": False}),
        },
        pending={
            "group": one(GROUP, transitEncryptionEnabled=UNKNOWN),
            "memory": one(MEMORY, tlsEnabled=UNKNOWN),
            "stream": one(STREAM, encryptionInfo=UNKNOWN),
            "search": search((("domainEndpointOptions",), UNKNOWN)),
        },
    ),
    Cases(
        rule="rds-connection-requires-tls",
        baseline=[database(), forcing(), proxy(required=True)],
        fails={
            "no group": [database(group=ABSENT)],
            "the engine's own": [database(group="default.postgres17"), forcing()],
            "not an input": [database(group=UNKNOWN), forcing()],
            "off": [database(), forcing(value="0")],
            "another parameter": [database(), forcing("ssl")],
            "of another engine": [database("mysql"), forcing()],
            "MariaDB": [database("mariadb"), forcing(SECURE, "OFF")],
            "SQL Server": [database("sqlserver-se"), forcing(SECURE)],
            "an engine that has none": [database("oracle-ee"), forcing()],
            "a cluster": [cluster("aurora-mysql"), forcing(kind=CLUSTER_PARAMETERS)],
            "a cluster's group of another kind": [cluster("aurora-postgresql"), forcing()],
            "a proxy": [database(), forcing(), proxy(required=False)],
            "a proxy by default": [proxy(ABSENT)],
        },
        passes={
            "by reference": [database(group=UNKNOWN, references=REFERS), forcing()],
            "a word": [database("mysql"), forcing(SECURE, "ON")],
            "a number": [database("mysql"), forcing(SECURE, 1)],
            "SQL Server": [database("sqlserver-ex"), forcing()],
            "a cluster": [cluster("aurora-postgresql"), forcing(kind=CLUSTER_PARAMETERS)],
            "MySQL cluster": [cluster("aurora-mysql"), forcing(SECURE, kind=CLUSTER_PARAMETERS)],
            "a replica": [database(UNKNOWN, replicateSourceDb="first"), forcing()],
        },
        pending={
            "value": [database(), forcing(value=UNKNOWN)],
            "engine": [database(UNKNOWN), forcing("ssl")],
            "which group": [
                database(group=UNKNOWN, references={"parameterGroupName": ("urn:elsewhere",)})
            ],
            "a replica's": [database(UNKNOWN, UNKNOWN, replicateSourceDb="first")],
            "proxy": [proxy(UNKNOWN)],
        },
    ),
    Cases(
        rule="listener-uses-modern-tls",
        baseline=[*listener(), *listener((("protocol",), "TLS")), *plain(redirect("HTTPS"))],
        fails={
            "old TLS": listener((("sslPolicy",), "ELBSecurityPolicy-2016-08")),
            "TLS by default": listener((("sslPolicy",), ABSENT)),
            "no certificate": listener((("certificateArn",), ABSENT)),
            **{
                f"older name {kind}": listener((("sslPolicy",), ABSENT), kind=kind)
                for kind in ("alb", "elasticloadbalancingv2", "applicationloadbalancing")
            },
            "HTTP": plain({"type": "forward", "targetGroupArn": "arn"}),
            "HTTP by default": one(
                "aws:lb/listener:Listener", port=80, defaultActions=[{"type": "forward"}]
            ),
            "to HTTP": plain(redirect("HTTP")),
            "to whatever came": plain(redirect(ABSENT)),
            "not all": plain(redirect("HTTPS"), {"type": "forward"}),
            "passes on": listener((("protocol",), "TCP")),
            "UDP": listener((("protocol",), "TCP_UDP")),
            "classic": classic("https", "HTTP"),
            "classic TCP": classic("tcp"),
        },
        passes={
            "exempt": listener((("protocol",), "TCP"), name="to-the-gateway"),
            "classic": classic("HTTPS", "ssl"),
            "of a gateway load balancer": [
                *one("aws:lb/listener:Listener", defaultActions=[{"type": "forward"}]),
                *listener(),
            ],
        },
        pending={
            "protocol": listener((("protocol",), UNKNOWN)),
            "policy": listener((("sslPolicy",), UNKNOWN)),
            "actions": one(
                "aws:lb/listener:Listener", protocol="HTTP", port=80, defaultActions=UNKNOWN
            ),
            "where to": plain(redirect(UNKNOWN)),
            "classic": classic(UNKNOWN),
        },
        parameters={"exemptListeners": ["to-the-gateway"]},
    ),
)
