"""Decides whether to grant a consumer credit: the first workload."""
