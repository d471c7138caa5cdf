"""The TPU compiler on a machine without a TPU: what a sharded training step needs on a topology.

- ``topologies``: TPU slices and their published peak figures
- ``compiler``: libtpu's ahead-of-time compiler, and whether a program fits
- ``step``: the training step of ``fit``, lowered for a topology without weights
- ``plan``: memory, collectives and time of a compiled step, as ``kit plan`` shows them
- ``comparison``: where two plans differ
- ``suggestions``: what to try if a step does not fit
- ``plan_json``: a plan as JSON

This package may import ``evidence``, ``models`` and what comes before them; it never imports
``checks``, ``judge`` or ``course``.
"""
