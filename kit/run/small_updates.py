"""Training in bfloat16: adapters are added in float32 so that small updates survive rounding."""

import importlib.util

import keras_hub

from kit.parts.implementation import REFERENCE, Parts, find_parts

#: The exercise and its function that a run in bfloat16 uses.
EXERCISE, FUNCTION = "precision", "add_adapters_in_float32"


def keep_small_updates(model: keras_hub.models.CausalLM, parts: Parts, dtype: str, rank: int) -> str:
    """For a model that computes in bfloat16, add the adapters to the outputs in float32.

    Call it between ``enable_lora`` and ``compile``, also before a run resumes. Variables keep their
    values. The parts' ``add_adapters_in_float32`` is used if it is implemented, otherwise the
    reference's, if this copy of the kit has it. In float32, and without adapters, the model is not
    changed.

    Returns a sentence for the user, or "". Raises UserError if the module ``precision`` of the
    parts is not Python or does not import.
    """
    if dtype == "float32":
        return ""
    if not rank:
        return warning_for_all_parameters(dtype)
    source = _implementation(parts)
    if source is None:
        return (
            f"warning: {EXERCISE}.{FUNCTION} is not implemented, and this copy of the kit has no kit/reference: Keras "
            "adds each adapter to its kernel in bfloat16, where an update below 1/512 of an entry is lost."
        )
    getattr(source.module(EXERCISE), FUNCTION)(model)
    return f"{dtype}: adapters are added to outputs in float32, which are then rounded ({source.shown(EXERCISE)})"


def warning_for_all_parameters(dtype: str) -> str:
    """A warning about training all parameters in this dtype; "" if there is none."""
    if dtype != "bfloat16":
        return ""
    return (
        "warning: in bfloat16 AdamW moves no weight. Keras computes its bias correction 1 - 0.999^step in the dtype "
        "of the weights, where 0.999 is 1, so each step is 0: use --dtype mixed_bfloat16, which keeps weights and "
        "moments in float32."
    )


def _implementation(parts: Parts) -> Parts | None:
    """The parts if they implement the function, otherwise the reference, if there is one."""
    has_module = parts.name != REFERENCE and parts.file_of(EXERCISE).is_file()
    if has_module and not parts.is_open(EXERCISE, FUNCTION) and hasattr(parts.module(EXERCISE), FUNCTION):
        return parts
    found = importlib.util.find_spec("kit.reference") and importlib.util.find_spec(f"kit.reference.{EXERCISE}")
    return find_parts(REFERENCE) if found else None
