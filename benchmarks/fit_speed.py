"""What `finetune` adds to a bare compiled step, on 8 simulated devices: progress, callbacks, metrics, and the texts' way to the devices.

A Gemma of 28 small decoder blocks with LoRA, batches of 2 texts of 16 tokens, on the mesh (1, 8). The bare step is `make_train_step`'s, over
batches that lie on the devices already. Both are timed in turns, and the least of five turns counts, so that what else the machine does
weighs less. Takes two minutes on 2 cores. Usage: python benchmarks/fit_speed.py
"""

from kit.runtime.platform import start

start("cpu", 8, 0)

import jax  # noqa: E402
import keras  # noqa: E402
import keras_hub  # noqa: E402
import numpy as np  # noqa: E402
from timing import Clock, timed_bare  # noqa: E402

from kit.models.preprocessor import preprocess_one_at_a_time  # noqa: E402
from kit.models.presets import BUNDLED_FOLDER  # noqa: E402
from kit.run.recorder import prepare_for_recording  # noqa: E402
from kit.reference import layout, lora, mesh, training  # noqa: E402

BLOCKS, ROUNDS, STEPS, BATCH, LENGTH = 28, 15, 20, 2, 16
#: The tutorial's rules, which leave LoRA's A whole, and the kit's.
LAYOUTS = ("the tutorial's rules", "and LoRA's A split")


def layout_map(device_mesh, adapters_are_split: bool):
    """The reference's, or the same with a rule that does not know adapters."""
    found = layout.gemma_layout_map(device_mesh)
    if adapters_are_split:
        return found
    without = keras.distribution.LayoutMap(device_mesh)
    for pattern in found:
        without[pattern.replace("(kernel|lora_kernel_a)", "kernel")] = found[pattern]
    return without


def build(adapters_are_split: bool):
    """The model, compiled as in a run."""
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(
            layout_map=layout_map(mesh.make_device_mesh(1, 8), adapters_are_split),
            batch_dim_name="batch",
            auto_shard_dataset=False,
        )
    )
    tokenizer = keras_hub.models.GemmaTokenizer.from_preset(str(BUNDLED_FOLDER))
    backbone = keras_hub.models.GemmaBackbone(
        vocabulary_size=2048,
        num_layers=BLOCKS,
        num_query_heads=8,
        num_key_value_heads=8,
        hidden_dim=64,
        intermediate_dim=256,
        head_dim=8,
    )
    preprocessor = keras_hub.models.GemmaCausalLMPreprocessor(tokenizer, sequence_length=LENGTH)
    model = keras_hub.models.GemmaCausalLM(backbone=backbone, preprocessor=preprocessor)
    lora.enable_lora(model, 4)
    training.compile_for_finetuning(model, 1e-3, 0.01)
    model.optimizer.build(model.trainable_variables)
    prepare_for_recording(model)
    preprocess_one_at_a_time(model)
    return model


def timed_fit(model, batches) -> float:
    """Seconds a step, the first left out."""
    clock = Clock()
    training.finetune(model, batches, callbacks=[clock])
    return float(np.median(np.diff(clock.times)))


def main() -> None:
    """Print a row for each layout."""
    keras.config.disable_interactive_logging()
    texts = [
        [f"This is film number {number}, and I liked {row} of its scenes. " * 8 for row in range(BATCH)]
        for number in range(STEPS)
    ]
    print(
        "| layout | bare step | finetune | ratio | of the middle half of the turns |\n|---|---|---|---|---|", flush=True
    )
    for name, split in zip(LAYOUTS, (False, True), strict=True):
        model = build(split)
        sharding = keras.distribution.distribution().get_data_layout((BATCH, LENGTH)).backend_layout
        data = [jax.device_put(jax.tree.map(np.asarray, model.preprocessor(batch)), sharding) for batch in texts]
        step = training.make_train_step(model)
        turns = np.array([(timed_bare(model, step, data), timed_fit(model, texts)) for _ in range(ROUNDS + 1)])
        # The first compiles.
        bare, fit = np.median(turns[1:], axis=0)
        lower, ratio, upper = np.quantile(turns[1:, 1] / turns[1:, 0], (0.25, 0.5, 0.75))
        print(
            f"| {name} | {1000 * bare:.0f} ms | {1000 * fit:.0f} ms | {ratio:.2f} | {lower:.2f} to {upper:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
