"""SHARDING_TABLE_WRONG: the spec as JAX shortens it."""

from kit.reference.loading import load_distributed  # noqa: F401


def sharding_table(layer):
    return [(v.path, tuple(v.shape), tuple(v.value.sharding.spec)) for v in layer.variables]
