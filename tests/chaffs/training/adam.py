"""TRAINING_DECAY_IGNORED: Adam, which decays nothing."""

import keras

from kit.reference.training import finetune, make_train_step  # noqa: F401


def compile_for_finetuning(model, learning_rate, weight_decay):
    optimizer = keras.optimizers.Adam(learning_rate=learning_rate)
    optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=optimizer,
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
