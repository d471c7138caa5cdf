"""TRAINING_DECAYS_NORMS: nothing is excluded."""

import keras

from kit.reference.training import finetune, make_train_step  # noqa: F401


def compile_for_finetuning(model, learning_rate, weight_decay):
    optimizer = keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=optimizer,
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
