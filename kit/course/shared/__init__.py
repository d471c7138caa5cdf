"""Oracles that several exercises share: sharding tables, small models, the unsharded twin, the TPU step.

Nothing here imports ``kit.reference`` or an exercise.
"""
