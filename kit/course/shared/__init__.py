"""Oracles of several exercises: sharding tables, small models, TPU step.

The unsharded twin is in ``kit.evidence``, since a run uses it too.

Nothing here imports ``kit.reference`` or an exercise.
"""
