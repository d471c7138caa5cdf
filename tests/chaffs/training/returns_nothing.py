"""WRONG_RETURN_TYPE: the history is dropped."""

import grain
import numpy as np

from kit.reference.training import compile_for_finetuning, make_train_step  # noqa: F401


def finetune(model, batches, epochs=1, callbacks=()):
    dataset = grain.MapDataset.source([np.array(batch, dtype=object) for batch in batches])
    model.fit(dataset, epochs=epochs, shuffle=False, callbacks=list(callbacks))
