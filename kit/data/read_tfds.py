"""A program that writes the train split of a TFDS data set of (text, label) to a JSON file."""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Take the data set's name, the file to write, and optionally the folder with prepared data."""
    name, output, *folder = sys.argv[1:]
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # Nothing here computes: leave the accelerators to other processes.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    import tensorflow as tf
    import tensorflow_datasets as tfds

    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    tfds.disable_progress_bar()
    dataset = tfds.load(name, split="train", as_supervised=True, data_dir=folder[0] if folder else None, try_gcs=False)
    examples = [(text.decode("utf-8"), int(label)) for text, label in dataset.as_numpy_iterator()]
    Path(output).write_text(json.dumps(examples), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # the parent process reports any error in one sentence
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())[:250]}")
