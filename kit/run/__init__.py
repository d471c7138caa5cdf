"""The tutorial end to end, over any parts.

``pipeline`` lists the steps, ``steps`` has them, ``state`` is what they share. ``options`` is what
a run is asked for, ``folder``, ``interrupted`` and ``finished`` its folder, ``recorder`` the
callback of training, ``result``, ``metrics`` and ``generations`` its files as typed records.
``layouts`` and ``evidence_size`` choose what suits the model, ``lora_targets`` refuses LoRA that
matches nothing, ``cpu_operations`` makes attention on the CPU faster, and ``hdf5`` survives a full
disk. ``export`` writes a trained model as a preset.

Imports ``parts``, ``evidence``, ``models``, ``data`` and ``runtime``; never ``judge``, ``course``
or ``report``.
"""
