"""Layout maps and an optimizer with a mistake that the loss does not show."""

import keras
import keras_hub


def too_much_on_each_core(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """Return a layout map that shards every matrix of Gemma, with and without LoRA.

    The layout map that you fix comes from a public notebook. Symptoms: the loss is the same in all
    digits. Each core of a v3-8 holds 11.67 GB of Gemma 7B instead of 4.27 GB. Every rule matches
    something.

    Args:
        device_mesh: A mesh with axes "batch" and "model".

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # region task 1
    #: Write rules under which no matrix is replicated. The notebook has these rules:
    #:     layout_map[".*embeddings"] = ("model", None)
    #:     layout_map[".*(query|key|value).kernel"] = ("model", None, None)
    #:     layout_map[".*attention_output.kernel"] = ("model", None, None)
    #:     layout_map[".*ffw_gating.kernel"] = (None, "model")
    #:     layout_map[".*ffw_linear.kernel"] = ("model", None)
    layout_map.update(
        {
            r".*/embeddings": ("model", None),
            r".*/attention/\w+/kernel": ("model", None, None),
            # The first and the second gating matrix.
            r".*/ffw_gating(_2)?/kernel": (None, "model"),
            r".*/ffw_linear/kernel": ("model", None),
        }
    )
    # endregion
    return layout_map


def twice_the_collectives(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """Return a layout map that splits each matrix along the dimension that costs least.

    The layout map that you fix was copied from printed specs. Symptoms: the loss and the bytes on
    each core are the same. The compiled step has about twice as many all-reduces as necessary.

    Args:
        device_mesh: A mesh with axes "batch" and "model".

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # region task 2
    #: Write rules, with these patterns or others, that split the dimension that costs least.
    #: The old rules are:
    #:     layout_map[".*embeddings"] = ("model", None)
    #:     layout_map[".*(query|key|value)/kernel"] = (None, "model", None)
    #:     layout_map[".*attention_output/kernel"] = (None, None, "model")
    #:     layout_map[".*ffw_gating(_2)?/kernel"] = ("model", None)
    #:     layout_map[".*ffw_linear/kernel"] = (None, "model")
    layout_map.update(
        {
            r".*/embeddings": ("model", None),
            # The heads are the first dimension of all four kernels.
            r".*/attention/\w+/kernel": ("model", None, None),
            r".*/ffw_gating(_2)?/kernel": (None, "model"),
            r".*/ffw_linear/kernel": ("model", None),
        }
    )
    # endregion
    return layout_map


def nothing_is_split(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """Return a layout map whose rules match in the current version of Keras.

    The layout map that you fix worked for years. Symptoms: since an update from Keras 3.13, each
    core of a v3-8 has to hold all of Gemma 7B, 34.15 GB, instead of 4.27 GB. No line of this file
    changed.

    Args:
        device_mesh: A mesh with axes "batch" and "model".

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # region task 3
    #: Write rules that match in the current version of Keras. The old rules are:
    #:     layout_map["token_embedding"] = ("model", None)
    #:     layout_map["(query|key|value)/kernel"] = ("model", None, None)
    #:     layout_map["attention_output/kernel"] = ("model", None, None)
    #:     layout_map["ffw_gating"] = (None, "model")
    #:     layout_map["ffw_linear"] = ("model", None)
    layout_map.update(
        {
            r"token_embedding/embeddings": ("model", None),
            # The whole path, from its beginning to its end, so that no adapter matches.
            r"decoder_block_\d+/attention/\w+/kernel": ("model", None, None),
            r"decoder_block_\d+/ffw_gating(_2)?/kernel": (None, "model"),
            r"decoder_block_\d+/ffw_linear/kernel": ("model", None),
        }
    )
    # endregion
    return layout_map


def one_head_on_eight_cores(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """Return a layout map for Gemma 2B, which has 8 query heads and one key and value head.

    The layout map that you fix is right for Gemma 7B. Symptoms: on the meshes (1, 8) and (2, 4)
    Keras cannot build the model and raises a ValueError.

    Args:
        device_mesh: A mesh with axes "batch" and "model". The axis "model" has 2 to 8 devices.

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # region task 4
    #: Write rules for Gemma 2B under which a step sends the fewest bytes. The rules for
    #: Gemma 7B are:
    #:     layout_map[".*embeddings"] = ("model", None)
    #:     layout_map[".*(query|key|value|attention_output)/kernel"] = ("model", None, None)
    #:     layout_map[".*ffw_gating(_2)?/kernel"] = (None, "model")
    #:     layout_map[".*ffw_linear/kernel"] = ("model", None)
    layout_map.update(
        {
            r".*/embeddings": ("model", None),
            # Key and value have one head, which all query heads need: no rule matches them, so both
            # are replicated.
            r".*/attention/(query|attention_output)/kernel": ("model", None, None),
            r".*/ffw_gating(_2)?/kernel": (None, "model"),
            r".*/ffw_linear/kernel": ("model", None),
        }
    )
    # endregion
    return layout_map


def moments_on_every_core(model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float) -> None:
    """Compile the model so that the optimizer state is sharded like the variables.

    The code that you fix was written after an error about "incompatible devices". Symptoms: the
    loss is the same. When all parameters are trained, a core holds an eighth of the weights but all
    moments, which are twice as large as the whole model.

    Args:
        model: The model, under a distribution that is set, with or without LoRA.
        learning_rate: Constant learning rate of AdamW.
        weight_decay: Weight decay of AdamW, not for biases and normalization scales.

    """
    # region task 5
    #: Compile the model so that each moment is sharded like its variable. The old code is:
    #:     adamw = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    #:     adamw.exclude_from_weight_decay(var_names=["scale", "bias"])
    #:     adamw.build(model.trainable_variables)
    #:     mesh = keras.distribution.distribution().device_mesh
    #:     everywhere = keras.distribution.TensorLayout((), mesh)
    #:     for variable in adamw.variables:
    #:         variable._value = keras.distribution.distribute_tensor(variable.value, everywhere)
    #:     crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    #:     accuracy = keras.metrics.SparseCategoricalAccuracy()
    #:     model.compile(adamw, loss=crossentropy, weighted_metrics=[accuracy])
    optimizer = keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
    # Keras builds the optimizer later, under the distribution that is set. Then each moment takes
    # the layout of its variable.
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    # endregion
