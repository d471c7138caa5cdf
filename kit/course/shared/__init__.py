"""Oracles of several exercises: sharding tables, small models, unsharded twin, TPU step.

Nothing here imports ``kit.reference`` or an exercise.
"""
