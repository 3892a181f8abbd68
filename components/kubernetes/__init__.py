"""The platform's parts on Kubernetes: one noun a file."""
