"""The exercise ``loading`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.checks.codes import Code
from kit.judge.catalogue import Check, Exercise
from kit.parts.protocols import LoadingPart

EXERCISE = Exercise(
    number=3,
    name="loading",
    title="Distributed loading",
    difficulty=1,
    minutes=15,
    prerequisites=("mesh", "layout"),
    contract=LoadingPart,
    hints=(
        "When does a variable of Keras learn where it is to be? Once, at one moment. Which of the "
        "two tasks must come first, so that this moment finds what it needs?",
        "Task 1: keras.distribution.ModelParallel, which takes keywords only, and "
        "keras.distribution.set_distribution. Task 2: keras_hub.models.CausalLM has a class "
        "method from_preset. Task 3: the sharding of a JAX array has a spec, which can be made a "
        "tuple; compare its length with the number of dimensions.",
        "Make the distribution of three things: the layout map, the name of the axis that the "
        "batch goes over, and that data are not shared out automatically. Make it the global one, "
        "and do not take it back. Then return what from_preset gives for the preset and all of "
        "the options. In the loop: the spec as a tuple, with as many None behind it as are "
        "missing, in a row after the path and the shape.",
    ),
    checks=(
        Check(
            "distribution",
            "spec",
            "load_distributed",
            limit=60,
            asks="The distribution is set before the model is made, is the right one, and stays set.",
        ),
        Check(
            "weights",
            "spec",
            "load_distributed",
            limit=60,
            asks="The weights are those of the preset.",
        ),
        Check(
            "options",
            "spec",
            "load_distributed",
            limit=60,
            asks="Options such as dtype reach from_preset.",
        ),
        Check(
            "table",
            "spec",
            "sharding_table",
            limit=60,
            asks="The table has path, shape and spec of each variable, as its array says.",
        ),
    ),
    codes={
        "LOADING_WRONG_DISTRIBUTION": Code(
            'Set ModelParallel(layout_map=…, batch_dim_name="batch", auto_shard_dataset=False).',
            "ModelParallel",
        ),
        "LOADING_WEIGHTS_MISSING": Code(
            "Let from_preset load the weights.",
            "From the preset",
        ),
        "LOADING_OPTIONS_IGNORED": Code(
            "Pass **from_preset_options on to from_preset.",
            "From the preset",
        ),
        "SHARDING_TABLE_WRONG": Code(
            "Ask variable.value.sharding.spec, make a tuple of it, and fill that up with None.",
            "What the arrays say",
        ),
    },
)
