"""Stable-Baselines3's own tests, with vlsafe's algorithms in the place of its own."""
