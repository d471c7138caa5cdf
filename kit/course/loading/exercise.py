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
        "When does Keras decide where a variable is placed? It decides once, at one moment. Which of the "
        "first two tasks must come first, so that Keras finds the distribution at that moment?",
        "Task 1: keras.distribution.ModelParallel accepts only keywords; see also "
        "keras.distribution.set_distribution. Task 2: keras_hub.models.CausalLM has a class method "
        "from_preset. Task 3: the sharding of a JAX array has a spec, which you can convert to a tuple. "
        "Compare its length with the number of dimensions.",
        "Task 1: create the distribution from three arguments: the layout map, the name of the batch "
        "axis, and the flag that turns off the automatic sharding of data sets. Set it as the global "
        "distribution and leave it set. Task 2: return the result of from_preset for the preset and all "
        "options. Task 3: convert the spec to a tuple, append as many None as are missing, and append a "
        "row of path, shape and spec.",
    ),
    checks=(
        Check(
            "distribution",
            "spec",
            "load_distributed",
            limit=60,
            asks="The distribution is set before the model is created, is the right one, and stays set.",
        ),
        Check("weights", "spec", "load_distributed", limit=60, asks="The weights are those of the preset."),
        Check("options", "spec", "load_distributed", limit=60, asks="Options such as dtype reach from_preset."),
        Check(
            "table",
            "spec",
            "sharding_table",
            limit=60,
            asks="The table has path, shape and spec of each variable, and the specs are those of the arrays.",
        ),
    ),
    codes={
        "LOADING_WRONG_DISTRIBUTION": Code(
            'Set ModelParallel(layout_map=…, batch_dim_name="batch", auto_shard_dataset=False).', "ModelParallel"
        ),
        "LOADING_WEIGHTS_MISSING": Code("Let from_preset load the weights.", "From the preset"),
        "LOADING_OPTIONS_IGNORED": Code("Pass **from_preset_options on to from_preset.", "From the preset"),
        "SHARDING_TABLE_WRONG": Code(
            "Read variable.value.sharding.spec, convert it to a tuple, and append None for missing dimensions.",
            "What the arrays say",
        ),
    },
)
