"""What may be asked of each part on AWS: parsed and checked, one noun a file, without Pulumi."""
