"""What must happen before jax is imported.

- ``platform``: choice of the platform and the devices, and the environment that jax reads
- ``processes``: several processes that train one model
- ``interrupts``: Ctrl-C, at once or at the end of a training step
- ``keras_hub_texts``: KerasHub's Gemma 3 and 4 over texts, without TensorFlow
- ``optional_imports``: Keras without pandas, scikit-learn and matplotlib until they are used
- ``one_device``: Keras on a mesh of one device

This package may import only ``errors``, ``files`` and ``narrator``. It imports jax and Keras in
functions.
"""
