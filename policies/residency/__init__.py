"""The pack that keeps data in the country, under keys of its owner."""

from policies.encryption import at_rest
from policies.residency import regions

NAME = "falaj-residency"
RULES = (*regions.RULES, *at_rest.RULES)
