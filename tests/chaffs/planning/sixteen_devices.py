"""NOT_AS_EXPECTED: a mesh that the slice has no devices for."""

from kit.reference.planning import all_reduce_nbytes, argument_nbytes  # noqa: F401


def make_it_fit():
    return {"mesh": (2, 8), "dtype": "mixed_bfloat16", "batch_size": 64, "remat": True}
