"""CHECKPOINT_MERGE_CHANGES_OUTPUTS: frozen, and the kernels alone are the old ones."""

from kit.reference.checkpoint import save_training, resume_training  # noqa: F401


def merge_adapters(model):
    model.backbone.trainable = False
    model.train_function = model.test_function = model.predict_function = model.generate_function = None
