"""Checksums of weights and batches, which must be unchanged when a run resumes or is exported."""

import hashlib
from collections.abc import Sequence

import keras_hub
import ml_dtypes
import numpy as np

from kit.data.reviews import checksum
from kit.run.result import Checksums


def run_checksums(model: keras_hub.models.CausalLM, batches: Sequence[Sequence[str]]) -> Checksums:
    """Return the checksums of the loaded model, and of its batches in their order."""
    return Checksums(checksum(text for batch in batches for text in batch), weights_checksum(model))


def weights_checksum(model: keras_hub.models.CausalLM) -> str:
    """A checksum over the first element of each loaded weight.

    The elements are converted to bfloat16, so that the checksum does not depend on the dtype.
    """
    found = hashlib.sha256()
    for variable in model.backbone.variables:
        if "lora_kernel" not in variable.path:
            # On any mesh the first shard starts with the first element.
            shard = variable.value.addressable_shards[0]
            found.update(np.asarray(shard.data).ravel()[:1].astype(ml_dtypes.bfloat16).tobytes())
    return found.hexdigest()
