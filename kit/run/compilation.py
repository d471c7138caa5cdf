"""Shows in a work that XLA compiles a program, and for how long it has."""

import contextlib
import time
from collections.abc import Iterator

import jax.monitoring

from kit.narrator import Work

#: JAX's events: the program is ready for XLA, and XLA has compiled it.
_LOWERED, _COMPILED = "/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration"
#: Many small programs are compiled in less time.
LEAST_SECONDS = 1.0


@contextlib.contextmanager
def compilation_shown(work: Work) -> Iterator[None]:
    """Within this context the work's detail is "compiling for 12 s" while XLA compiles.

    Whoever counts what is done replaces the detail, so it is shown until something is done.
    """
    since: float | None = None

    def heard(event: str, duration_secs: float, **kwargs: str | int) -> None:
        nonlocal since
        if event == _LOWERED:
            since = time.perf_counter()
        elif event == _COMPILED:
            since = None

    def detail() -> str:
        seconds = 0.0 if since is None else time.perf_counter() - since
        return f"compiling for {seconds:.0f} s" if seconds >= LEAST_SECONDS else ""

    work.detail = detail
    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)
        if work.detail is detail:
            work.detail = ""
