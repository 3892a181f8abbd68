"""The chain that every workload shares, from raw data to an endpoint."""
