"""A small program without a line of a learner: if it fails, the machine is at fault.

It runs after a check has crashed outside the lines of the solution, without the cache of compiled
programs.
"""

from typing import Any

from kit.judge.crashes import described

#: The name that stands for it where requests name a check, and its limit in seconds of CPU time.
CANARY = "canary"
CANARY_LIMIT = 60.0


def without_cache() -> None:
    """Let this process compile its programs itself."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)


def run_canary() -> dict[str, Any]:
    """Compile and run a sharded layer. Returns ``fault``, which is empty if the result is right."""
    try:
        return {"fault": _fault()}
    except BaseException as error:  # whatever is wrong here, it is the answer
        return {"fault": described(error)}


def _fault() -> str:
    without_cache()
    import keras
    import numpy as np

    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((1, len(devices)), ["batch", "model"], devices)
    layout_map = keras.distribution.LayoutMap(mesh)
    layout_map[".*kernel"] = (None, "model")
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout_map))
    layer = keras.layers.Dense(8 * len(devices))
    values = np.arange(8, dtype="float32").reshape(2, 4) / 8
    found = np.asarray(layer(values))
    expected = values @ np.asarray(layer.kernel)
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-5, atol=1e-6):
        return "a dense layer of Keras gives wrong numbers"
    return ""
