"""Training of one team: its shared Ray cluster where it asks for one, and what Ray's pods need.

Owns the RayCluster, the account and role of its autoscaler, the token in the namespace, mutual TLS
between Ray's pods and the monitor that reads their metrics. Leaves jobs to whoever hands them in
(`ray_pods.job_manifest`), queues to `queues`, and the namespace with its quota and flows to
`tenancy`. The operators must be there before (KubeRay, Prometheus's; the mesh and External Secrets
where they are asked for), the priority classes too.

The autoscaler writes the number of workers into the same list that stands here, which the server
takes as one piece, so the object is applied by force. A change of its settings lets that number
begin anew at the minimum; with an autoscaler on, KubeRay removes no pod for that, and the
autoscaler asks again for what is needed. Pods that run keep the shape that they have; a head gets
the new one with `kubectl -n <team> delete raycluster ray` and the next update, when nothing runs.

What the operator makes of the objects is not shown by any test here; on a cluster:
`kubectl -n <team> get raycluster ray -o wide` says ready, `kubectl -n <team> get role ray -o yaml`
shows the role of this component (KubeRay makes one only where there is none of that name), and
`ray job submit --address <address>` is refused without the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.apiextensions import CustomResource

from components.kubernetes.ray_pods import (
    API_VERSION,
    CLUSTER,
    ELASTIC,
    HEAD_ACCOUNT,
    JOBS_PORT,
    PART,
    QUEUE,
    QUEUE_LABEL,
    TOKEN_KEY,
    TOKEN_SECRET,
    RayPlace,
    cluster_spec,
)
from components.kubernetes.rights import account_in, right
from components.kubernetes.secret_source import SecretSource, copied_secret
from components.kubernetes.training_settings import TrainingSettings

_MANAGED_BY = {"app.kubernetes.io/managed-by": "pulumi"}


@dataclass(frozen=True, kw_only=True)
class TokenSource:
    """Where the team's token is generated and kept."""

    store: str
    """The ClusterSecretStore of External Secrets."""
    key: pulumi.Input[str]
    """The secret's name there."""


@dataclass(frozen=True, kw_only=True)
class TrainingArgs:
    """Whose training, and where its pods run."""

    team: str
    namespace: pulumi.Input[str]
    settings: TrainingSettings
    place: RayPlace
    storage_name: str
    """Under which the head's state is kept, where it is: of environment and team."""
    token: TokenSource | None
    """`None` where somebody else puts the Secret there (`TOKEN_SECRET`, key `TOKEN_KEY`)."""
    wait_for: Sequence[pulumi.Resource] = ()
    """The namespace's quota and flows, the operators."""

    def __post_init__(self) -> None:
        """Raises `ValueError` where place and settings say two things of encryption."""
        if self.place.mesh != (self.settings.encryption == "mesh"):
            raise ValueError(
                f"encryption is {self.settings.encryption!r}, but the place "
                f"{'has' if self.place.mesh else 'has not'} the mesh"
            )


class Training(pulumi.ComponentResource):
    """What a team trains with.

    `address` is the job server of the shared cluster, `None` where the team asked for none;
    `token_secret` the Secret whose token it asks for; `ready` what jobs wait for.
    """

    address: pulumi.Output[str] | None = None

    def __init__(
        self, name: str, args: TrainingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Training", name, None, opts)
        self.token_secret = TOKEN_SECRET
        namespace = pulumi.Output.from_input(args.namespace)
        child = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        self.ready: list[pulumi.Resource] = [*self._around(name, args, namespace, child)]
        shape = args.settings.clusters.get(args.team)
        if shape is not None:
            queue = {QUEUE_LABEL: QUEUE} if args.settings.elastic_under_kueue else {}
            elastic = {ELASTIC: "true"} if args.settings.elastic_under_kueue else {}
            cluster = CustomResource(
                f"{name}-cluster",
                api_version=API_VERSION,
                kind="RayCluster",
                metadata={
                    "name": CLUSTER,
                    "namespace": namespace,
                    "labels": {**_MANAGED_BY, **PART, **queue},
                    # of the list that the autoscaler writes into as well
                    "annotations": {"pulumi.com/patchForce": "true", **elastic},
                },
                spec=cluster_spec(
                    shape,
                    args.place,
                    state=args.settings.head_state,
                    storage_name=args.storage_name,
                ),
                opts=pulumi.ResourceOptions(
                    parent=self,
                    # without its account, role and token no pod of it starts
                    depends_on=[*self.ready, *_autoscaler(name, namespace, child)],
                ),
            )
            self.ready.append(cluster)
            self.address = pulumi.Output.concat(
                f"http://{CLUSTER}-head-svc.", namespace, f".svc:{JOBS_PORT}"
            )
        self.register_outputs({"address": self.address})

    @staticmethod
    def _around(
        name: str,
        args: TrainingArgs,
        namespace: pulumi.Output[str],
        child: pulumi.ResourceOptions,
    ) -> list[pulumi.Resource]:
        """What all of the team's clusters have, of jobs too."""
        made: list[pulumi.Resource] = [
            CustomResource(
                f"{name}-monitor",
                api_version="monitoring.coreos.com/v1",
                kind="PodMonitor",
                metadata=_metadata(CLUSTER, namespace),
                spec={
                    "selector": {"matchLabels": dict(PART)},
                    "podTargetLabels": ["ray.io/cluster", "ray.io/node-type", "ray.io/group"],
                    "podMetricsEndpoints": [{"port": "metrics", "interval": "30s"}],
                },
                opts=child,
            )
        ]
        if args.place.mesh:
            made.append(
                CustomResource(
                    f"{name}-mutual-tls",
                    api_version="security.istio.io/v1",
                    kind="PeerAuthentication",
                    metadata=_metadata(CLUSTER, namespace),
                    spec={"selector": {"matchLabels": dict(PART)}, "mtls": {"mode": "STRICT"}},
                    opts=child,
                )
            )
        if args.token is not None:
            made.append(
                copied_secret(
                    f"{name}-token",
                    SecretSource(store=args.token.store, keys={TOKEN_KEY: args.token.key}),
                    _metadata(TOKEN_SECRET, namespace),
                    [TOKEN_KEY],
                    child,
                )
            )
        return made


def _autoscaler(
    name: str, namespace: pulumi.Output[str], child: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """As whom the autoscaler asks for workers: it sees pods, and changes this one cluster."""
    account = kubernetes.core.v1.ServiceAccount(
        f"{name}-head",
        metadata=_metadata(HEAD_ACCOUNT, namespace),
        automount_service_account_token=False,
        opts=child,
    )
    may = right(
        f"{name}-autoscaler",
        # of the cluster's name: KubeRay makes a wider one where there is none
        _metadata(CLUSTER, namespace),
        [
            {"api_groups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
            {
                "api_groups": ["ray.io"],
                "resources": ["rayclusters"],
                "resource_names": [CLUSTER],
                "verbs": ["get", "patch"],
            },
        ],
        [account_in(account, namespace)],
        child,
    )
    return [account, *may]


def _metadata(name: str, namespace: pulumi.Input[str]) -> Any:
    return {"name": name, "namespace": namespace, "labels": dict(_MANAGED_BY)}
