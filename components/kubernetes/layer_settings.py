"""What may be asked of the parts on a cluster, wherever the cluster stands: parsed and checked.

Pure. The settings of every environment with a cluster begin with these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field

from components.kubernetes.backup_settings import ClusterBackupSettings
from components.kubernetes.feature_store_settings import (
    FeatureStoreSettings,
    problems_of_feature_stores,
)
from components.kubernetes.flows import RESERVED
from components.kubernetes.monitoring_settings import MonitoringSettings, untold
from components.kubernetes.operators_settings import Needs, OperatorsSettings
from components.kubernetes.orchestration_settings import (
    OrchestrationSettings,
    problems_of_orchestration,
)
from components.kubernetes.place_settings import Block
from components.kubernetes.pools import Pool
from components.kubernetes.serving_settings import ServingSettings, licence_problems
from components.kubernetes.settings import AdmissionSettings, TeamQuota
from components.kubernetes.signature_settings import SignatureSettings, problems_of_signatures
from components.kubernetes.storage_classes_settings import StorageClassesSettings
from components.kubernetes.tracking_settings import TrackingSettings
from components.kubernetes.training_settings import TrainingSettings, problems_of_training
from components.kubernetes.workspace_settings import WorkspaceSettings, problems_of_workspaces
from components.section import Name, Section

ON_OPERATORS = ("tracking", "monitoring", "orchestration", "workspaces")
"""The parts that stand on operators of others, and are there where something is said of them."""


class LayerError(Exception):
    """A part cannot be made of what is asked and what the place gives; the message says why."""


Stage = Literal["account", "operators", "all"]

WHAT_NEXT: Mapping[Stage, str] = {
    "account": (
        "copy the images into the registry that there is now, then: pulumi config set falaj:stage "
        "operators"
    ),
    "operators": (
        "fill secrets and databases (falaj database), then: pulumi config rm falaj:stage"
    ),
}
"""What somebody does by hand at the end of each stage but the last."""


class LayerSettings(Section):
    """The parts of the Kubernetes layer."""

    stage: Stage = "all"
    """How far a first deployment has come. `account`: nothing is on the cluster but teams and
    admission, for whose pods no image is needed; the registry is made, and copies can go into it.
    `operators`: all but the parts that keep their own in databases, which somebody makes with
    `falaj database` from inside the cluster."""
    admission: AdmissionSettings = AdmissionSettings()
    """What a pod must be before the cluster takes it."""
    organisation: tuple[Block, ...] = ()
    """Where the organisation's own services answer: mail server, incident desk, identity provider.
    Without it no alert gets out."""
    operators: OperatorsSettings | None = None
    """The operators of others; without them a cluster has teams and admission alone, and no part
    below."""
    storage_classes: StorageClassesSettings = StorageClassesSettings()
    """Classes of volumes beside those that the place makes."""
    cluster_backup: ClusterBackupSettings = ClusterBackupSettings()
    """Of objects and volumes, where Velero is among the operators."""
    training: TrainingSettings = TrainingSettings()
    """Shared Ray clusters, the queues of jobs, and how GPUs are shared."""
    serving: ServingSettings = ServingSettings(engine="mlserver")
    """What runs the models."""
    signatures: SignatureSettings = SignatureSettings()
    """Who signs images; checked where Kyverno is among the operators."""
    tracking: TrackingSettings | None = None
    """MLflow; none where nothing is said."""
    feature_store: FeatureStoreSettings = FeatureStoreSettings()
    """Feast, for the teams that ask for it."""
    monitoring: MonitoringSettings | None = None
    """Who is told of what; without it there are figures, and rules and dashboards are nobody's."""
    orchestration: OrchestrationSettings | None = None
    """A Dagster for each team that is named there; none where nothing is said."""
    workspaces: WorkspaceSettings | None = None
    """Notebooks of people; none where nothing is said."""
    teams: dict[Name, TeamQuota] = Field(default_factory=dict)
    """Each gets a namespace of its name, closed, with a quota and roles for its people."""

    @property
    def mesh(self) -> bool:
        """Whether there is the mesh: where it does not encrypt, nobody needs it."""
        return self.training.encryption == "mesh"

    @property
    def orchestrated(self) -> tuple[str, ...]:
        """The teams that have a Dagster."""
        return tuple(self.orchestration.teams) if self.orchestration is not None else ()

    @property
    def with_databases(self) -> tuple[str, ...]:
        """The keys of the parts that keep their own in databases; not those of feature stores."""
        return (
            *(("tracking",) if self.tracking is not None else ()),
            *(f"orchestration.teams.{team}" for team in self.orchestrated),
        )

    @property
    def staged(self) -> Self:
        """What of it goes onto the cluster at this stage. What stands outside of the cluster, such
        as roles and secrets, is the same in all of them."""
        left_out: dict[str, Any] = {}
        if self.stage != "all":
            left_out = {"tracking": None, "orchestration": None}
            left_out["feature_store"] = FeatureStoreSettings()
        if self.stage == "account":
            left_out |= dict.fromkeys(("operators", *ON_OPERATORS))
        return self.model_copy(update=left_out)

    @property
    def page_hosts(self) -> tuple[str, ...]:
        """What people call the pages of these parts: names that the gateway must answer for."""
        parts = [part for part in (self.orchestration, self.workspaces) if part is not None]
        return tuple(dict.fromkeys(part.pages.host for part in parts))


def needs_of(
    settings: LayerSettings,
    pools: Mapping[str, Pool],
    *,
    elastic_nodes: bool = False,
    load_balancer: bool = False,
) -> Needs:
    """What operators are there for, with such settings and nodes."""
    return Needs(
        mesh=settings.mesh,
        seldon=settings.serving.engine == "seldon",
        gpus=any(pool.kind == "gpu" for pool in pools.values()),
        elastic_nodes=elastic_nodes,
        load_balancer=load_balancer,
    )


def problems_of_layer(
    environment: str, settings: LayerSettings, regions: Collection[str] = ()
) -> Iterator[str]:
    """What cannot be on a cluster of `environment`; each begins with its key.

    `regions` are those in which keys may be; any where none is named.
    """
    yield from problems_of_names(settings.teams)
    for problem in licence_problems(environment, settings.serving):
        yield f"serving.{problem}"
    yield from problems_of_feature_stores(settings.feature_store, settings.teams)
    if settings.operators is None:
        asked = {"feature_store": bool(settings.feature_store.teams)} | {
            part: getattr(settings, part) is not None for part in ON_OPERATORS
        }
        for part, wanted in asked.items():
            if wanted:
                yield f"{part}: needs the operators of others: add operators: {{}}"
        return
    for problem in problems_of_signatures(environment, settings.signatures, regions):
        yield f"signatures.{problem}"
    if settings.monitoring is not None:
        for problem in untold(environment, settings.monitoring):
            yield f"monitoring.{problem}"
    if settings.orchestration is not None:
        yield from problems_of_orchestration(settings.orchestration, settings.teams)


def problems_on_nodes(
    environment: str, settings: LayerSettings, pools: Mapping[str, Pool]
) -> Iterator[str]:
    """What does not fit the nodes that there are; each begins with its key."""
    for problem in problems_of_training(
        settings.training, environment=environment, teams=settings.teams, pools=pools
    ):
        yield f"training.{problem}"
    if settings.workspaces is not None:
        yield from problems_of_workspaces(settings.workspaces, settings.teams, pools)


def problems_of_names(teams: Iterable[str]) -> list[str]:
    """Teams whose namespace would be the platform's, or Kubernetes' own."""
    return [
        f"teams.{team}: is the name of a namespace of the platform"
        for team in teams
        if team in RESERVED
    ]
