"""Time of preprocessing in threads, and its effect on a step: with KerasHub's `fit` and the kit's.

The bundled model with LoRA, batches of 8 reviews truncated to 128 tokens. Steps are timed from the
second on, without the compilation. Takes two minutes on 2 cores, and less on an accelerator.
Usage: python benchmarks/preprocessing_threads.py [PLATFORM]
"""

import sys
import time

from kit.runtime.platform import start

runtime = start(sys.argv[1] if len(sys.argv) > 1 else "auto", seed=0)

import grain  # noqa: E402
import jax  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from timing import Clock, timed_bare  # noqa: E402

from kit.data.reviews import load_movie_reviews  # noqa: E402
from kit.models.preprocessor import preprocess_one_at_a_time  # noqa: E402
from kit.models.presets import BUNDLED_FOLDER  # noqa: E402
from kit.reference import layout, loading, lora, mesh, training  # noqa: E402
from kit.run.recorder import prepare_for_recording  # noqa: E402

BATCHES, BATCH, LENGTH = 60, 8, 128


def report(what: str, milliseconds: float) -> None:
    """Print a row."""
    print(f"| {what} | {milliseconds:.1f} |", flush=True)


def main() -> None:
    """Print the table."""
    keras.config.disable_interactive_logging()
    layout_map = layout.gemma_layout_map(mesh.make_device_mesh(1, runtime.device_count))
    model = loading.load_distributed(str(BUNDLED_FOLDER), layout_map)
    model.preprocessor.sequence_length = LENGTH
    model.preprocessor(["A text."])
    lora.enable_lora(model, 4)
    training.compile_for_finetuning(model, 1e-3, 0.01)
    model.optimizer.build(model.trainable_variables)
    prepare_for_recording(model)
    texts = [text for text, *_ in load_movie_reviews()[: BATCHES * BATCH]]
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    training.finetune(model, batches[:2])  # compiles

    print(f"\n| {runtime.device_count} x {runtime.device_kind} | ms per batch |\n|---|---|")
    for threads in (1, 2, 16):
        source = grain.MapDataset.source([np.array(batch, dtype=object) for batch in batches])
        dataset = source.map(lambda batch: model.preprocessor(batch.tolist()))
        begun = time.perf_counter()
        for _ in dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=8)):
            pass
        report(
            f"preprocessing alone, {threads} thread{'' if threads == 1 else 's'}",
            (time.perf_counter() - begun) / BATCHES * 1000,
        )
    for what in ("fit, KerasHub's 16 threads", "fit, one thread at a time"):
        clock = Clock()
        training.finetune(model, batches, callbacks=[clock])
        report(what, (clock.times[-1] - clock.times[0]) / (BATCHES - 1) * 1000)
        preprocess_one_at_a_time(model)
    data = jax.tree.map(jax.numpy.asarray, model.preprocessor(batches[0]))
    report("the step alone", timed_bare(model, training.make_train_step(model), [data] * 40) * 1000)


if __name__ == "__main__":
    main()
