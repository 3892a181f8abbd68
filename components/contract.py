"""The typed promise of the platform to the teams that build on it.

`PlatformOutputs` is what `pulumi up` of the platform exports, field by field, as stack outputs, and
the only thing that a workload may read. Every place (the local environment, AWS, another
Kubernetes) fills the same fields. A field whose part is not deployed is ``None`` and its capability
is absent; a consumer says what it needs with `PlatformOutputs.require`.

The module imports no Pulumi, so that a consumer can read an exported contract with nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

CONTRACT_VERSION = "1.4"
"""Version of the contract, `major.minor`: a new optional field raises minor, anything that would
break a consumer raises major."""

Capability = Literal[
    "artifacts",
    "feature_store",
    "monitoring",
    "node_pools",
    "orchestration",
    "serving",
    "tenancy",
    "tracking",
    "training",
]
Place = Literal["local", "aws", "kubernetes"]

CAPABILITY_FIELDS: dict[Capability, tuple[str, ...]] = {
    "artifacts": ("artifact_uri", "data_uri"),
    "tracking": ("tracking_uri",),
    "training": ("ray_address",),
    "serving": ("serving_gateway_url", "serving_namespace"),
    "monitoring": ("metrics_url",),
    "orchestration": ("orchestrator_url",),
    "feature_store": ("feature_server_url",),
    "node_pools": ("node_pools",),
    "tenancy": ("teams",),
}
"""The fields that a capability promises: all of them are set exactly when it is present."""

SECRET_FIELDS = frozenset({"object_store_secret_key", "ray_token", "kubeconfig"})
"""The fields that must be Pulumi secrets wherever they are set."""


class ContractError(Exception):
    """The outputs of a platform do not keep the contract, or lack what a consumer requires."""


class _Part(BaseModel):
    # one of a later minor version may say more
    model_config = ConfigDict(extra="ignore", frozen=True)


class NodePool(_Part):
    """A group of nodes of one kind."""

    kind: Literal["cpu", "gpu"]
    """Nodes of kind `gpu` take only pods that ask for a GPU."""
    instance_types: tuple[str, ...]
    """As the cloud calls them, in the order of preference."""
    min_nodes: int
    """With 0 a first pod waits until a node has started."""
    max_nodes: int
    """Pods beyond it wait."""


class OrchestrationTarget(_Part):
    """The Dagster of one team, as those who bring its code must know it."""

    locations: tuple[str, ...]
    """The workloads whose code it loads."""
    by_password: bool
    """Whether its database is signed in to by the password in the team's Secret, and not by the
    identity of the team's pods."""


class TeamOutputs(_Part):
    """What one team may use."""

    namespace: str
    """Where its pods run; the quotas are those of the namespace."""
    role: str | None = None
    """Name or ARN of the identity that the team's workloads run under."""
    cpu_quota: int
    """In cores."""
    memory_quota_gib: int
    """In GiB, of all its pods at once."""
    gpu_quota: int
    """Whole GPUs, of all its pods at once."""
    encryption_key: str | None = None
    """ARN of the team's own key. Whatever is written to `folders` names it, since nothing is taken
    under another; `None` where the store encrypts under its own key without being told."""
    shared_ray_address: str | None = None
    """Inside the cluster: URL of the Jobs API of the team's shared Ray cluster; `None` where the
    team asked for none, and hands in jobs with a cluster of their own."""
    own_orchestrator_url: str | None = None
    """Where its people find its own Dagster; `None` where it has none."""
    feature_server_url: str | None = None
    """Inside the team's namespace: URL of its server of online features; `None` where the team
    asked for none. `PlatformOutputs.features_of` says so."""
    folders: dict[str, str] | None = None
    """Bucket's content (artifacts, data, models) → ``s3://…/``: where the team keeps its objects;
    `None` where the team has no folders of its own."""
    orchestration: OrchestrationTarget | None = None
    """`None` where the team has no Dagster."""


class SupervisorTarget(_Part):
    """Where workloads of the local environment are deployed: beside the platform's own parts."""

    state_directory: str
    """Absolute path of `.state`."""
    socket: str
    """Path of supervisord's XML-RPC socket."""
    gateway_socket: str
    """Path of HAProxy's runtime socket."""
    first_workload_port: int
    """The first port that a workload's process may listen on."""
    last_workload_port: int
    """The last one."""


class ClusterPool(_Part):
    """What pods must know of the nodes of one pool to land on them."""

    kind: Literal["cpu", "gpu"]
    labels: dict[str, str]
    taints: tuple[dict[str, str], ...] = ()
    """As in a node's `spec`: key, value, effect."""
    cpus: float
    """For pods, on the smallest of its nodes."""
    memory_gib: float
    """For pods, on the smallest of its nodes."""
    gpus: int = 0
    """On the smallest of its nodes."""
    gpu_models: tuple[str, ...] = ()
    max_nodes: int


class GatewayTarget(_Part):
    """The gateway through which requests for models come."""

    namespace: str
    gateway: str
    """As routes name it: ``namespace/name``."""
    hosts: tuple[str, ...]
    service: str
    """In front of its pods."""
    service_account: str
    """Of its pods."""


class ClusterTarget(_Part):
    """Where workloads on a cluster are deployed, and what of."""

    registry: str
    """Where images come from, such as ``registry.example/falaj-prod``; no other is let in."""
    storage_class: str
    """Of encrypted volumes."""
    mesh: bool
    """Whether the mesh encrypts between pods."""
    serving_engine: Literal["seldon", "mlserver"]
    seldon_licence_reference: str | None = None
    ray_images: dict[Literal["cpu", "gpu"], str]
    pools: dict[str, ClusterPool]
    gateway: GatewayTarget
    metrics_namespace: str
    """Of Prometheus, which alone reads the metrics of models."""


class PlatformOutputs(BaseModel):
    """Everything a workload may know about the platform that it runs on."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    contract_version: str
    """``major.minor`` of this contract; `parse` refuses another major one."""
    environment: str
    """The name of the platform's stack."""
    place: Place
    """What the environment stands on."""
    capabilities: tuple[Capability, ...]
    """What it can do by now; the fields of each are all set, those of any other are not."""

    region: str | None = None
    """The cloud region that holds the data, `None` where it stays on the machine."""
    residency_mode: Literal["in-country", "approved-foreign-copy"]
    """Whether anything may be copied abroad: never, or the classes of data with an approval."""
    allowed_regions: tuple[str, ...]
    """Where data may be processed and kept."""
    automatic_approval: bool = False
    """Whether a version that passes its gates needs no person's yes in this environment."""
    encryption_keys: dict[str, str] = Field(default_factory=dict)
    """Data domain (state, artifacts, …), or role of a team with a key of its own (``team-<name>``)
    → ARN of the customer-managed key."""
    organisation_policy: str | None = None
    """JSON of the service control policy that the organisation's administrators attach to the
    account; no workload needs it."""

    artifact_uri: str | None = None
    """`s3://bucket` for models and reports."""
    data_uri: str | None = None
    """`s3://bucket` for tables."""
    object_store_endpoint: str | None = None
    """URL of the S3 API; `None` means the AWS endpoint of `region`."""
    object_store_region: str | None = None
    """The region that requests to the S3 API are signed for."""
    object_store_access_key: str | None = None
    """`None` where workloads have an identity of their own."""
    object_store_secret_key: str | None = None
    """Goes with `object_store_access_key`."""

    tracking_uri: str | None = None
    """URL of the MLflow server."""
    ray_address: str | None = None
    """URL of Ray's dashboard, which carries the Jobs API."""
    ray_token: str | None = None
    """What Ray asks of its clients."""
    feature_server_url: str | None = None
    """Deprecated, and set nowhere: each team has a server of its own, in `teams`. It goes, with the
    capability `feature_store`, in the next major version."""
    serving_gateway_url: str | None = None
    """URL under which `/seldon/<namespace>/<deployment>/api/v1.0/predictions` answers."""
    serving_namespace: str | None = None
    """The `<namespace>` in that URL."""
    metrics_url: str | None = None
    """URL of Prometheus' query API."""
    orchestrator_url: str | None = None
    """URL of the Dagster webserver."""

    node_pools: dict[str, NodePool] | None = None
    """Name → the nodes of a pool; pods choose one by the node label `falaj/pool`."""
    teams: dict[str, TeamOutputs] | None = None
    """Team → what is its own here."""

    local: SupervisorTarget | None = None
    """Set in the local environment: where a workload's processes are deployed."""
    cluster: ClusterTarget | None = None
    """Set where there is a cluster with the parts of the Kubernetes layer on it."""
    kubeconfig: str | None = None
    """Set where there is a cluster: how a workload's stack reaches it."""

    @classmethod
    def parse(cls, outputs: Mapping[str, Any]) -> Self:
        """Reads stack outputs.

        Raises `ContractError` when they are of another major version or do not fit.
        """
        version = str(outputs.get("contract_version", "none"))
        if version.split(".", maxsplit=1)[0] != CONTRACT_VERSION.split(".", maxsplit=1)[0]:
            raise ContractError(
                f"the platform's contract_version is {version}, this code reads "
                f"{CONTRACT_VERSION}: deploy platform and workload from the same release"
            )
        try:
            parsed = cls.model_validate(dict(outputs))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
                for problem in error.errors()
            )
            raise ContractError(
                f"the platform's outputs do not keep the contract: {problems}"
            ) from error
        parsed.check()
        return parsed

    def check(self) -> None:
        """Raises `ContractError` unless capabilities and fields agree."""
        for capability, fields in CAPABILITY_FIELDS.items():
            for field in fields:
                present, promised = (
                    getattr(self, field) is not None,
                    capability in self.capabilities,
                )
                if present != promised:
                    raise ContractError(
                        f"{field} is {'set' if present else 'not set'} although the capability "
                        f"{capability} is {'present' if promised else 'absent'}"
                    )

    def require(self, *capabilities: Capability) -> None:
        """Raises `ContractError` naming each of `capabilities` that this platform lacks."""
        missing = [name for name in capabilities if name not in self.capabilities]
        if missing:
            raise ContractError(
                f"the environment {self.environment} has no {', '.join(missing)}: it offers "
                f"{', '.join(self.capabilities) or 'nothing yet'}"
            )

    def features_of(self, team: str) -> str:
        """URL of the server of online features of `team`, for pods of its namespace.

        Raises `ContractError` naming the team, and who has one.
        """
        self.require("tenancy")
        teams = self.teams or {}
        one = teams.get(team)
        if one is not None and one.feature_server_url is not None:
            return one.feature_server_url
        having = sorted(name for name, other in teams.items() if other.feature_server_url)
        raise ContractError(
            f"{team} {'has no feature store' if one is not None else 'is no team'} in the "
            f"environment {self.environment}: ask for one under falaj:feature_store.teams; "
            f"having one: {', '.join(having) or 'nobody'}"
        )


def capabilities_of(fields: Mapping[str, object]) -> list[Capability]:
    """The capabilities whose fields are all set; an unresolved output counts as set."""
    return [
        capability
        for capability, names in CAPABILITY_FIELDS.items()
        if all(fields.get(name) is not None for name in names)
    ]
