"""Questions about checkpoints, and their measurements. Imports no framework."""

from typing import Any

from kit.course.predictions import Question

#: The two possible answers.
SAME = ("the same", "others")


def _losses_after_loading(optimizer: str, rank: int) -> str:
    """Whether a layer that loads the weights of another has its losses in the next steps."""
    import tempfile
    from pathlib import Path

    import keras
    import numpy as np

    def toy() -> keras.Model:
        keras.utils.set_random_seed(0)
        layer = keras.layers.Dense(3, use_bias=False, name="toy")
        model = keras.Sequential([keras.Input((4,)), layer])
        if rank:
            layer.enable_lora(rank)
        model.compile(optimizer=getattr(keras.optimizers, optimizer)(0.1), loss="mse")
        return model

    x, y = np.ones((1, 4)), np.zeros((1, 3))

    def three_steps(model: keras.Model) -> list[Any]:
        return [float(model.train_on_batch(x, y)) for _ in range(3)]

    first, second = toy(), toy()
    three_steps(first)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "toy.weights.h5"
        first.save_weights(file)
        second.load_weights(file)
    return SAME[0] if np.allclose(three_steps(first), three_steps(second), rtol=1e-6) else SAME[1]


def measure_adapters() -> str:
    """With LoRA and SGD, which has no state."""
    return _losses_after_loading("SGD", 2)


def measure_arrays() -> float:
    """Variables of an AdamW that trains 16 adapters."""
    import keras

    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.build([keras.Variable([0.0], name=f"adapter_{number}") for number in range(16)])
    return float(len(optimizer.variables))


QUESTIONS = (
    Question(
        "adapters",
        "You train a layer with LoRA by SGD, which has no state, and save it with `save_weights`. You load the file "
        "into a second layer with LoRA. Then you train both for three steps on the same examples. Which losses do "
        "they have?",
        measure_adapters,
        "`save_weights` writes the kernel with its adapter added, and the loaded adapter has two zero matrices. Both "
        "gradients are products with the other one, so they are zero: the loaded model never learns again.",
        choices=SAME,
        mistakes={SAME[0]: "Both compute the same outputs after loading, but only one of them learns."},
    ),
    Question(
        "arrays",
        "AdamW trains 16 adapters. How many arrays has its state?",
        measure_arrays,
        "Two moments for each adapter, the step count and the learning rate. All of them belong in a checkpoint.",
        mistakes={
            "32": "The step count and the learning rate are arrays as well.",
            "33": "The learning rate is an array as well.",
            "16": "AdamW has two moments for each adapter, and two arrays more.",
        },
    ),
)
