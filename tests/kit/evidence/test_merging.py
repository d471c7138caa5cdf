"""How much of an adapter's update a merged kernel contains."""

from typing import Any

import keras
import numpy as np
import pytest

from kit.evidence.merging import kernel_updates, update_kept


def layer_with_lora(dtype: str, size: float) -> Any:
    layer = keras.layers.EinsumDense("btd,dh->bth", (None, 64), dtype=dtype)
    layer.build((None, None, 128))
    layer.enable_lora(4)
    random = np.random.default_rng(0)
    for variable, scale in ((layer._kernel, 1.0), (layer.lora_kernel_a, 1.0), (layer.lora_kernel_b, size)):
        variable.assign(random.normal(0, scale, tuple(variable.shape)).astype("float32"))
    return keras.Sequential([layer])


@pytest.mark.parametrize(
    ("dtype", "size", "least", "most"),
    [("float32", 1e-3, 0.999, 1.001), ("bfloat16", 1.0, 0.99, 1.01), ("bfloat16", 2e-4, 0.1, 0.9)],
)
def test_of_what_was_merged(dtype: str, size: float, least: float, most: float) -> None:
    model = layer_with_lora(dtype, size)
    (update,) = updates = kernel_updates(model)
    assert update_kept(updates) == 0
    update.layer._kernel.assign(update.before + update.update)
    assert least < update_kept(updates) < most


def test_of_nothing() -> None:
    with pytest.raises(ValueError, match="of 1 adapters are zero"):
        update_kept(kernel_updates(layer_with_lora("float32", 0.0)))
    with pytest.raises(ValueError, match="of 0 adapters are zero"):
        update_kept([])
