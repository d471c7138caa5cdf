"""TRAINING_OFF_THE_TWIN: the words of each text are turned round."""

import grain
import numpy as np

from kit.reference.training import compile_for_finetuning, make_train_step  # noqa: F401


def finetune(model, batches, epochs=1, callbacks=()):
    dataset = grain.MapDataset.source(
        [np.array([" ".join(text.split()[::-1]) for text in batch], dtype=object) for batch in batches]
    )
    return model.fit(dataset, epochs=epochs, shuffle=False, callbacks=list(callbacks))
