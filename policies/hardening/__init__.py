"""The pack that keeps what need not be reachable, or need not have rights, from being so."""

from policies.hardening import exposure, pods

NAME = "falaj-hardening"
RULES = (*exposure.RULES, *pods.RULES)
