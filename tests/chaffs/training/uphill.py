"""TRAINING_OFF_THE_TWIN: the loss is weighted with -1 and goes up."""

import keras

from kit.reference.training import finetune, make_train_step  # noqa: F401


def compile_for_finetuning(model, learning_rate, weight_decay):
    optimizer = keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=optimizer,
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
        loss_weights=-1.0,
    )
