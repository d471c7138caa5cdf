"""Where the values of a model are, as its arrays say themselves."""

from collections import Counter
from collections.abc import Iterable

import jax
import keras


def nbytes_per_device(variables: Iterable[keras.Variable]) -> dict[str, int]:
    """Bytes of these variables' shards on each device that this process can address, by the device's name."""
    held: Counter[str] = Counter()
    for variable in variables:
        for shard in variable.value.addressable_shards:
            held[_name(shard.device)] += shard.data.nbytes
    return dict(sorted(held.items(), key=lambda item: int(item[0].rpartition(":")[2])))


def _name(device: jax.Device) -> str:
    return f"{device.platform}:{device.id}"
