"""Nothing but the names that data sets recorded until November 2026 hold of their environments."""
