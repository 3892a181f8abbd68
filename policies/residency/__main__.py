"""Serves the pack to Pulumi: ``pulumi preview --policy-pack policies/residency``."""

from policies.common.analyzer import serve
from policies.residency import NAME, RULES

serve(NAME, RULES)
