"""The pack that keeps data encrypted, at rest and in transit."""

from policies.encryption import at_rest, in_transit, keys, stores

NAME = "falaj-encryption"
RULES = (*at_rest.RULES, *keys.RULES, *stores.RULES, *in_transit.RULES)
