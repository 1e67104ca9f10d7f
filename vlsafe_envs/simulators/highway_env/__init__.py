"""highway-env's own roads and vehicles: the reference, and slow."""
