"""The pack that keeps what need not be reachable, or need not have rights, from being so."""

from policies.hardening import (
    accelerators,
    backups,
    exposure,
    locks,
    logs,
    pods,
    resilience,
    tags,
    trails,
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
)
