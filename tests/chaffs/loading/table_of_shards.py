"""SHARDING_TABLE_WRONG: the shape of a shard and not of the variable."""

from kit.reference.loading import load_distributed  # noqa: F401


def sharding_table(layer):
    table = []
    for v in layer.variables:
        spec = tuple(v.value.sharding.spec)
        shard = v.value.addressable_shards[0].data.shape
        table.append((v.path, tuple(shard), spec + (None,) * (len(v.shape) - len(spec))))
    return table
