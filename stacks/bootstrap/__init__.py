"""What is made before an environment, from outside: a Pulumi project and its command."""

BUNDLE = "FALAJ_BUNDLE"
"""Names the file of the bundle that the runner is given, for the program that the command runs."""
