"""Tools for authors: the proof of the checks, mutants, pre-training of the bundled model, and the layout search.

Not part of the wheel. May import everything except ``cli``; nothing but ``kit.cli.dev`` imports from here.
"""
