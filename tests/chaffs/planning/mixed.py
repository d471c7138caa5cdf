"""PLANNING_DOES_NOT_FIT: mixed_bfloat16, which keeps weights and moments in float32."""

from kit.reference.planning import all_reduce_nbytes, argument_nbytes  # noqa: F401


def make_it_fit():
    return {"mesh": (1, 8), "dtype": "mixed_bfloat16", "batch_size": 16, "remat": True}
