"""The pack that keeps what need not be reachable, or need not have rights, from being so."""

from policies.hardening import (
    accelerators,
    backups,
    budgets,
    exposure,
    locks,
    logs,
    namespaces,
    pods,
    ray,
    resilience,
    seldon,
    signatures,
    supply_chain,
    tags,
    tracking,
    trails,
    workloads,
)

NAME = "falaj-hardening"
RULES = (
    *exposure.RULES,
    *pods.RULES,
    *logs.RULES,
    *trails.RULES,
    *locks.RULES,
    *backups.RULES,
    *resilience.RULES,
    *tags.RULES,
    *accelerators.RULES,
    *namespaces.RULES,
    *workloads.RULES,
    *ray.RULES,
    *seldon.RULES,
    *tracking.RULES,
    *budgets.RULES,
    *supply_chain.RULES,
    *signatures.RULES,
)
