"""The platform's parts on AWS: one noun a file, joined by `place`."""
