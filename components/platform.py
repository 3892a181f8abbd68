"""The platform of one environment: the parts of its place, joined into one contract.

The only module that asks where an environment runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pulumi

from components.contract import CONTRACT_VERSION, SECRET_FIELDS, capabilities_of
from components.images import Lock
from stacks.settings import Settings

if TYPE_CHECKING:
    from components.aws.network import NetworkIds


class Platform(pulumi.ComponentResource):
    """Everything that `pulumi up` of the stack `<environment>` makes."""

    outputs: dict[str, pulumi.Input[Any]]
    """The fields of `components.contract.PlatformOutputs`."""

    def __init__(
        self,
        settings: Settings,
        directories: Mapping[str, str],
        network: NetworkIds | None = None,
        lock: Lock | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`directories` holds the absolute paths `state_directory` and `runtime_directory`.

        `network` is the one that the bootstrap made, where it made one; `lock` holds the digests of
        images.
        """
        super().__init__("falaj:Platform", settings.environment, {}, opts)
        fields = self._place(settings, directories, network, lock or Lock())
        self.outputs = {
            "contract_version": CONTRACT_VERSION,
            "environment": settings.environment,
            "place": settings.place,
            "capabilities": sorted(capabilities_of(fields)),
            "residency_mode": settings.residency.mode,
            "allowed_regions": list(settings.residency.allowed_regions),
            "automatic_approval": settings.local is not None and settings.local.auto_approve,
        } | {
            name: pulumi.Output.secret(value) if name in SECRET_FIELDS else value
            for name, value in fields.items()
        }
        self.register_outputs({})

    def _place(
        self,
        settings: Settings,
        directories: Mapping[str, str],
        network: NetworkIds | None,
        lock: Lock,
    ) -> dict[str, pulumi.Input[Any]]:
        here = pulumi.ResourceOptions(parent=self)
        # each place loads what it alone is made of, a third of the time that the imports take
        if settings.local is not None:
            from components.local.place import LocalPlace, LocalPlaceArgs

            ports = settings.local.ports
            return LocalPlace(
                "local",
                LocalPlaceArgs(
                    **directories,
                    ports={
                        name: ports[name] for name in type(ports).model_fields if name != "offset"
                    },
                    region=settings.residency.allowed_regions[0],
                    health_seconds=settings.local.health_seconds,
                    ray_cpus=settings.local.ray_cpus,
                    ray_object_store_mib=settings.local.ray_object_store_mib,
                ),
                here,
            ).fields
        kubeconfig = settings.kubeconfig.get_secret_value() if settings.kubeconfig else None
        if settings.kubernetes is not None:
            from components.kubernetes.place import KubernetesPlace, KubernetesPlaceArgs

            return KubernetesPlace(
                settings.environment,
                KubernetesPlaceArgs(
                    environment=settings.environment,
                    kubernetes=settings.kubernetes,
                    layer=settings,
                    kubeconfig=kubeconfig or "",
                    lock=lock,
                ),
                here,
            ).fields
        from components.aws.place import AwsPlace, AwsPlaceArgs
        from components.aws.settings.identity import people_who_deploy

        assert settings.aws is not None, "settings hold the section of their place"  # noqa: S101
        return AwsPlace(
            settings.environment,
            AwsPlaceArgs(
                environment=settings.environment,
                owner=settings.owner,
                residency_mode=settings.residency.mode,
                aws=settings.aws,
                allowed_regions=settings.residency.allowed_regions,
                network_ids=network,
                people=people_who_deploy(settings.environment, settings.aws.identity),
                layer=settings,
                lock=lock,
                kubeconfig=kubeconfig,
            ),
            here,
        ).fields
