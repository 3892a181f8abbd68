"""The pack that keeps data encrypted, at rest and in transit."""

from policies.encryption import (
    at_rest,
    clients,
    cluster_traffic,
    connections,
    domains,
    in_transit,
    keys,
    model_endpoints,
    services,
    stores,
    volumes,
)

NAME = "falaj-encryption"
RULES = (
    *at_rest.RULES,
    *keys.RULES,
    *domains.RULES,
    *stores.RULES,
    *services.RULES,
    *volumes.RULES,
    *in_transit.RULES,
    *connections.RULES,
    *cluster_traffic.RULES,
    *model_endpoints.RULES,
    *clients.RULES,
)
