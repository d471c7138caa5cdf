"""The exercise ``loading`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.judge.catalogue import Exercise
from kit.parts.protocols import LoadingPart

EXERCISE = Exercise(
    number=3,
    name="loading",
    title="Distributed loading",
    difficulty=1,
    minutes=15,
    prerequisites=("mesh", "layout"),
    contract=LoadingPart,
    learned="Keras places a variable when it is created, so the distribution must be set before the model is loaded.",
    hints=(
        "When does Keras decide where a variable is placed? It decides once, at one moment. Which of the first two "
        "tasks must come first, so that Keras finds the distribution at that moment?",
        "Task 1: keras.distribution.ModelParallel accepts only keywords; see also "
        "keras.distribution.set_distribution. Task 2: keras_hub.models.CausalLM has a class method from_preset. Task "
        "3: the sharding of a JAX array has a spec, which you can convert to a tuple. Compare its length with the "
        "number of dimensions.",
        "Task 1: create the distribution from three arguments: the layout map, the name of the batch axis, and the "
        "flag that turns off the automatic sharding of data sets. Set it as the global distribution and leave it set. "
        "Task 2: return the result of from_preset for the preset and all options. Task 3: convert the spec to a "
        "tuple, append as many None as are missing, and append a row of path, shape and spec.",
    ),
    questions={
        ("spec", "load_distributed", 60): {
            "distribution": "On two meshes, the right distribution must be set before the model is created, and stay "
            "set.",
            "weights": "The weights must be those of the preset, and the model must have its preprocessor.",
            "options": "All options, such as dtype, must reach from_preset.",
        },
        ("spec", "sharding_table", 60): {
            "table": "The table must have path, shape and spec of each variable, and the specs must be those of the "
            "arrays."
        },
    },
    remedies={
        "ModelParallel": {
            "LOADING_WRONG_DISTRIBUTION": 'Set ModelParallel(layout_map=…, batch_dim_name="batch", '
            "auto_shard_dataset=False)."
        },
        "From the preset": {
            "LOADING_WEIGHTS_MISSING": "Let from_preset load the weights.",
            "LOADING_NO_PREPROCESSOR": "Load a CausalLM with from_preset, which brings its preprocessor.",
            "LOADING_OPTIONS_IGNORED": "Pass **from_preset_options on to from_preset.",
        },
        "What the arrays say": {
            "SHARDING_TABLE_WRONG": "Read variable.value.sharding.spec, convert it to a tuple, and append None for "
            "missing dimensions."
        },
    },
)
