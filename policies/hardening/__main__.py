"""Serves the pack to Pulumi: ``pulumi preview --policy-pack policies/hardening``."""

from policies.common.analyzer import serve
from policies.hardening import NAME, RULES

serve(NAME, RULES)
