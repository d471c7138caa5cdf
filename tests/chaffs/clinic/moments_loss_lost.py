"""TRAINING_LOSS_ON_PROBABILITIES: the optimizer is healed, and the loss is another."""

import keras

from kit.reference.clinic import nothing_is_split, one_head_on_eight_cores, too_much_on_each_core, twice_the_collectives  # noqa: F401


def moments_on_every_core(model, learning_rate, weight_decay):
    adamw = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    adamw.exclude_from_weight_decay(var_names=["scale", "bias"])
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    model.compile(adamw, loss="sparse_categorical_crossentropy", weighted_metrics=[accuracy])
