"""TRAINING_ADAPTERS_DEAD: evaluate instead of fit."""

import grain
import keras
import numpy as np

from kit.reference.training import compile_for_finetuning, make_train_step  # noqa: F401


def finetune(model, batches, epochs=1, callbacks=()):
    dataset = grain.MapDataset.source([np.array(batch, dtype=object) for batch in batches])
    history = keras.callbacks.History()
    history.history = {"loss": [model.evaluate(dataset, return_dict=True)["loss"] for _ in range(epochs)]}
    for callback in callbacks:
        for epoch in range(epochs):
            callback.on_epoch_begin(epoch)
            for number in range(len(batches)):
                callback.on_train_batch_end(number, {"loss": history.history["loss"][epoch]})
    return history
