"""The four traffic simulators, each a ``simulator.Simulator``."""
