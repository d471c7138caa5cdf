"""Merged adapters: how much of their updates survives in the kernels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class KernelUpdate:
    """A kernel before its adapter is merged, and the update that the adapter adds."""

    layer: Any
    #: float32, of the kernel's shape.
    before: np.ndarray
    #: scale A B, float32, of the kernel's shape.
    update: np.ndarray


def kernel_updates(model: keras.Model) -> list[KernelUpdate]:
    """What each adapter of a model adds to its kernel; call it before you merge them."""
    found = []
    for layer in model._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            a, b = (_as_float32(matrix) for matrix in (layer.lora_kernel_a, layer.lora_kernel_b))
            update = (layer.lora_alpha / layer.lora_rank) * np.matmul(a, b)
            found.append(KernelUpdate(layer, _as_float32(layer._kernel), update))
    return found


def update_kept(updates: Sequence[KernelUpdate]) -> float:
    """The share of the updates that the kernels have now: 1 is all, 0 is nothing.

    The least-squares solution k of ``kernel - before = k * update`` over all kernels. A bfloat16
    kernel is rounded, so that small updates survive in part. Raises ValueError if all updates are
    zero, or if there are none.
    """
    moved = wanted = 0.0
    for each in updates:
        change = (_as_float32(each.layer._kernel) - each.before).astype("float64")
        moved += float(np.sum(change * each.update))
        wanted += float(np.sum(each.update.astype("float64") ** 2))
    if not wanted:
        raise ValueError(f"The updates of {len(updates)} adapters are zero.")
    return moved / wanted


def _as_float32(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable.value), dtype="float32")
