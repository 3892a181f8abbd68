"""What is made before an environment, from outside: a Pulumi project and its command."""
