"""Reviews and films: the texts that the kit trains on and judges by.

- ``reviews``: sources of reviews, and which of them may be used for what
- ``films``: films and lists of films
- ``tfds``, ``read_tfds``: TensorFlow data sets, and the program that reads one in its own process

This package may import ``runtime`` and what comes before it; nothing here imports JAX or Keras.
"""
