"""NOT_AS_EXPECTED: an empty folder."""

from pathlib import Path

from kit.reference.checkpoint import resume_training, merge_adapters  # noqa: F401


def save_training(model, path):
    Path(path).mkdir(parents=True)
