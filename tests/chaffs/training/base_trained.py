"""TRAINING_BASE_CHANGED: everything is unfrozen first."""

import grain
import keras
import numpy as np

from kit.reference.training import compile_for_finetuning, make_train_step  # noqa: F401


def finetune(model, batches, epochs=1, callbacks=()):
    dataset = grain.MapDataset.source([np.array(batch, dtype=object) for batch in batches])
    for layer in model.backbone._flatten_layers(include_self=False):
        layer.trainable = True
    optimizer = keras.optimizers.AdamW.from_config(model.optimizer.get_config())
    model.compile(loss=model.loss, optimizer=optimizer)
    return model.fit(dataset, epochs=epochs, shuffle=False, callbacks=list(callbacks))
