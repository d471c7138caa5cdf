"""PRECISION_UPDATE_LOST: nothing is replaced."""

from kit.reference.precision import adapted_outputs, effect_kept, share_unchanged  # noqa: F401


def add_adapters_in_float32(model):
    model.train_function = model.predict_function = model.generate_function = None
