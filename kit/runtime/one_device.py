"""Keras on a mesh of one device, such as a single GPU."""

from typing import Any


def keep_variables_on_the_mesh() -> None:
    """Put the arrays of a mesh of one device on that mesh, as on several devices.

    Keras (3.15.1) does not move an array whose sharding is equivalent to the layout, and on one
    device any sharding is. Arrays from outside the mesh, such as LoRA's matrices, moments and
    metrics, then stay uncommitted, but a step returns committed arrays. So JAX compiles the step
    again after the first step and after the first of each epoch; on a GPU these programs differ in
    the last bits. And Keras warns of "a mix of local and distributed variables".
    """
    import jax
    from keras.distribution import TensorLayout
    from keras.src.backend.jax import distribution_lib

    distribute = distribution_lib.distribute_tensor
    if hasattr(distribute, "keeps_on_the_mesh"):
        return

    def distribute_tensor(tensor: Any, layout: Any) -> Any:
        found = distribute(tensor, layout)
        if isinstance(layout, TensorLayout):
            layout = layout.backend_layout
        outside = not isinstance(found, jax.core.Tracer) and isinstance(
            getattr(found, "sharding", None), jax.sharding.SingleDeviceSharding
        )
        return jax.device_put(found, layout) if outside else found

    distribute_tensor.keeps_on_the_mesh = True  # type: ignore[attr-defined]  # patch only once
    distribution_lib.distribute_tensor = distribute_tensor
