"""What a model's preprocessor needs before it is used from several threads."""

from typing import Any


def build_preprocessor(model: Any) -> None:
    """Build a KerasHub task's preprocessor now, in this thread.

    ``fit`` and ``evaluate`` over texts preprocess several batches at a time, in threads. Each thread that finds the preprocessor unbuilt
    builds it, and where two do, one of them can fail: "You cannot add new elements of state ... to a layer that is already built". It came
    in 2 of 100 such beginnings (KerasHub 0.32). Who generates before training, as the tutorial does, has it built by that; who resumes has not.

    Args:
        model: With a ``preprocessor``, which is given a text.

    """
    if not model.preprocessor.built:
        model.preprocessor(["A text."])
