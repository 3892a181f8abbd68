"""What runs inside MLflow's server, wherever it runs. Imports no Pulumi."""
