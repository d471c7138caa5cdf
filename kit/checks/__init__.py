"""Checks: evidence held against what is expected, and the diagnosis where it differs."""
