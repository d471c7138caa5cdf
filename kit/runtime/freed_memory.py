"""Memory that glibc keeps for the next training step."""

import ctypes

#: Parameters of `mallopt` in <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Let glibc keep memory that was freed; returns whether the C library can do it.

    XLA allocates the temporary arrays of a step on the CPU and frees them after it. glibc returns
    such large blocks to the system at once, which then clears each page of the next step's: on one
    device that is about a sixth of its time (docs/running.md). It must be called before jax starts
    its threads, which would otherwise have pools of their own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_ARENA_MAX: 1}
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())
