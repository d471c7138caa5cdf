"""NOT_AS_EXPECTED: a batch that its axis does not divide."""

from kit.reference.planning import all_reduce_nbytes, argument_nbytes  # noqa: F401


def make_it_fit():
    return {"mesh": (8, 1), "dtype": "mixed_bfloat16", "batch_size": 65, "remat": True}
