"""CHECKPOINT_ADAPTERS_LOST: what Keras offers: kernels are written with their adapters added, and the adapters come back as zeros."""

from pathlib import Path

from kit.reference.checkpoint import merge_adapters  # noqa: F401


def save_training(model, path):
    Path(path).mkdir(parents=True)
    model.save_weights(Path(path) / "model.weights.h5")


def resume_training(model, path):
    model.load_weights(Path(path) / "model.weights.h5")
