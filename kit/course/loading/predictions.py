"""Questions about loading onto several devices, and their measurements. Imports no framework."""

from kit.course.predictions import Question


def measure_early_shards() -> float:
    """Shards of the kernel of a layer that is built before the distribution is set."""
    import keras
    from keras import distribution

    mesh = distribution.DeviceMesh((8,), ["shards"], distribution.list_devices())
    layout_map = distribution.LayoutMap(mesh)
    layout_map["toy/kernel"] = (None, "shards")
    early = keras.layers.Dense(64, name="toy")
    early.build((None, 16))
    distribution.set_distribution(distribution.ModelParallel(layout_map=layout_map))
    try:
        late = keras.layers.Dense(64, name="toy")
        late.build((None, 16))
    finally:
        distribution.set_distribution(None)
    # A second layer with the distribution has all shards, so the rule does match.
    assert len(late.kernel.value.addressable_shards) == 8
    return float(len(early.kernel.value.addressable_shards))


def measure_all_reduces() -> float:
    """All-reduces in the compiled forward pass of the bundled model, on the mesh 1 x 8."""
    import jax
    import keras
    import keras_hub

    from kit.course.shared.tensor_parallel import device_mesh, model_parallel, split_paths, tensor_parallel_map
    from kit.evidence.program import collectives
    from kit.models.presets import BUNDLED_FOLDER

    keras.distribution.set_distribution(model_parallel(tensor_parallel_map(device_mesh(1, 8), split_paths(4))))
    try:
        model = keras_hub.models.CausalLM.from_preset(str(BUNDLED_FOLDER))
        x, _, _ = model.preprocessor(["A film."] * 2)
        weights = [variable.value for variable in model.trainable_variables]
        program = jax.jit(model.stateless_call).lower(weights, [], x).compile()
    finally:
        keras.distribution.set_distribution(None)
    return float(collectives(program.as_text() or "").by_kind()["all-reduce"][0])


QUESTIONS = (
    Question(
        "early_shards",
        "You build a layer, then set a distribution over 8 devices whose rule matches the layer's kernel. How many "
        "shards does the kernel of this layer have?",
        measure_early_shards,
        "A distribution applies to variables that are made after it is set. The kernel stays where it is, in one "
        "piece. Nothing reports it.",
        mistakes={"8": "That is so for a layer that is built after the distribution is set."},
    ),
    Question(
        "all_reduces",
        "Each block needs one all-reduce after the attention and one after the feed-forward, and the embeddings are "
        "split along the vocabulary. How many all-reduces has the forward pass of a model of 4 blocks?",
        measure_all_reduces,
        "Two for each of 4 blocks, and one after the lookup in the embeddings, of which each device holds some rows.",
        mistakes={"8": "You left out the lookup in the embeddings."},
    ),
)
