"""Locks that no model was measured for."""

from kit.lock.content import Collectives, Compiled, Lock, LockedRule, Source, Variables

MATRIX = (4096, 1024)
UP, DOWN, NORM = "block_N/up/kernel", "block_N/down/kernel", "block_N/norm/scale"


def row(path: str, count: int = 28, shards: int = 8, shape: tuple[int, ...] = MATRIX) -> Variables:
    nbytes = count * 4 * shape[0] * (shape[1] if len(shape) > 1 else 1) // shards
    return Variables(path, shape, "float32", count, nbytes, 3 * nbytes)


def rule(pattern: str, spec: tuple[str | None, ...], *rows: Variables) -> LockedRule:
    return LockedRule(pattern, spec, sum(one.nbytes_per_device * 8 for one in rows), rows)


RIGHT = Lock(
    Source("my_model.py:make_model", "8x512"),
    {"jax": "0.10.2"},
    {"batch": 1, "model": 8},
    "batch",
    parameters=1000,
    trainable=1000,
    rules=(rule(".*/up/kernel", (None, "model"), row(UP)), rule(".*/down/kernel", ("model", None), row(DOWN))),
    unmatched=(row(NORM, shards=1, shape=(4096,)),),
)


def compiled(*collectives: Collectives, peak: int = 10**10, fits: bool = True) -> tuple[Compiled, ...]:
    return (Compiled("v5e-8", fits, peak, 5 * 10**9, 16 * 10**9, collectives),)
