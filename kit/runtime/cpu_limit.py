"""A limit on the CPU time of this process, in which some work does not count.

A busy machine slows a process down and does not make it use more CPU time, so a limit on this time
stops endless loops only. The process ends by SIGXCPU.
"""

import contextlib
import math
import resource
from collections.abc import Iterator


def limit_cpu(seconds: float) -> None:
    """Let this process use so much more CPU time, all its threads together, in whole seconds."""
    _set_limit(_used() + seconds)


@contextlib.contextmanager
def not_counted() -> Iterator[None]:
    """Lift the limit meanwhile, and extend it by the CPU time that was used."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CPU)
    if soft == resource.RLIM_INFINITY:
        yield
        return
    before = _used()
    _set_limit(math.inf)
    try:
        yield
    finally:
        _set_limit(soft + _used() - before)


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _set_limit(seconds: float) -> None:
    """Only the soft limit, which an ordinary user can raise again."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = hard if math.isinf(seconds) else math.ceil(seconds)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
