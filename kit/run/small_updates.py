"""Tuning in bfloat16: what is done so that small updates arrive, and what is said where they cannot."""

import importlib.util
from typing import Any

from kit.parts.implementation import REFERENCE, Parts, find_parts

#: The exercise, and the function of it, that a run in bfloat16 is made with.
EXERCISE, FUNCTION = "precision", "add_adapters_in_float32"


def keep_small_updates(model: Any, parts: Parts, dtype: str, rank: int) -> str:
    """Let the adapters of a model that computes in bfloat16 be added in float32, and say so.

    It is called between ``enable_lora`` and ``compile``, also before a run is resumed; variables are what they were.

    Args:
        model: The causal language model, with LoRA enabled if there is a rank.
        parts: Whose ``add_adapters_in_float32`` is taken if it is written; else the reference's, if this copy of the kit has it.
        dtype: "float32", "bfloat16" or "mixed_bfloat16", that the model is made with. In float32 nothing is done.
        rank: Of LoRA; 0 tunes all parameters.

    Returns:
        A sentence for who reads the run; empty if there is nothing to say.

    Raises:
        UserError: if the parts have a module ``precision`` that is not Python or does not import.

    """
    if dtype == "float32":
        return ""
    if not rank:
        return warning_for_all_parameters(dtype)
    source = _who_has_it(parts)
    if source is None:
        return (
            "warning: this copy of the kit has no kit/reference, and precision.add_adapters_in_float32 is still to be written: "
            "Keras adds each adapter to its kernel in bfloat16, where an update below 1/512 of an entry is lost."
        )
    getattr(source.module(EXERCISE), FUNCTION)(model)
    return f"{dtype}: adapters are added to outputs in float32, which are then rounded ({source.shown(EXERCISE)})"


def warning_for_all_parameters(dtype: str) -> str:
    """What tuning all parameters loses in this dtype, as a sentence; empty where that is nothing."""
    if dtype != "bfloat16":
        return ""
    return (
        "warning: in bfloat16 AdamW moves no weight. Keras corrects its second moment by 1 - 0.999^step in the dtype of the weights, where "
        "0.999 is 1, so each step is 0: take --dtype mixed_bfloat16, which keeps weights and moments in float32."
    )


def _who_has_it(parts: Parts) -> Parts | None:
    """The parts themselves, the reference, or nobody."""
    if parts.name != REFERENCE and parts.file_of(EXERCISE).is_file():
        if not parts.is_open(EXERCISE, FUNCTION) and hasattr(parts.module(EXERCISE), FUNCTION):
            return parts
    there = importlib.util.find_spec("kit.reference") and importlib.util.find_spec(f"kit.reference.{EXERCISE}")
    return find_parts(REFERENCE) if there else None
