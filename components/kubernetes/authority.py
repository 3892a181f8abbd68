"""The organisation's certificate authority: who signs the certificate of the gateway.

Owns the issuer, the Secret of the authority's key, and who may ask for a certificate. Leaves the
certificate itself to the gateway. cert-manager and the store of its namespace must be there before.

The key is an intermediate one of the organisation, kept in the environment's own store; it comes
into the cluster by External Secrets and is never in the state. It lies in the namespace of
cert-manager and not in that of the gateway: the mesh hands the gateway every Secret of its own
namespace that it names, so a gateway that somebody took over could ask for the authority's key
there. An issuer of the whole cluster reads it, and a policy of the API server gives that issuer to
`AuthorityArgs.served` alone, for the names told there.

Renewal: cert-manager renews the certificate 30 days before it ends, by itself. Whoever keeps the
authority puts the next intermediate into the store at least 90 days (the life of a certificate)
before the old one ends: External Secrets brings it within an hour, and the next certificate is
signed by it; `cmctl renew gateway-tls -n serving` asks for one at once.

What cert-manager makes of the objects is not shown by any test here. On a cluster: `kubectl get
clusterissuer falaj-authority` says Ready, and `kubectl -n serving get certificate gateway-tls` too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.apiextensions import CustomResource

from components.kubernetes.secret_source import SecretSource, unpacked_secret

NAMESPACE = "certificates"
"""Of cert-manager, which reads the keys of issuers of the whole cluster there alone."""
NAME = "falaj-authority"
"""Of the issuer, of its Secret and of the policy."""
SECRET = "authority"  # noqa: S105  # pragma: allowlist secret
"""Below the folder of `NAMESPACE` in the store: a JSON object of `KEYS`."""
KEYS = ("tls.crt", "tls.key", "ca.crt")
"""The intermediate certificate with its chain, its key, and the organisation's root (PEM)."""


@dataclass(frozen=True, kw_only=True)
class AuthorityArgs:
    """Where the key is kept, and who gets certificates."""

    store: str
    """The ClusterSecretStore of `NAMESPACE`."""
    served: Mapping[str, Sequence[str]]
    """Namespace → the names that a certificate asked for there may bear."""
    wait_for: Sequence[pulumi.Resource] = ()
    """cert-manager, whose webhook answers for the issuer, and the store."""

    def __post_init__(self) -> None:
        """Raises `ValueError` where a namespace could have a certificate for any name."""
        for namespace, hosts in self.served.items():
            if not hosts or any("*" in host for host in hosts):
                raise ValueError(f"served.{namespace}: {list(hosts)}; name each host")


class Authority(pulumi.ComponentResource):
    """`issuer` is the name of a ClusterIssuer; `ready` is what certificates wait for."""

    def __init__(
        self, name: str, args: AuthorityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Authority", name, None, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        policy = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicy(
            f"{name}-use", metadata=_metadata(), spec=policy_spec(args.served), opts=child
        )
        bound: Any = {
            "policyName": policy.metadata.name.apply(str),
            "validationActions": ["Deny", "Audit"],
        }
        binding = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
            f"{name}-use-binding", metadata=_metadata(), spec=bound, opts=child
        )
        key = unpacked_secret(
            f"{name}-key",
            SecretSource(store=args.store, keys={SECRET: SECRET}),
            {**_metadata(), "namespace": NAMESPACE},
            child,
            noun=SECRET,
            keys=KEYS,
        )
        issuer = CustomResource(
            f"{name}-issuer",
            api_version="cert-manager.io/v1",
            kind="ClusterIssuer",
            metadata=_metadata(),
            spec={"ca": {"secretName": NAME}},
            # before it is known who may ask, everybody might
            opts=pulumi.ResourceOptions(parent=self, depends_on=[key, binding]),
        )
        self.issuer = NAME
        self.ready: list[pulumi.Resource] = [issuer]
        self.register_outputs({"issuer": self.issuer})


def policy_spec(served: Mapping[str, Sequence[str]]) -> Any:
    """The `spec` of the policy: who may name the issuer, and for which names.

    A request (CertificateRequest) is made by cert-manager itself of a Certificate; its names are in
    a signed text that no expression reads, so there it is held to the namespaces alone.
    """
    known = json.dumps({namespace: list(hosts) for namespace, hosts in served.items()})
    there = ", ".join(sorted(served))
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["cert-manager.io"],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["certificates", "certificaterequests"],
                }
            ]
        },
        "matchConditions": [
            {
                "name": "names-the-authority",
                "expression": (
                    "object.spec.issuerRef.name == "
                    f"'{NAME}' && has(object.spec.issuerRef.kind)"
                    " && object.spec.issuerRef.kind == 'ClusterIssuer'"
                ),
            },
            {
                "name": "is-not-going",
                "expression": "!has(object.metadata.deletionTimestamp)",
            },
        ],
        "validations": [
            {
                "expression": f"request.namespace in {known}",
                "message": f"the organisation's authority signs for {there} alone",
                "reason": "Forbidden",
            },
            {
                "expression": (
                    f"object.kind != 'Certificate' || !(request.namespace in {known})"
                    " || (has(object.spec.dnsNames) && object.spec.dnsNames.size() > 0"
                    f" && object.spec.dnsNames.all(one, one in {known}[request.namespace])"
                    " && !has(object.spec.commonName) && !has(object.spec.literalSubject)"
                    " && !has(object.spec.ipAddresses) && !has(object.spec.uris)"
                    " && !has(object.spec.emailAddresses) && !has(object.spec.otherNames)"
                    " && !(has(object.spec.isCA) && object.spec.isCA))"
                ),
                "message": "the organisation's authority signs for the gateway's own names alone, "
                "and makes no other authority: name them under dnsNames and nothing else",
                "reason": "Forbidden",
            },
        ],
    }


def _metadata() -> Any:
    return {"name": NAME, "labels": {"app.kubernetes.io/managed-by": "pulumi"}}
