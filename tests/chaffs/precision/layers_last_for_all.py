"""PRECISION_WRONG_LAYER, EXERCISE_CRASHED: functions that are made in a loop and take its variable: all are of the last layer."""

from kit.reference.precision import _call, adapted_outputs, effect_kept, share_unchanged  # noqa: F401


def add_adapters_in_float32(model):
    adapted = [
        found for found in model.backbone._flatten_layers(include_self=False) if getattr(found, "lora_enabled", False)
    ]
    for layer in adapted:
        layer.call = lambda inputs, training=None: _call(layer, inputs)
