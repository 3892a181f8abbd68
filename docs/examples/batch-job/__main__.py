"""A team's own project: it reads what the platform promises and runs a job there.

It shares nothing with the platform's code. In the backend of the platform's state:

    pulumi stack init dev
    pulumi config set platform organization/falaj/dev
    pulumi config set team credit
    pulumi config set image <registry>/falaj-dev/report@sha256:…
    pulumi up
"""

from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

NAME = "nightly-report"

config = pulumi.Config()
team, image = config.require("team"), config.require("image")
platform = pulumi.StackReference(config.require("platform"))


def of_the_team(teams: dict[str, Any] | None) -> dict[str, Any]:
    """What the platform gives this team."""
    if not teams or team not in teams:
        raise pulumi.RunError(f"the platform has no team {team}: {', '.join(teams or ())}")
    return dict(teams[team])


mine = platform.get_output("teams").apply(of_the_team)
cluster = kubernetes.Provider("cluster", kubeconfig=platform.require_output("kubeconfig"))
template: Any = {
    "metadata": {"labels": {"app.kubernetes.io/name": NAME}},
    "spec": {
        # the identity of the team: it reads and writes the team's folders and no others
        "serviceAccountName": "workload",
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "priorityClassName": "falaj-batch",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "report",
                "image": image,
                "env": [
                    {
                        "name": "MLFLOW_TRACKING_URI",
                        "value": platform.get_output("tracking_uri").apply(lambda uri: uri or ""),
                    },
                    {
                        # empty where the team asked for no feature store
                        "name": "FEATURE_SERVER_URL",
                        "value": mine.apply(lambda one: one.get("feature_server_url") or ""),
                    },
                ],
                "resources": {
                    "requests": {"cpu": "500m", "memory": "1Gi"},
                    "limits": {"memory": "1Gi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    },
}
job = kubernetes.batch.v1.CronJob(
    NAME,
    metadata={"name": NAME, "namespace": mine.apply(lambda one: one["namespace"])},
    spec={
        "schedule": "30 1 * * *",
        "time_zone": "Asia/Dubai",
        "concurrency_policy": "Forbid",
        "job_template": {"spec": {"backoff_limit": 1, "template": template}},
    },
    opts=pulumi.ResourceOptions(provider=cluster),
)
pulumi.export("namespace", job.metadata.namespace)
