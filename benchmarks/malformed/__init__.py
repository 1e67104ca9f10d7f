"""Malformed inputs and what happens to them; see ``__main__``."""
