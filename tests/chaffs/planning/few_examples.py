"""PLANNING_TOO_FEW_TOKENS: the tutorial's two examples."""

from kit.reference.planning import all_reduce_nbytes, argument_nbytes  # noqa: F401


def make_it_fit():
    return {"mesh": (1, 8), "dtype": "mixed_bfloat16", "batch_size": 2, "remat": False}
