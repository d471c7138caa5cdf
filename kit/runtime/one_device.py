"""Keras on a mesh of one device, such as a single GPU."""

from typing import Any


def keep_variables_on_the_mesh() -> None:
    """Have variables of a mesh of one device hold arrays of that mesh, as they do on several devices.

    Keras (3.15.1) leaves an array where it is if its sharding is equivalent to the layout, and on one device any sharding is. What is made
    outside of the mesh, such as LoRA's matrices, moments and metrics, then stays uncommitted, while what a step returns is committed. So JAX
    compiles the step a second time after the first step and once more after each epoch's first, and on a GPU the programs differ in the last
    bits; and Keras warns of "a mix of local and distributed variables".
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

    distribute_tensor.keeps_on_the_mesh = True  # type: ignore[attr-defined]  # so that it is not done twice
    distribution_lib.distribute_tensor = distribute_tensor
