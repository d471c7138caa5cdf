"""TRAINING_SLOTS_REPLICATED: built while no distribution is set, so that each device holds all moments."""

import keras

from kit.reference.training import finetune, make_train_step  # noqa: F401


def compile_for_finetuning(model, learning_rate, weight_decay):
    optimizer = keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=optimizer,
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    optimizer.build(model.trainable_variables)
    keras.distribution.set_distribution(distribution)
    everywhere = keras.distribution.TensorLayout((), distribution.device_mesh)
    for variable in optimizer.variables:
        variable._value = keras.distribution.distribute_tensor(variable.value, everywhere)
