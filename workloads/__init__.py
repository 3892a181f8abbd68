"""What teams run on the platform: one folder a workload, one chain for all of them."""
