"""This package's own roads, whose vehicles keep to paths, in compiled code."""
