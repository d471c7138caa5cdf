"""TRAINING_SLOTS_REPLICATED: the patient as it came, who puts every moment on every device."""

import keras

from kit.reference.clinic import nothing_is_split, one_head_on_eight_cores, too_much_on_each_core, twice_the_collectives  # noqa: F401


def moments_on_every_core(model, learning_rate, weight_decay):
    adamw = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    adamw.exclude_from_weight_decay(var_names=["scale", "bias"])
    adamw.build(model.trainable_variables)
    mesh = keras.distribution.distribution().device_mesh
    everywhere = keras.distribution.TensorLayout((), mesh)
    for variable in adamw.variables:
        variable._value = keras.distribution.distribute_tensor(variable.value, everywhere)
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    model.compile(adamw, loss=crossentropy, weighted_metrics=[accuracy])
