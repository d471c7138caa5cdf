"""Where the values of a model are, by the shardings of its arrays."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Placement:
    """Where the value of one variable is."""

    path: str
    shape: tuple[int, ...]
    #: Bytes of the whole variable.
    nbytes: int
    #: The number of devices that hold a part of it; 0 if it has no value.
    device_count: int
    #: Whether the value is replicated on these devices.
    replicated: bool


def placements(variables: Iterable[keras.Variable]) -> list[Placement]:
    """The placement of each variable."""
    found = []
    for variable in variables:
        # `variable.value` would create a value if there is none.
        value = getattr(variable, "_value", None)
        held = (0, 0, False)
        if value is not None:
            held = (value.nbytes, len(value.sharding.device_set), value.sharding.is_fully_replicated)
        found.append(Placement(variable.path, tuple(variable.shape), *held))
    return found


def nbytes_per_device(variables: Iterable[keras.Variable]) -> dict[str, int]:
    """Bytes of the variables' shards on each addressable device, by the device's name."""
    held: Counter[str] = Counter()
    for variable in variables:
        for shard in variable.value.addressable_shards:
            held[f"{shard.device.platform}:{shard.device.id}"] += shard.data.nbytes
    return dict(sorted(held.items(), key=lambda item: int(item[0].rpartition(":")[2])))
