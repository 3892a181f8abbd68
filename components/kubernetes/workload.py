"""A workload on a cluster: servers of its models, its releases' rights, retraining, rules and page.

The counterpart of `components/local/workload.py`. The platform's layer must be deployed before;
everything here lies in the team's namespace but the platform's route to the workload and its
dashboard. In the registry a team's model bears the team's name (`grants.name_of`): MLflow lets the
team's pods at no other, and they sign in there with the token of their account.

That a scheduled job trains on a real cluster is not shown by any test; there:
`kubectl -n <team> create job --from=cronjob/<workload>-retraining try` hands one in, and
`kubectl -n <team> get rayjobs,workloads` shows it wait, run and end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.contract import ClusterTarget, ContractError, PlatformOutputs, TeamOutputs
from components.kubernetes import model_routes, owner
from components.kubernetes.code_location import CodeLocation, CodeLocationArgs
from components.kubernetes.kubeconfig import Kubeconfig, KubeconfigError
from components.kubernetes.model_pods import Kept
from components.kubernetes.pools import Pool
from components.kubernetes.ray_pods import (
    JOBS_PORT,
    RayJob,
    RayJobError,
    RayPlace,
    job_manifest,
)
from components.kubernetes.rights import account_in, right
from components.kubernetes.roles import may_hand_in
from components.kubernetes.secret_source import SecretSource, copied_secret
from components.kubernetes.secret_stores import store_of
from components.kubernetes.serving import Door, Serving, ServingArgs
from components.kubernetes.serving_settings import ServingSettings
from components.kubernetes.settings import TeamQuota
from components.kubernetes.workload_settings import (
    Retraining,
    WorkloadSettings,
    problems_of_workload,
)
from components.kubernetes.workload_watch import WorkloadWatch, WorkloadWatchArgs
from components.mlflow_server.grants import name_of

REGISTERED_NAME = "FALAJ_REGISTERED_NAME"
RAY_ADDRESS, STATE, SPLIT = "RAY_API_SERVER_ADDRESS", "FALAJ_STATE", "FALAJ_SPLIT"
"""Variables of `workloads.delivery.connection`."""
CAPTURE_KEY = "capture-key"
"""A generated secret of each team."""
_STATE = "/tmp/falaj"  # noqa: S108 of the pod alone
_MANIFEST = "job.json"
_MOUNT = "/etc/falaj"


@dataclass(frozen=True, kw_only=True)
class ClusterWorkloadArgs:
    """What is deployed, for whom, and on what."""

    workload: str
    """Its name, with hyphens."""
    settings: WorkloadSettings
    platform: PlatformOutputs
    target: ClusterTarget
    """The contract's field `cluster`."""
    capture: Mapping[str, Any] | None = None
    """That section of `workload.yaml`; nothing is kept without it."""

    def __post_init__(self) -> None:
        """Raises `ContractError` for what the platform cannot take, all of it at once."""
        asks = bool(self.capture and self.capture["enabled"])
        if problems := list(problems_of_workload(self.settings, self.platform, capture=asks)):
            listed = "\n".join(f"  deployment.{problem}" for problem in problems)
            raise ContractError(
                f"{self.workload} cannot be deployed to {self.platform.environment}:\n{listed}"
            )


class ClusterWorkload(pulumi.ComponentResource):
    """One workload; `variables` is the environment that its code runs in."""

    variables: dict[str, pulumi.Input[str]]

    def __init__(
        self, name: str, args: ClusterWorkloadArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Workload", name, None, opts)
        self._name, self._args = name, args
        platform, target, settings = args.platform, args.target, args.settings
        provider = kubernetes.Provider(
            f"{name}-kubernetes",
            kubeconfig=pulumi.Output.secret(platform.kubeconfig or ""),
            opts=pulumi.ResourceOptions(parent=self),
        )
        # made here, so that children cannot inherit it
        self._child = pulumi.ResourceOptions(parent=self, provider=provider)
        self._told = _variables(args)
        self.variables = {**self._told}
        if (shared := self._team.shared_ray_address) is not None:
            self.variables[RAY_ADDRESS] = shared
        try:
            serving = Serving(
                f"{name}-serving",
                ServingArgs(
                    environment=platform.environment,
                    settings=ServingSettings(
                        engine=target.serving_engine,
                        seldon_licence_reference=target.seldon_licence_reference,
                    ),
                    workload=args.workload,
                    team=settings.team,
                    image=settings.image,
                    tracking_uri=platform.tracking_uri or "",
                    door=Door(**target.gateway.model_dump()),
                    model=settings.model,
                    variables={REGISTERED_NAME: self._told[REGISTERED_NAME]},
                    kept=self._kept(),
                    releasers=settings.releasers,
                    metrics_namespace=target.metrics_namespace,
                ),
                self._child,
            )
            # for whoever releases; what trains in the cluster may not
            self.variables[SPLIT] = _split(platform, serving.split)
            if settings.retraining is not None:
                self._retraining(settings.retraining)
        except (RayJobError, ValueError) as error:
            raise ContractError(str(error)) from error
        if "monitoring" in platform.capabilities:
            WorkloadWatch(
                f"{name}-watch",
                WorkloadWatchArgs(
                    workload=args.workload,
                    team=settings.team,
                    metrics_namespace=target.metrics_namespace,
                ),
                self._child,
            )
        self._code_location()
        self.register_outputs({"variables": self.variables})

    def _kept(self) -> Kept | None:
        """Where servers keep predictions, and the Secret with the key of the hashes in them.

        On AWS the team's key is generated, and lies where the team's store of secrets looks. On
        another cluster somebody puts the Secret there; until then nothing is kept.
        """
        args, team = self._args, self._args.settings.team
        if not args.capture or not args.capture["enabled"]:
            return None
        secret = f"{args.workload}-{CAPTURE_KEY}"
        if args.platform.place == "aws":
            copied_secret(
                f"{self._name}-{CAPTURE_KEY}",
                SecretSource(store=store_of(team), keys={Kept.KEY: CAPTURE_KEY}),
                self._metadata(secret),
                [Kept.KEY],
                self._child,
            )
        return Kept(
            settings=json.dumps(dict(args.capture), sort_keys=True),
            uri=f"{self._told['FALAJ_DATA_URI'].rstrip('/')}/capture",
            key_secret=secret,
            region=args.platform.region,
            encryption_key=self._team.encryption_key,
        )

    def _retraining(self, asked: Retraining) -> None:
        """A CronJob that hands in the job; the queue and the operator do the rest."""
        workload, team = self._args.workload, self._args.settings.team
        account = f"{workload}-retraining"
        manifest = kubernetes.core.v1.ConfigMap(
            f"{self._name}-job",
            metadata=self._metadata(account),
            data={_MANIFEST: json.dumps(self._job(asked), sort_keys=True)},
            opts=self._child,
        )
        caller = kubernetes.core.v1.ServiceAccount(
            f"{self._name}-retraining-account",
            metadata=self._metadata(account),
            # its pods mount a token of their own
            automount_service_account_token=False,
            opts=self._child,
        )
        right(
            f"{self._name}-retraining-role",
            self._metadata(account),
            may_hand_in(),
            [account_in(caller, team)],
            self._child,
        )
        spec: Any = {
            "schedule": asked.schedule,
            "timeZone": asked.time_zone,
            # one at a time, and none made up for after a night without a cluster
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 2,
                    "ttlSecondsAfterFinished": 86400,
                    "template": _caller(workload, account, asked.image),
                }
            },
        }
        kubernetes.batch.v1.CronJob(
            f"{self._name}-retraining",
            metadata=self._metadata(account),
            spec=spec,
            opts=pulumi.ResourceOptions.merge(
                self._child, pulumi.ResourceOptions(depends_on=[manifest])
            ),
        )

    def _job(self, asked: Retraining) -> dict[str, Any]:
        """The RayJob, named anew each time. Raises `RayJobError`."""
        args, target, team = self._args, self._args.target, self._team
        made = job_manifest(
            RayJob(
                name=f"{args.workload}-retraining"[:40].rstrip("-"),
                team=args.settings.team,
                entrypoint=f"{asked.entrypoint} {args.workload}",
                head=asked.head,
                workers=asked.workers,
                image=asked.image,
                variables={
                    **self._told,
                    # its own head: what the code hands in runs on this job's workers
                    RAY_ADDRESS: f"http://127.0.0.1:{JOBS_PORT}",
                    STATE: _STATE,
                },
                signs_in=True,
                deadline_seconds=asked.deadline_hours * 3600,
            ),
            RayPlace(
                pools={name: Pool(**pool.model_dump()) for name, pool in target.pools.items()},
                images=target.ray_images,
                storage_class=target.storage_class,
                mesh=target.mesh,
            ),
            TeamQuota(
                cpu_quota=team.cpu_quota,
                memory_quota_gib=team.memory_quota_gib,
                gpu_quota=team.gpu_quota,
            ),
        )
        metadata = dict(made["metadata"])
        metadata["generateName"] = f"{metadata.pop('name')}-"
        return made | {"metadata": metadata}

    def _code_location(self) -> None:
        """The code as the team's Dagster loads it, where it was told of this workload. It is in the
        image of retraining; without one there is none.
        """
        args, team = self._args, self._team
        dagster, asked = team.orchestration, args.settings.retraining
        if dagster is None or asked is None or args.workload not in dagster.locations:
            return
        shared = team.shared_ray_address
        CodeLocation(
            f"{self._name}-code",
            CodeLocationArgs(
                location=args.workload,
                team=args.settings.team,
                image=asked.image,
                by_password=dagster.by_password,
                variables={
                    **self._told,
                    STATE: _STATE,
                    **({RAY_ADDRESS: shared} if shared is not None else {}),
                },
            ),
            self._child,
        )

    @property
    def _team(self) -> TeamOutputs:
        return (self._args.platform.teams or {})[self._args.settings.team]

    def _metadata(self, name: str) -> Any:
        return {
            "name": name,
            "namespace": self._args.settings.team,
            "annotations": owner.annotation(),
            "labels": {
                "app.kubernetes.io/name": self._args.workload,
                "app.kubernetes.io/managed-by": "pulumi",
            },
        }


def _split(platform: PlatformOutputs, split: dict[str, Any]) -> str:
    """What a release is told: the object of its weights, and which cluster it is in. How it gets
    into that, and as whom, is the business of whoever runs it.
    """
    try:
        server = Kubeconfig.of(platform.kubeconfig or "").server
    except KubeconfigError as error:
        raise ContractError(f"the platform {platform.environment}: {error}") from error
    return json.dumps({"server": server, **split}, sort_keys=True)


def _variables(args: ClusterWorkloadArgs) -> dict[str, str]:
    """What the workload's code is told, wherever it runs (`workloads.delivery.connection`)."""
    platform, team = args.platform, args.settings.team
    folders = (platform.teams or {})[team].folders or {}
    told = {
        "FALAJ_ENVIRONMENT": platform.environment,
        "FALAJ_WORKLOAD": args.workload,
        REGISTERED_NAME: name_of(team, args.workload),
        "FALAJ_ENDPOINT": (
            f"https://{args.target.gateway.hosts[0]}{model_routes.prefix(team, args.workload)}"
        ),
        "FALAJ_DATA_URI": folders.get("data") or platform.data_uri,
        "FALAJ_METRICS_URL": platform.metrics_url,
        "FALAJ_ORCHESTRATOR_URL": platform.orchestrator_url,
        "MLFLOW_TRACKING_URI": platform.tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "AWS_REGION": platform.region,
    }
    return {name: value for name, value in told.items() if value}


def _caller(workload: str, account: str, image: str) -> dict[str, Any]:
    """A pod that asks the API server for one job and ends."""
    return {
        "metadata": {
            "labels": {"app.kubernetes.io/name": workload, "falaj/asks": "api-server"},
        },
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": True,
            "restartPolicy": "Never",
            "priorityClassName": "falaj-batch",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 8888,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [{"name": "job", "configMap": {"name": account}}],
            "containers": [
                {
                    "name": "hand-in",
                    "image": image,
                    "command": ["python", "-m", "workloads.delivery.hand_in"],
                    "args": [f"{_MOUNT}/{_MANIFEST}"],
                    "resources": {
                        "requests": {"cpu": "50m", "memory": "128Mi"},
                        "limits": {"memory": "128Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "job", "mountPath": _MOUNT, "readOnly": True}],
                }
            ],
        },
    }
