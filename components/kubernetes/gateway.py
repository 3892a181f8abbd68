"""The gateway of the mesh: the pods through which every request from outside comes.

Owns the gateway's pods, their account, Service, budget and scaling, its certificate, and what makes
the pods targets of a load balancer that is there. Leaves what the gateway answers to `edge` and
`serving`, and the load balancer to the place. Its namespace, the mesh, and cert-manager where it
issues, must be there before.

What Envoy is told (arguments, volumes, the token by which it asks istiod) is put into the pod by
the mesh's injector (Istio, "Gateway injection"), which is not run by any test here; on a cluster:
`istioctl proxy-status` lists the gateway, and
`openssl s_client -connect <address>:443 -servername <host>` shows its certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.apiextensions import CustomResource

from components.kubernetes.edge import Edge, EdgeArgs
from components.kubernetes.flows import GATEWAY_PORT
from components.kubernetes.rights import account_in, right
from components.kubernetes.serving import Door
from components.kubernetes.tenancy import Namespace

NAMESPACE = "serving"
SERVICE = "gateway"
CERTIFICATE = "gateway-tls"
_LABELS = {"app.kubernetes.io/name": "gateway", "istio": "gateway"}
_MANAGED_BY = {"app.kubernetes.io/managed-by": "pulumi"}
_STATUS_PORT = 15021
_USER = 1337
"""As whom the mesh's own proxies run; traffic of this user is not taken in by them again."""


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    """What the gateway answers for, and on what it runs."""

    hosts: Sequence[str]
    """Names in requests, such as ``serving.prod.falaj.internal``."""
    image: pulumi.Input[str]
    """Istio's proxy, of the mesh's own version, from the registry in the country."""
    issuer: str | None
    """The ClusterIssuer of cert-manager that signs for `hosts`; `None` where somebody keeps the
    Secret `CERTIFICATE` in the namespace."""
    min_replicas: int = 2
    max_replicas: int = 6
    target_group_arn: pulumi.Input[str] | None = None
    """Of the load balancer whose targets the pods become (AWS)."""
    inside: Namespace
    """`NAMESPACE`, with the flows of the part of that name."""
    wait_for: Sequence[pulumi.Resource] = ()
    """The mesh, cert-manager, the controller of load balancers."""


class Gateway(pulumi.ComponentResource):
    """`door` is how the routes of workloads name it; `ready` is what they wait for."""

    def __init__(
        self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Gateway", name, None, opts)
        self._name, self._namespace = name, args.inside.namespace
        self._child = pulumi.ResourceOptions(
            parent=self, depends_on=[*args.wait_for, *args.inside.ready]
        )
        account = self._account()
        pods = self._pods(args, account)
        self._certificate(args)
        edge = Edge(
            f"{name}-edge",
            EdgeArgs(
                namespace=args.inside.namespace,
                pod_labels=dict(_LABELS),
                hosts=args.hosts,
                certificate=CERTIFICATE,
                port=GATEWAY_PORT,
            ),
            self._child,
        )
        if args.target_group_arn is not None:
            self._object(
                "targets",
                "elbv2.k8s.aws/v1beta1",
                "TargetGroupBinding",
                SERVICE,
                {
                    "targetGroupARN": args.target_group_arn,
                    "targetType": "ip",
                    "serviceRef": {"name": SERVICE, "port": 443},
                },
            )
        self.door = Door(
            namespace=NAMESPACE,
            gateway=edge.gateway,
            hosts=args.hosts,
            service=SERVICE,
            service_account=SERVICE,
        )
        self.ready: list[pulumi.Resource] = [*edge.ready, pods]
        self.register_outputs({"gateway": edge.gateway})

    def _account(self) -> pulumi.Resource:
        """As whom the gateway asks istiod: it may be given the certificates of its namespace."""
        account = kubernetes.core.v1.ServiceAccount(
            f"{self._name}-account",
            metadata=self._metadata(SERVICE),
            automount_service_account_token=False,
            opts=self._child,
        )
        right(
            f"{self._name}-certificates",
            self._metadata(SERVICE),
            [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]}],
            [account_in(account, self._namespace)],
            self._child,
        )
        return account

    def _pods(self, args: GatewayArgs, account: pulumi.Resource) -> pulumi.Resource:
        spec: Any = {
            # how many there are is the scaler's alone
            "selector": {"matchLabels": _LABELS},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": _template(args.image),
        }
        made = kubernetes.apps.v1.Deployment(
            f"{self._name}-pods",
            metadata=self._metadata(SERVICE),
            spec=spec,
            opts=pulumi.ResourceOptions.merge(
                self._child, pulumi.ResourceOptions(depends_on=[account])
            ),
        )
        service: Any = {
            "type": "ClusterIP",
            "selector": _LABELS,
            "ports": [{"name": "https", "port": 443, "targetPort": GATEWAY_PORT}],
        }
        kubernetes.core.v1.Service(
            f"{self._name}-service",
            metadata=self._metadata(SERVICE),
            spec=service,
            opts=self._child,
        )
        scaler: Any = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": SERVICE},
            "minReplicas": args.min_replicas,
            "maxReplicas": args.max_replicas,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 70},
                    },
                }
            ],
        }
        kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
            f"{self._name}-scaling",
            metadata=self._metadata(SERVICE),
            spec=scaler,
            opts=self._child,
        )
        budget: Any = {"maxUnavailable": 1, "selector": {"matchLabels": _LABELS}}
        kubernetes.policy.v1.PodDisruptionBudget(
            f"{self._name}-budget",
            metadata=self._metadata(SERVICE),
            spec=budget,
            opts=self._child,
        )
        return made

    def _certificate(self, args: GatewayArgs) -> None:
        if args.issuer is None:
            return
        self._object(
            "certificate",
            "cert-manager.io/v1",
            "Certificate",
            CERTIFICATE,
            {
                "secretName": CERTIFICATE,
                "dnsNames": list(args.hosts),
                "issuerRef": {"kind": "ClusterIssuer", "name": args.issuer},
                "duration": "2160h",
                "renewBefore": "720h",
                # a key that was taken is of no use once the certificate is renewed
                "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
                "usages": ["digital signature", "server auth"],
            },
        )

    def _object(self, noun: str, api_version: str, kind: str, name: str, spec: Any) -> None:
        CustomResource(
            f"{self._name}-{noun}",
            api_version=api_version,
            kind=kind,
            metadata=self._metadata(name),
            spec=spec,
            opts=self._child,
        )

    def _metadata(self, name: str) -> Any:
        return {
            "name": name,
            "namespace": self._namespace,
            "labels": {**_LABELS, **_MANAGED_BY},
        }


def _template(image: pulumi.Input[str]) -> dict[str, Any]:
    return {
        "metadata": {
            "labels": {**_LABELS, "sidecar.istio.io/inject": "true"},
            "annotations": {"inject.istio.io/templates": "gateway"},
        },
        "spec": {
            "serviceAccountName": SERVICE,
            # the injector mounts a token for istiod alone
            "automountServiceAccountToken": False,
            "priorityClassName": "falaj-platform",
            "terminationGracePeriodSeconds": 60,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": key,
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": _LABELS},
                }
                for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
            ],
            "containers": [
                {
                    "name": "istio-proxy",
                    "image": image,
                    "ports": [
                        {"name": "https", "containerPort": GATEWAY_PORT, "protocol": "TCP"},
                        {"name": "status", "containerPort": _STATUS_PORT, "protocol": "TCP"},
                    ],
                    "resources": {
                        "requests": {"cpu": "500m", "memory": "512Mi"},
                        "limits": {"memory": "512Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "runAsNonRoot": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "readinessProbe": {
                        "httpGet": {"path": "/healthz/ready", "port": _STATUS_PORT},
                        "periodSeconds": 5,
                        "failureThreshold": 4,
                    },
                }
            ],
        },
    }
