"""Tools for authors: proof of the checks, solutions, mutants, pre-training, and layout search.

Not part of the wheel. May import everything except ``cli``; nothing but ``kit.cli.dev`` imports
from here.
"""
