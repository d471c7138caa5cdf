"""Measures a model, a layout and a run.

Only ``check_coverage`` refuses a layout map, as Keras would.

- ``rule_coverage``: what each rule of a layout map matches
- ``placement``: where the arrays of a model are
- ``adapters``, ``merging``: LoRA in a model, and how much of its update survives merging
- ``program``, ``hlo``, ``attribution``: collectives of a compiled program, and the rules that cause
  these collectives
- ``loaded_programs``: the programs that this process has compiled, with their bytes
- ``invariance``: the training of a model on a mesh and on one device
- ``train_step``: the training step of any compiled model, lowered for a mesh without its values
- ``training_probe``: losses, gradients and what moves in a few steps on copies of the state
- ``stored_weights``: what files of weights hold for each variable
- ``resumption``, ``device_order``: training that is resumed; training on devices in another order
- ``unsharded_twin``: the same training on one device, without Keras' losses and optimizers
- ``style``, ``style_verdict``: list, review or neither, by a classifier of what a model writes
- ``text_forms``: the form of a text: a list, prose, repetition

This package may import ``models``, ``data`` and what comes before them; it never imports
``checks``, ``judge`` or ``course``.
"""
