"""SHARDING_TABLE_WRONG: scales are left out."""

from kit.reference.loading import load_distributed  # noqa: F401


def sharding_table(layer):
    table = []
    for v in layer.variables:
        if len(v.shape) > 1:
            spec = tuple(v.value.sharding.spec)
            table.append((v.path, tuple(v.shape), spec + (None,) * (len(v.shape) - len(spec))))
    return table
