"""LoRA of a run: names of target layers that match nothing are an error."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import keras_hub

from kit.errors import UserError
from kit.models.text_only import replaced


@contextlib.contextmanager
def lora_targets_must_exist() -> Iterator[None]:
    """In this context ``Backbone.enable_lora`` raises UserError for a name that no layer has.

    KerasHub leaves such a name out, and a model on which nothing is trained.
    """
    original = keras_hub.models.Backbone.enable_lora

    def enable_lora(
        self: keras_hub.models.Backbone, rank: int, target_layer_names: Sequence[str] | None = None
    ) -> None:
        original(self, rank, target_layer_names)
        # KerasHub's own default names layers of many models.
        adapted = {layer.name for layer in self._flatten_layers() if getattr(layer, "lora_enabled", False)}
        missing = [name for name in target_layer_names or () if name not in adapted]
        if missing or not adapted:
            raise UserError(
                f"LoRA: no layer of this {type(self).__name__} that takes adapters is called "
                f"{' or '.join(missing) or 'like a target'}; it has {', '.join(_can_have_adapters(self))}."
            )

    with replaced(keras_hub.models.Backbone, "enable_lora", enable_lora):
        yield


def _can_have_adapters(backbone: keras_hub.models.Backbone) -> list[str]:
    """The names of the layers in the blocks that take adapters, in alphabetical order."""
    kinds = (keras.layers.EinsumDense, keras.layers.Dense)
    return sorted({layer.name for layer in backbone._flatten_layers() if isinstance(layer, kinds)})
