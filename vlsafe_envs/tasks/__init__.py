"""The paper's tasks: a route to follow through traffic, over any :class:`World`."""

from .world import ROUTE_STEP, World

__all__ = ["ROUTE_STEP", "World"]
