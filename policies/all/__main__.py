"""Serves every rule to Pulumi: ``pulumi preview --policy-pack policies/all``."""

from policies.all import NAME, RULES
from policies.common.analyzer import serve

serve(NAME, RULES)
