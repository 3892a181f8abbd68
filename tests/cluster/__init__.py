"""A package, unlike the other folders, so that fixtures can end with its last test."""
