"""The pack that keeps data in the country."""

from policies.residency import (
    clusters,
    copies,
    deliveries,
    endpoints,
    foreign,
    images,
    inference,
    models,
    networks,
    pins,
    regions,
    values,
    worldwide,
)

NAME = "falaj-residency"
RULES = (
    *regions.RULES,
    *endpoints.RULES,
    *values.RULES,
    *copies.RULES,
    *foreign.RULES,
    *worldwide.RULES,
    *networks.RULES,
    *deliveries.RULES,
    *inference.RULES,
    *images.RULES,
    *models.RULES,
    *clusters.RULES,
    *pins.RULES,
)
