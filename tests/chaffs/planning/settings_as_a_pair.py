"""WRONG_RETURN_TYPE: a pair."""

from kit.reference.planning import all_reduce_nbytes, argument_nbytes  # noqa: F401


def make_it_fit():
    return (1, 8), "mixed_bfloat16"
