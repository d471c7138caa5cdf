"""A preprocessor that several threads can use."""

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras_hub


def preprocess_one_at_a_time(model: "keras_hub.models.CausalLM") -> None:
    """Build a KerasHub task's preprocessor now, and let one thread at a time preprocess samples.

    ``fit`` and ``evaluate`` over texts preprocess in 16 threads (KerasHub 0.32, grain 0.2.18). Each
    thread that finds the preprocessor unbuilt builds it. If two do, one of them can fail: "You
    cannot add new elements of state ... to a layer that is already built". This happened in 2 of
    100 attempts. Generating before training, as the tutorial does, builds the preprocessor;
    resuming does not.

    Preprocessing is Python, so the threads compete for its lock, and so does the thread that starts
    the steps. One thread preprocesses a batch in less time than sixteen, and the others wait for a
    lock of their own at no cost.
    """
    if not model.preprocessor.built:
        model.preprocessor(["A text."])
    lock, preprocess_samples = threading.Lock(), model.preprocess_samples

    def one_at_a_time(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        with lock:
            return preprocess_samples(x, y, sample_weight)

    # KerasHub documents that it may be overridden.
    model.preprocess_samples = one_at_a_time
