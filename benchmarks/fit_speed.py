"""Time of `finetune` compared with a bare compiled step, on 8 simulated devices.

`finetune` adds progress, callbacks, metrics, and the way of the texts to the devices. The model is
a Gemma of 28 small decoder blocks with LoRA, with batches of 2 texts of 16 tokens, on the mesh (1,
8). The bare step is that of `make_train_step`, over batches that are already on the devices. The
two take turns, and the median of the turns counts, so that other work of the machine has less
effect. Takes two minutes on 2 cores. Usage: python benchmarks/fit_speed.py
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
from kit.reference import layout, lora, mesh, training  # noqa: E402
from kit.run.recorder import prepare_for_recording  # noqa: E402

BLOCKS, ROUNDS, STEPS, BATCH, LENGTH = 28, 15, 20, 2, 16
#: The tutorial's rules, which replicate LoRA's A, and the kit's.
LAYOUTS = ("the tutorial's rules", "the kit's rules, LoRA's A sharded")


def layout_map(device_mesh, shard_adapters: bool):
    """The reference's layout, with or without adapters in its rule for query, key and value."""
    found = layout.gemma_layout_map(device_mesh)
    if shard_adapters:
        return found
    without = keras.distribution.LayoutMap(device_mesh)
    for pattern in found:
        without[pattern.replace("(kernel|lora_kernel_a)", "kernel")] = found[pattern]
    return without


def build(shard_adapters: bool):
    """Build the model, compiled as in a run."""
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(
            layout_map=layout_map(mesh.make_device_mesh(1, 8), shard_adapters),
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
    prepare_for_recording(model, late=True)
    preprocess_one_at_a_time(model)
    return model


def timed_fit(model, batches) -> float:
    """Seconds per step, without the first."""
    clock = Clock()
    training.finetune(model, batches, callbacks=[clock])
    return float(np.median(np.diff(clock.times)))


def main() -> None:
    """Print one row per layout."""
    keras.config.disable_interactive_logging()
    texts = [
        [f"This is film number {number}, and I liked {row} of its scenes. " * 8 for row in range(BATCH)]
        for number in range(STEPS)
    ]
    print("| layout | bare step | finetune | ratio | middle half of the ratios |\n|---|---|---|---|---|", flush=True)
    for name, split in zip(LAYOUTS, (False, True), strict=True):
        model = build(split)
        sharding = keras.distribution.distribution().get_data_layout((BATCH, LENGTH)).backend_layout
        data = [jax.device_put(jax.tree.map(np.asarray, model.preprocessor(batch)), sharding) for batch in texts]
        step = training.make_train_step(model)
        turns = np.array([(timed_bare(model, step, data), timed_fit(model, texts)) for _ in range(ROUNDS + 1)])
        # The first turn compiles.
        bare, fit = np.median(turns[1:], axis=0)
        lower, ratio, upper = np.quantile(turns[1:, 1] / turns[1:, 0], (0.25, 0.5, 0.75))
        print(
            f"| {name} | {1000 * bare:.0f} ms | {1000 * fit:.0f} ms | {ratio:.2f} | {lower:.2f} to {upper:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
