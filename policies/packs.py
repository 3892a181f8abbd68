"""All packs together, as `falaj policy` runs them."""

from policies import encryption, hardening, residency

PACKS = (residency, encryption, hardening)
RULES = tuple(rule for pack in PACKS for rule in pack.RULES)
