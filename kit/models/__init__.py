"""Presets and how to load them, true-size architectures, and models without weights.

- ``presets``: the bundled preset, a folder, or a name on Kaggle or Hugging Face, read and checked
- ``kaggle``: files of presets from Kaggle
- ``huggingface``: models from Hugging Face
- ``transformers_format``: models in the format of Hugging Face's transformers
- ``text_only``: the text part of a preset that also takes images, video or audio
- ``settings``: the settings of a fine-tuning run, whose defaults come with the preset
- ``architectures``, ``encoders``: published sizes of Gemma models, and of their encoders
- ``blocks``: the kinds of a model's decoder blocks, and models with fewer of them
- ``weightless``: models whose variables have shapes but no values
- ``sharded_loading``: loading that gives each device its slice of each tensor
- ``preprocessor``: a preprocessor that several threads can use
- ``known_layouts``: layouts for models that the tutorial's does not fit, and fully sharded ones
- ``bundled``: the bundled preset; ``kit dev pretrain`` makes it

This package may import ``data``, ``runtime`` and what comes before them; it never imports ``parts``
or what comes after it.
"""
