"""A folder with all that a workshop without a network needs."""
