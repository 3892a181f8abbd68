"""The pack that keeps data in the country."""

from policies.residency import regions

NAME = "falaj-residency"
RULES = regions.RULES
