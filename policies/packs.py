"""All packs together, as `falaj policy` runs them."""

from pathlib import Path

from policies import encryption, hardening, residency

PACKS = (residency, encryption, hardening)
RULES = tuple(rule for pack in PACKS for rule in pack.RULES)
CONFIGURATIONS = Path(__file__).parent / "config"
"""``<environment>.json`` each, and ``schema.json``."""
