"""Pieces that several agents share."""
