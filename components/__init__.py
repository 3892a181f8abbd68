"""What the platform is made of: one noun a file."""
