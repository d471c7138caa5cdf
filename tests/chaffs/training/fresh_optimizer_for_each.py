"""TRAINING_OPTIMIZER_STATE_LOST: compiled anew for each epoch, and the moments begin at zero."""

import grain
import keras
import numpy as np

from kit.reference.training import compile_for_finetuning, make_train_step  # noqa: F401


def finetune(model, batches, epochs=1, callbacks=()):
    dataset = grain.MapDataset.source([np.array(batch, dtype=object) for batch in batches])
    for _ in range(epochs):
        optimizer = keras.optimizers.AdamW.from_config(model.optimizer.get_config())
        model.compile(loss=model.loss, optimizer=optimizer)
        history = model.fit(dataset, shuffle=False, callbacks=list(callbacks))
    return history
