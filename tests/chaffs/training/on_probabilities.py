"""TRAINING_LOSS_ON_PROBABILITIES: from_logits is forgotten."""

import keras

from kit.reference.training import finetune, make_train_step  # noqa: F401


def compile_for_finetuning(model, learning_rate, weight_decay):
    optimizer = keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(),
        optimizer=optimizer,
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
