"""What a model's preprocessor needs before it is used from several threads."""

import threading
from typing import Any


def preprocess_one_at_a_time(model: Any) -> None:
    """Build a KerasHub task's preprocessor now, and let one thread at a time preprocess samples for the model.

    ``fit`` and ``evaluate`` over texts preprocess in 16 threads (KerasHub 0.32, grain 0.2.18), and two things come of it:

    - Each thread that finds the preprocessor unbuilt builds it, and where two do, one of them can fail: "You cannot add new elements of state
      ... to a layer that is already built". It came in 2 of 100 such beginnings. Who generates before training, as the tutorial does, has it
      built by that; who resumes has not.
    - Preprocessing is Python, so the threads take turns at its lock, and the thread that starts the steps waits with them. One thread
      preprocesses a batch in less time than sixteen do, and the others wait at a lock of their own, which costs nothing.

    Args:
        model: With a ``preprocessor``, which is given a text.

    """
    if not model.preprocessor.built:
        model.preprocessor(["A text."])
    lock, preprocess_samples = threading.Lock(), model.preprocess_samples

    def one_at_a_time(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        with lock:
            return preprocess_samples(x, y, sample_weight)

    # KerasHub says that it may be overridden.
    model.preprocess_samples = one_at_a_time
