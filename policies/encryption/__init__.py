"""Rules on encryption, at rest and in transit."""
