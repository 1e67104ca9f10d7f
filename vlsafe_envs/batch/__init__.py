"""Many environments in one call."""
