"""Where the values of a model are, by the shardings of its arrays."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import jax
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
        shape = tuple(variable.shape)
        # `variable.value` would create a value if there is none.
        value = getattr(variable, "_value", None)
        if value is None:
            found.append(Placement(variable.path, shape, 0, 0, replicated=False))
        else:
            sharding = value.sharding
            found.append(
                Placement(variable.path, shape, value.nbytes, len(sharding.device_set), sharding.is_fully_replicated)
            )
    return found


def nbytes_per_device(variables: Iterable[keras.Variable]) -> dict[str, int]:
    """Bytes of the variables' shards on each addressable device, by the device's name."""
    held: Counter[str] = Counter()
    for variable in variables:
        for shard in variable.value.addressable_shards:
            held[_name(shard.device)] += shard.data.nbytes
    return dict(sorted(held.items(), key=lambda item: int(item[0].rpartition(":")[2])))


def _name(device: jax.Device) -> str:
    return f"{device.platform}:{device.id}"
