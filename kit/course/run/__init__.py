"""The whole run: the checks of all parts together, as `kit run` runs them."""
