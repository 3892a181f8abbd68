"""The platform on one machine: the same parts as supervised processes."""
