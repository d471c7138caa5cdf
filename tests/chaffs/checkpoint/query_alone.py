"""CHECKPOINT_MERGE_CHANGES_OUTPUTS: one of the two."""

import keras

from kit.reference.checkpoint import save_training, resume_training  # noqa: F401


def merge_adapters(model):
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False) and layer.name == "query":
            product = keras.ops.matmul(layer.lora_kernel_a, layer.lora_kernel_b)
            layer._kernel.assign(layer._kernel + layer.lora_alpha / layer.lora_rank * product)
            layer.lora_kernel_b.assign(layer.lora_kernel_b * 0)
    model.backbone.trainable = False
    model.train_function = model.test_function = model.predict_function = model.generate_function = None
