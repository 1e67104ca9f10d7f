"""Drivers with rules, for every environment of this package."""
