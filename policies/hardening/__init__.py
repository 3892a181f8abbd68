"""The pack that keeps what need not be reachable from being so."""

from policies.hardening import exposure

NAME = "falaj-hardening"
RULES = exposure.RULES
