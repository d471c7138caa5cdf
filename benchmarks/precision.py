"""Tuning in float32, bfloat16 and mixed_bfloat16: with LoRA, and of all parameters.

Prints three Markdown tables, the figures of docs/running.md, "bfloat16": what LoRA learns, what
tuning all parameters does, and how much of a small update survives rounding. Each run is a process
of its own, as a user starts it. Usage: python benchmarks/precision.py [SEEDS]
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kit.parts.protocols import PARTS

#: Modules of a folder of parts: adapters in Keras' form, and adapters added in float32.
KERAS_FORM = "def add_adapters_in_float32(model):\n    pass\n"
IN_FLOAT32 = """from kit.reference.lora import count_parameters, expected_lora_parameters
from kit.reference.precision import add_adapters_in_float32


def enable_lora(model, rank):
    model.backbone.enable_lora(rank, target_layer_names=["query", "value"])
    add_adapters_in_float32(model)
"""
FORMS = (
    ("float32", "float32", "keras"),
    ("bfloat16, adapters in Keras' form", "bfloat16", "keras"),
    ("bfloat16, adapters added in float32", "bfloat16", "ours"),
    ("mixed_bfloat16, adapters in Keras' form", "mixed_bfloat16", "keras"),
    ("mixed_bfloat16, adapters added in float32", "mixed_bfloat16", "ours"),
)
#: The learning rate of the bundled model's settings, and the tutorial's.
RATES = (5e-3, 5e-5)
STEPS = (1, 3, 10, 30, 100)


def lay_out(folder: Path) -> dict[str, Path]:
    """Write one folder of parts per form of adapters."""
    found = {}
    for form, files in (
        ("keras", {"precision": KERAS_FORM}),
        ("ours", {"lora": IN_FLOAT32, "precision": "from kit.reference.precision import *\n"}),
    ):
        found[form] = folder / form
        found[form].mkdir()
        parts = {part: f"from kit.reference.{part} import *\n" for part in PARTS}
        for part, text in (parts | files).items():
            (found[form] / f"{part}.py").write_text(text, encoding="utf-8")
    return found


def run(impl: Path, *options: str) -> dict[str, Any]:
    """Return ``run.json`` of a run with these parts."""
    command = [sys.executable, "-c", "from kit.cli.main import main; main()", "run", "--json", "--impl", str(impl)]
    with tempfile.TemporaryDirectory() as folder:
        finished = subprocess.run([*command, *options], cwd=folder, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def row(*cells: Any) -> None:
    """Print one line of a table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def cells_of(result: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a run: losses, and changes of style."""
    training, style = result["training"], result["style"]
    return (
        f"{training['first_loss']:.4f}",
        f"{training['last_loss']:.4f}",
        f"{style['shift']['reviews']:+.4f}",
        f"{style['shift']['lists']:+.4f}",
        f"{style['after']['share_of_lists']:.0%}",
        f"{style['after']['share_of_reviews']:.0%}",
    )


LEARNED = (
    "loss, first third",
    "last third",
    "held-out reviews, nats per token",
    "new lists",
    "lists after",
    "reviews after",
)


def effects() -> None:
    """Print how large updates in bfloat16 are, and how much of them survives rounding."""
    from kit.runtime.platform import start

    start("cpu", seed=0)
    import keras
    import numpy as np

    from kit.data.reviews import load_movie_reviews
    from kit.models.presets import BUNDLED_FOLDER
    from kit.reference import layout, loading, lora, mesh, precision, reviews, training

    layout_map = layout.gemma_layout_map(mesh.make_device_mesh(1, 8))
    batches = reviews.prepare_reviews(load_movie_reviews(), 8, max(STEPS), seed=0)
    print(
        "| learning rate | after step | size of the update relative to the kernel "
        "| share that survives rounding in Keras' form | added in float32 |"
    )
    print("|---|---|---|---|---|")
    for rate in RATES:
        keras.utils.set_random_seed(0)
        model = loading.load_distributed(str(BUNDLED_FOLDER), layout_map, dtype="bfloat16")
        model.preprocessor.sequence_length = 128
        lora.enable_lora(model, 4)
        precision.add_adapters_in_float32(model)
        training.compile_for_finetuning(model, rate, 0.01)
        model.optimizer.build(model.trainable_variables)
        step = training.make_train_step(model)
        groups = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
        state: Any = tuple([variable.value for variable in variables] for variables in groups)
        for number, batch in enumerate(batches, start=1):
            state, _ = step(state, model.preprocessor(batch))
            if number in STEPS:
                # The step received the variables' own arrays, so only its state has the values.
                values = {
                    variable.path: np.asarray(value)
                    for variables, arrays in zip(groups[:2], state[:2], strict=True)
                    for variable, value in zip(variables, arrays, strict=True)
                }
                size, as_keras, ours = np.mean([surviving(layer, values) for layer in adapted(model)], axis=0)
                row(f"{rate:g}", number, f"{size:.2g}", f"{as_keras:.2f}", f"{ours:.2f}")


def adapted(model: Any) -> list[Any]:
    """The layers with LoRA."""
    layers = model.backbone._flatten_layers(include_self=False)
    return [layer for layer in layers if getattr(layer, "lora_enabled", False)]


def surviving(layer: Any, values: dict[str, Any]) -> tuple[float, float, float]:
    """Relative size of a layer's update, and the share that survives rounding in either form."""
    import jax.numpy as jnp
    import numpy as np

    from kit.reference import precision

    kernel, lora_a, lora_b = (
        values[variable.path] for variable in (layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b)
    )
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(8, 64, kernel.shape[1])), "bfloat16")
    scale = layer.lora_alpha / layer.lora_rank
    update = scale * (lora_a.astype("float64") @ lora_b)
    exact = kernel.astype("float64")
    before, change = (np.einsum(layer.equation, np.asarray(inputs, "float64"), factor) for factor in (exact, update))
    as_keras = jnp.einsum(layer.equation, inputs, jnp.asarray((exact + update).astype("float32"), "bfloat16"))
    ours = precision.adapted_outputs(
        layer.equation, inputs, jnp.asarray(kernel), *map(jnp.asarray, (lora_a, lora_b)), scale
    )
    return (
        float(np.abs(update).mean() / np.abs(exact).mean()),
        *(precision.effect_kept(change, before, np.asarray(outputs)) for outputs in (as_keras, ours)),
    )


def main() -> None:
    """Print the tables, LoRA's for the given number of seeds, by default three."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        impl = lay_out(Path(folder))
        row("rate", "seed", "LoRA", *LEARNED)
        row(*("---" for _ in range(9)))
        # One seed is enough for the lower rate: losses change little, and it shows whether a form
        # is worse.
        for rate, seed in [*((RATES[0], seed) for seed in range(seeds)), (RATES[1], 0)]:
            for what, dtype, form in FORMS:
                options = ("--dtype", dtype, "--seed", str(seed), "--learning-rate", str(rate))
                row(f"{rate:g}", seed, what, *cells_of(run(impl[form], *options)))
        print()
        row("all parameters, rate 5e-5", *LEARNED)
        row(*("---" for _ in range(7)))
        for dtype in ("float32", "bfloat16", "mixed_bfloat16"):
            row(dtype, *cells_of(run(impl["keras"], "--dtype", dtype, "--rank", "0", "--learning-rate", "5e-5")))
    print()
    effects()


if __name__ == "__main__":
    main()
