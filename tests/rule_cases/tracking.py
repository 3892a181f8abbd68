"""Cases of `policies/hardening/tracking.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases
from rule_cases.namespaces import hidden, inside
from rule_cases.pods import CONTAINER, POD

LABELS = {"app.kubernetes.io/name": "mlflow"}
SERVER = ["mlflow", "server", "--host", "0.0.0.0"]  # noqa: S104


def mlflow(
    *args: Any, labels: Any = ABSENT, kind: str = "Deployment", space: Any = "risk", **more: Any
) -> Resource:
    """A server that starts with more arguments."""
    container = {**CONTAINER, "command": SERVER, "args": list(args), **more}
    metadata = {"labels": LABELS if labels is ABSENT else labels}
    template = {"metadata": metadata, "spec": POD | {"containers": [container]}}
    return inside(f"apps/v1:{kind}", {"template": template}, space, "mlflow")


def policy(*rules: Any, space: Any = "risk", version: str = "v1", **spec: Any) -> Resource:
    """A rule of the mesh."""
    spec = {"rules": list(rules), **spec}
    return inside(f"security.istio.io/{version}:AuthorizationPolicy", spec, space, "rule")


def known(**source: Any) -> dict[str, Any]:
    """A rule for whom the mesh knows."""
    return {"from": [{"source": source or {"principals": ["cluster.local/ns/risk/sa/web"]}}]}


BASIC = ("--app-name", "basic-auth")
SERVICE = inside("core/v1:Service", {"selector": LABELS}, "risk", "mlflow")
HEALTH = {"to": [{"operation": {"paths": ["/health"]}}]}
AIMED = [{"kind": "Service", "name": "mlflow"}]

CASES = (
    Cases(
        rule="mlflow-server-requires-authentication",
        baseline=[mlflow(*BASIC)],
        fails={
            "nothing": [mlflow()],
            "in a set": [mlflow(kind="StatefulSet")],
            "another app": [mlflow("--app-name", "open")],
            "a file for users alone": [
                mlflow(env=[{"name": "MLFLOW_AUTH_CONFIG_PATH", "value": "/etc/auth.ini"}])
            ],
            "by what it starts": [mlflow(labels={"app": "experiments"})],
            "in a shell": [mlflow(command=["sh", "-c", "exec mlflow server"], labels={"app": "a"})],
            "everybody is let in": [mlflow(), policy({})],
            "every address is let in": [mlflow(), policy(known(ipBlocks=["10.0.0.0/8"]))],
            "some are kept out": [mlflow(), policy(known(), action="DENY")],
            "looked at": [mlflow(), policy(known(), action="AUDIT")],
            "of others": [mlflow(), policy(known(), selector={"matchLabels": {"app": "a"}})],
            "elsewhere": [mlflow(), policy(known(), space="other")],
            "at a path alone": [mlflow(), policy(HEALTH)],
        },
        passes={
            "in one word": [mlflow("--app-name=basic-auth")],
            "in a shell": [mlflow(command=["sh", "-c", "mlflow server --app-name 'oidc-auth'"])],
            "by the mesh": [mlflow(), policy(known())],
            "by the mesh, an old kind": [mlflow(), policy(known(), version="v1beta1")],
            "by the mesh, of its pods": [
                mlflow(),
                policy(known(), selector={"matchLabels": LABELS}),
            ],
            "by the mesh, in front of it": [mlflow(), SERVICE, policy(known(), targetRefs=AIMED)],
            "by the whole mesh": [mlflow(), policy(known(), space="istio-system")],
            "by somebody else": [
                mlflow(),
                policy({"to": []}, action="CUSTOM", provider={"name": "oauth"}),
            ],
            "but for its health": [mlflow(), policy(known(), HEALTH)],
            "nobody at all": [mlflow(), policy()],
            "something else, beside it": [
                mlflow(*BASIC),
                mlflow(labels={"app": "job"}, command=["mlflow", "run"]),
            ],
        },
        pending={
            "everything": [hidden("apps/v1:Deployment")],
            "what it starts": [mlflow(command=UNKNOWN)],
            "whose rule": [mlflow(), policy(known(), space=UNKNOWN)],
            "whom": [mlflow(), policy(known(), selector=UNKNOWN)],
            "rules": [mlflow(), policy(rules=UNKNOWN)],
            "of what": [mlflow(labels=UNKNOWN)],
        },
    ),
)
