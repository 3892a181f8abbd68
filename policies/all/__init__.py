"""The three packs as one: one process asks all rules, and one file an environment sets them."""

from policies.packs import RULES

NAME = "falaj"

__all__ = ["NAME", "RULES"]
