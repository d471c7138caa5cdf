"""TRAINING_DECAYS_NORMS: made anew, and the scales decay."""

import keras

from kit.reference.clinic import nothing_is_split, one_head_on_eight_cores, too_much_on_each_core, twice_the_collectives  # noqa: F401


def moments_on_every_core(model, learning_rate, weight_decay):
    adamw = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    model.compile(adamw, loss=crossentropy, weighted_metrics=[accuracy])
