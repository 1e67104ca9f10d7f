"""Agents that learn to drive safely, and what is needed to feed and to judge them."""
