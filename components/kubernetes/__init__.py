"""The platform on a Kubernetes cluster, whoever runs it."""
