"""PLANNING_DOES_NOT_LEARN: half the bytes for all that is held, and AdamW moves no weight."""

from kit.reference.planning import all_reduce_nbytes, argument_nbytes  # noqa: F401


def make_it_fit():
    return {"mesh": (1, 8), "dtype": "bfloat16", "batch_size": 64, "remat": True}
