"""Layouts and an optimizer that people wrote: each trains well to look at, and something is wrong with it."""

import keras
import keras_hub


def too_much_on_each_core(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """The layout map of a public notebook, for Gemma with and without LoRA.

    Symptoms: the loss is the same to the last digit. Each core of a v3-8 holds 11.67 GB of Gemma 7B, and not 4.27 GB. No
    rule is idle.

    Args:
        device_mesh: A mesh with axes "batch" and "model".

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # Task 1: Write rules under which no matrix is held whole. These are the notebook's:
    #     layout_map[".*embeddings"] = ("model", None)
    #     layout_map[".*(query|key|value).kernel"] = ("model", None, None)
    #     layout_map[".*attention_output.kernel"] = ("model", None, None)
    #     layout_map[".*ffw_gating.kernel"] = (None, "model")
    #     layout_map[".*ffw_linear.kernel"] = ("model", None)
    raise NotImplementedError("clinic, task 1")
    return layout_map


def twice_the_collectives(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """A layout map that somebody wrote down from specs that were printed elsewhere.

    Symptoms: the loss is the same, and so are the bytes that each core holds. The compiled step has about twice as many
    all-reduces as it needs.

    Args:
        device_mesh: A mesh with axes "batch" and "model".

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # Task 2: Write rules with the same patterns, or others, that split the dimension which costs least. These are the person's:
    #     layout_map[".*embeddings"] = ("model", None)
    #     layout_map[".*(query|key|value)/kernel"] = (None, "model", None)
    #     layout_map[".*attention_output/kernel"] = (None, None, "model")
    #     layout_map[".*ffw_gating(_2)?/kernel"] = ("model", None)
    #     layout_map[".*ffw_linear/kernel"] = (None, "model")
    raise NotImplementedError("clinic, task 2")
    return layout_map


def nothing_is_split(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """A layout map that served well for years.

    Symptoms: since Keras was updated from 3.13, each core of a v3-8 is to hold all of Gemma 7B, 34.15 GB, and not 4.27 GB. Not
    a line of this file was changed.

    Args:
        device_mesh: A mesh with axes "batch" and "model".

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # Task 3: Write rules that match in the Keras of today. These are the person's:
    #     layout_map["token_embedding"] = ("model", None)
    #     layout_map["(query|key|value)/kernel"] = ("model", None, None)
    #     layout_map["attention_output/kernel"] = ("model", None, None)
    #     layout_map["ffw_gating"] = (None, "model")
    #     layout_map["ffw_linear"] = ("model", None)
    raise NotImplementedError("clinic, task 3")
    return layout_map


def one_head_on_eight_cores(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """A layout map that is right for Gemma 7B, given to Gemma 2B, which has 8 query heads and one for key and value.

    Symptoms: on the meshes (1, 8) and (2, 4) the model is not even made; Keras raises a ValueError.

    Args:
        device_mesh: A mesh with axes "batch" and "model", whose model axis has 2 to 8 devices.

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # Task 4: Write rules for Gemma 2B, under which a step sends least. These are those of Gemma 7B:
    #     layout_map[".*embeddings"] = ("model", None)
    #     layout_map[".*(query|key|value|attention_output)/kernel"] = ("model", None, None)
    #     layout_map[".*ffw_gating(_2)?/kernel"] = (None, "model")
    #     layout_map[".*ffw_linear/kernel"] = ("model", None)
    raise NotImplementedError("clinic, task 4")
    return layout_map


def moments_on_every_core(model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float) -> None:
    """Compile for tuning, by somebody who was told of "incompatible devices" once, and has been careful since.

    Symptoms: the loss is the same. When all parameters are tuned, the weights of a core are an eighth of the model, and the
    moments are twice the whole model.

    Args:
        model: The model, under a distribution that is set, with LoRA enabled or not.
        learning_rate: Of AdamW, constant.
        weight_decay: Of AdamW; biases and normalization scales are left out of it.

    """
    # Task 5: Compile the model, so that each moment lies where its variable lies. This is the person's:
    #     adamw = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    #     adamw.exclude_from_weight_decay(var_names=["scale", "bias"])
    #     adamw.build(model.trainable_variables)
    #     mesh = keras.distribution.distribution().device_mesh
    #     everywhere = keras.distribution.TensorLayout((), mesh)
    #     for variable in adamw.variables:
    #         variable._value = keras.distribution.distribute_tensor(variable.value, everywhere)
    #     crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    #     accuracy = keras.metrics.SparseCategoricalAccuracy()
    #     model.compile(adamw, loss=crossentropy, weighted_metrics=[accuracy])
    raise NotImplementedError("clinic, task 5")
