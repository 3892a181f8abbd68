"""Serves the pack to Pulumi: ``pulumi preview --policy-pack policies/encryption``."""

from policies.common.analyzer import serve
from policies.encryption import NAME, RULES

serve(NAME, RULES)
